"""Labels from tables and files: each row once, whoever dies when; late, repeated, contradictory, unknown, invalid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from trimtab.app.labels import importing
from trimtab.app.labels.importing import OutcomeImporter, import_tables
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting
from trimtab.cli import labels as labels_verb
from trimtab.cli import stages as stages_verbs
from trimtab.clock import ManualClock, SystemClock, parse_time, to_micros
from trimtab.errors import CheckFailed, DataError, DefinitionError, StoreError, UsageError
from trimtab.records.data import TableVersion
from trimtab.records.monitoring import LabelIntake
from trimtab.stores.predictions.contract import LABEL_FIELDS
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.stores.predictions.null import NullLog
from trimtab.testing.predictions import label_rows, prediction_rows

DEFINITIONS = """
import trimtab as tt

flights = tt.FileSource("flights", "flights.csv", timestamp="at")
landed = tt.FileSource("landed", "landed/", timestamp="landed_at")
delay = tt.Model(
    "delay", task="binary", examples=flights, label="late", features=["wind"],
    outcomes=tt.Outcomes(source=landed, prediction_id="flight"),
)
price = tt.Model("price", task="binary", examples=flights, label="paid", features=["wind"])
"""
HEAD = "flight,late,landed_at\n"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """A project whose log holds the predictions a, b and c."""
    (tmp_path / "trimtab.yaml").write_text("project: outcomes\n")
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "landed").mkdir()
    log, now = SegmentLog(tmp_path / ".trimtab" / "predictions"), to_micros(SystemClock().now())
    log.append(prediction_rows(list("abc"), logged_at=[now] * 3))
    log.append(prediction_rows(["p"], model=["price"], logged_at=[now]))
    log.close()
    return open_workspace(tmp_path)


def landed(ws: Workspace, name: str, text: str) -> None:
    """Put a file beside the others, and take it in."""
    (ws.project.folder / "landed" / name).write_text(HEAD + text)
    ingesting.ingest(ws, "landed")


def logged(ws: Workspace) -> list[tuple[str, str, float, str]]:
    rows = ws.predictions.read_labels()[0].to_pylist()
    return [(r["model"], r["prediction_id"], r["label"], f"{r['known_at']:%m-%d}") for r in rows]


def counts(intakes: list[LabelIntake]) -> list[tuple[str, int, int, int, int, int]]:
    return [(i.id, i.rows, i.added, i.repeated, i.contradicting, i.waiting) for i in intakes]


# --- tables


def test_new_rows_of_a_table_become_labels_once(ws: Workspace) -> None:
    landed(ws, "1.csv", "a,1,2013-01-02\nb,0,2013-01-03\nc,,2013-01-03\n")
    first, again = import_tables(ws), import_tables(ws)
    landed(ws, "2.csv", "c,1,2013-01-04\n")
    second = import_tables(ws)
    assert counts(first) == [("delay/landed@0", 3, 2, 0, 0, 1)]
    assert again == []
    assert counts(second) == [("delay/landed@1", 1, 1, 0, 0, 0)]
    assert logged(ws) == [
        ("delay", "a", 1.0, "01-02"),
        ("delay", "b", 0.0, "01-03"),
        ("delay", "c", 1.0, "01-04"),
    ]


def test_an_intake_is_recorded_when_its_labels_are_on_disk(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    landed(ws, "1.csv", "a,1,2013-01-02\n")
    synced, sync = list[int](), SegmentLog.sync

    def noting(log: SegmentLog) -> None:
        sync(log)
        synced.append(ws.metadata.count(LabelIntake))

    monkeypatch.setattr(SegmentLog, "sync", noting)
    import_tables(ws)
    assert 0 in synced


def test_several_versions_are_taken_one_by_one(ws: Workspace) -> None:
    for day in range(1, 5):
        landed(ws, f"{day}.csv", f"a,{day % 2},2013-01-0{day}\nx{day},1,2013-01-0{day}\n")
    assert counts(import_tables(ws)) == [(f"delay/landed@{n}", 2, 2, 0, int(n > 0), 0) for n in range(4)]
    assert len(logged(ws)) == 8


def test_late_repeated_contradictory_and_unknown_outcomes_of_a_table(ws: Workspace) -> None:
    landed(ws, "1.csv", "a,1,2013-01-02\n")
    landed(ws, "2.csv", "a,1,2013-01-02\na,1,2013-01-05\na,0,2013-01-03\nnobody,1,2013-01-01\nb,0,2020-01-01\n")
    found = import_tables(ws)
    assert counts(found)[1] == ("delay/landed@1", 5, 4, 2, 1, 0)
    assert [(id_, label, day) for _, id_, label, day in logged(ws)] == [
        ("a", 1.0, "01-02"),
        ("a", 1.0, "01-05"),
        ("a", 0.0, "01-03"),
        ("nobody", 1.0, "01-01"),
        ("b", 0.0, "01-01"),
    ]


def test_a_version_with_a_wrong_row_is_refused_whole_and_told_and_the_next_is_taken(ws: Workspace) -> None:
    landed(ws, "1.csv", "a,1,2013-01-02\nb,2,2013-01-02\n")
    landed(ws, "2.csv", "b,0,2013-01-02\n")
    first, second = import_tables(ws)
    assert first.added == 0
    assert "landed/1.csv (landed@0): 1 values are wrong" in str(first.refused)
    assert "row 2: late is 2; expected 0 or 1" in str(first.refused)
    assert (second.added, second.refused) == (1, None)
    assert [id_ for _, id_, _, _ in logged(ws)] == ["b"]


def test_what_was_refused_is_taken_from_the_version_that_mends_it(ws: Workspace) -> None:
    landed(ws, "1.csv", "a,1,2013-01-02\nb,2,2013-01-02\n")
    landed(ws, "2.csv", "a,1,2013-01-02\nb,1,2013-01-02\n")
    assert counts(import_tables(ws)) == [("delay/landed@0", 2, 0, 0, 0, 0), ("delay/landed@1", 2, 2, 0, 0, 0)]
    assert [id_ for _, id_, _, _ in logged(ws)] == ["a", "b"]


def test_a_column_that_the_table_lacks_is_named_and_nothing_is_passed_over(ws: Workspace) -> None:
    (ws.project.folder / "landed" / "1.csv").write_text("fligth,late,landed_at\na,1,2013-01-02\n")
    ingesting.ingest(ws, "landed")
    with pytest.raises(DefinitionError, match=r"source 'landed' has no column 'flight'\. Did you mean 'fligth'"):
        import_tables(ws)
    assert ws.metadata.find(LabelIntake) == []


def test_who_dies_before_the_cursor_moves_leaves_labels_that_are_not_written_again(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(ws, "1.csv", "a,1,2013-01-02\nb,0,2013-01-03\n")

    def die(*records: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(ws.metadata, "put", die)
        with pytest.raises(KeyboardInterrupt):
            import_tables(ws)
    assert len(logged(ws)) == 2
    assert counts(import_tables(ws)) == [("delay/landed@0", 2, 0, 2, 0, 0)]
    assert len(logged(ws)) == 2


def test_who_dies_in_the_middle_of_writing_loses_nothing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    landed(ws, "1.csv", "".join(f"f{n},1,2013-01-02\n" for n in range(10)))
    monkeypatch.setattr(importing, "CHUNK_ROWS", 4)
    append, appended = SegmentLog.append_labels, list[int]()

    def dying(self: SegmentLog, columns: Any) -> None:
        append(self, columns)
        appended.append(len(columns["label"]))
        if sum(appended) == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as until:
        until.setattr(SegmentLog, "append_labels", dying)
        with pytest.raises(KeyboardInterrupt):
            import_tables(ws)
    assert counts(import_tables(ws)) == [("delay/landed@0", 10, 2, 8, 0, 0)]
    assert sorted(id_ for _, id_, _, _ in logged(ws)) == [f"f{n}" for n in range(10)]


def test_one_process_at_a_time_takes_outcomes(ws: Workspace) -> None:
    landed(ws, "1.csv", "a,1,2013-01-02\n")
    other = SegmentLog(ws.root / "predictions", importing.WRITER)
    other.append_labels({name: [] for name in LABEL_FIELDS})
    with pytest.raises(StoreError, match="already writes this prediction log as writer 'outcomes'"):
        import_tables(ws, patience_s=0)
    other.close()
    assert len(import_tables(ws, patience_s=0)) == 1


def test_one_process_at_a_time_takes_outcomes_where_the_log_knows_no_claims(ws: Workspace) -> None:
    settings = "project: outcomes\nenvironments: {local: {predictions: 'none:'}}\n"
    (ws.project.folder / "trimtab.yaml").write_text(settings)
    first, second = (open_workspace(ws.project.folder) for _ in range(2))
    assert isinstance(first.predictions, NullLog)
    landed(first, "1.csv", "a,1,2013-01-02\n")
    write, tried = first.metadata.put, list[str]()

    def meanwhile(*records: Any) -> None:
        with pytest.raises(StoreError, match="already writes this prediction log as writer 'outcomes'") as refused:
            import_tables(second, patience_s=0)
        tried.append(str(refused.value))
        write(*records)

    with pytest.MonkeyPatch.context() as while_taking:
        while_taking.setattr(NullLog, "append_labels", lambda log, columns: None)
        while_taking.setattr(first.metadata, "put", meanwhile)
        assert [intake.added for intake in import_tables(first)] == [1]
    assert len(tried) == 1
    assert import_tables(second, patience_s=0) == []


def test_who_waited_for_another_takes_only_what_that_one_has_left(ws: Workspace) -> None:
    landed(ws, "1.csv", "a,1,2013-01-02\n")
    other, second = SegmentLog(ws.root / "predictions", importing.WRITER), open_workspace(ws.project.folder)
    other.append_labels({name: [] for name in LABEL_FIELDS})

    class Meanwhile(ManualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if not ws.metadata.find(LabelIntake):
                other.close()
                assert len(import_tables(second)) == 1

    ws.clock = Meanwhile(ws.now())
    assert import_tables(ws) == []
    assert len(logged(ws)) == 1


# --- the loop


def test_the_loop_takes_outcomes_as_they_come(ws: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    loop = OutcomeImporter(ws)
    assert loop.step() == []
    landed(ws, "1.csv", "a,1,2013-01-02\n")
    landed(ws, "2.csv", "b,7,2013-01-02\n")
    assert [i.added for i in loop.step()] == [1, 0]
    assert "row 1: late is 7; expected 0 or 1" in caplog.text
    assert loop.step() == []


def test_the_loop_outlives_a_failure_and_tries_again(ws: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    ws.clock = clock = ManualClock(ws.now())
    loop = OutcomeImporter(ws)
    landed(ws, "1.csv", "a,1,2013-01-02\n")
    other = SegmentLog(ws.root / "predictions", importing.WRITER)
    other.append_labels({name: [] for name in LABEL_FIELDS})
    assert loop.step() == []
    assert "could not be taken as labels" in caplog.text
    other.close()
    assert loop.step() == []
    clock.sleep(importing.RETRY.total_seconds())
    assert [i.added for i in loop.step()] == [1]


# --- commands


def test_ingest_takes_outcomes_and_says_so(ws: Workspace) -> None:
    (ws.project.folder / "landed" / "1.csv").write_text(HEAD + "a,1,2013-01-02\nb,,2013-01-02\n")
    done = CliRunner().invoke(
        stages_verbs.app, ["ingest", "landed", "-p", str(ws.project.folder)], catch_exceptions=False
    )
    assert "labels    delay/landed@0: 1 taken, 0 repeated, 0 contradicting, 1 without an outcome yet" in done.output
    (ws.project.folder / "landed" / "2.csv").write_text(HEAD + "a,3,2013-01-02\n")
    with pytest.raises(CheckFailed, match=r"(?s)row 1: late is 3; expected 0 or 1.*a file of their own"):
        CliRunner().invoke(stages_verbs.app, ["ingest", "landed", "-p", str(ws.project.folder)], catch_exceptions=False)
    assert len(logged(ws)) == 1


def test_a_source_of_outcomes_may_have_no_files_yet(ws: Workspace) -> None:
    (ws.project.folder / "flights.csv").write_text("at,wind,late,paid\n2013-01-01,1,0,1\n")
    assert [one.table for one in ingesting.ingest(ws)] == ["flights"]
    assert [report.table for report in ingesting.validate(ws)] == ["flights"]
    with pytest.raises(DataError, match="landed"):
        ingesting.ingest(ws, "landed")
    assert import_tables(ws) == []
    assert [v.table for v in ws.metadata.find(TableVersion)] == ["flights"]


@pytest.fixture
def verb(ws: Workspace) -> Callable[..., dict[str, Any]]:
    """Run `trimtab labels` on a CSV file of a text, and return what it says."""

    def run(text: str, *options: str) -> dict[str, Any]:
        path = ws.project.folder / "given.csv"
        path.write_text(text)
        arguments = ["labels", str(path), "-p", str(ws.project.folder), "--json", *options]
        done = CliRunner().invoke(labels_verb.app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        said: dict[str, Any] = json.loads(done.output)
        return said

    return run


def test_a_file_is_taken_and_taking_it_again_changes_nothing(ws: Workspace, verb: Callable[..., Any]) -> None:
    text = HEAD + "a,1,2013-01-02\na,0,2013-01-03\nb,,\nnobody,1,2013-01-02\np,1,2013-01-02\n"
    tried = verb(text, "--model", "delay", "--dry-run")
    assert logged(ws) == []
    first, again = verb(text, "--model", "delay"), verb(text, "--model", "delay")
    known = {"file": first["file"], "model": "delay", "rows": 5, "waiting": 1, "unmatched": 2}
    assert tried == known | {"taken": 4, "repeated": 0, "contradicting": 1, "dry_run": True}
    assert first == tried | {"dry_run": False}
    assert again == known | {"taken": 0, "repeated": 4, "contradicting": 0, "dry_run": False}
    assert len(logged(ws)) == 4


def test_columns_are_those_that_the_model_declares_or_the_usual_ones_or_those_named(
    ws: Workspace, verb: Callable[..., Any]
) -> None:
    assert verb("prediction_id,paid,known_at\np,1,2013-01-02\n", "-m", "price")["unmatched"] == 0
    named = ("--prediction-id", "who", "--label", "what", "--known-at", "when")
    assert verb("who,what,when\np,0,2013-01-03\n", "-m", "price", *named)["contradicting"] == 1
    assert logged(ws) == [("price", "p", 1.0, "01-02"), ("price", "p", 0.0, "01-03")]


def test_without_moments_outcomes_are_known_now(ws: Workspace, verb: Callable[..., Any]) -> None:
    before = ws.now()
    assert verb("flight,late\na,1\n", "-m", "delay")["taken"] == 1
    assert verb("flight,late\na,1\n", "-m", "delay")["repeated"] == 1
    (row,) = ws.predictions.read_labels()[0].to_pylist()
    assert before <= row["known_at"] <= ws.now()


def test_a_label_of_another_model_is_not_overwritten_by_the_same_id(ws: Workspace, verb: Callable[..., Any]) -> None:
    verb(HEAD + "a,1,2013-01-02\n", "-m", "delay")
    said = verb("prediction_id,paid\na,0\n", "-m", "price")
    assert (said["taken"], said["contradicting"], said["unmatched"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        (HEAD + "a,1,2013-01-02\nb,2,2013-01-02\n", (), DataError, "given.csv: 1 values are wrong, so no outcome was"),
        (HEAD + "a,1,soon\n", (), DataError, "column 'landed_at': row 1: 'soon' is not a time"),
        (HEAD, ("--label", "lat"), UsageError, "--label: the file has no column 'lat'. Did you mean 'late'?"),
        (HEAD, ("--known-at", "when"), UsageError, "--known-at: the file has no column 'when'"),
        ("late\n1\n", (), UsageError, "--prediction-id: the file has no column 'flight'"),
        ("", (), DataError, "given.csv: cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_whole(
    ws: Workspace,
    verb: Callable[..., Any],
    text: str,
    options: tuple[str, ...],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error) as refused:
        verb(text, "-m", "delay", *options)
    assert message in str(refused.value)
    assert logged(ws) == []


def test_the_verb_says_it_in_words(ws: Workspace) -> None:
    path = ws.project.folder / "given.csv"
    path.write_text("flight,late\nnobody,1\n")
    arguments = ["labels", str(path), "-p", str(ws.project.folder), "-m", "delay"]
    said = CliRunner().invoke(labels_verb.app, arguments, catch_exceptions=False).output
    assert "delay: 1 row: 1 taken, 0 repeated, 0 contradicting, 1 unmatched, 0 without an outcome yet" in said
    assert "known now" in said


def test_labels_of_tables_are_seen_beside_those_of_workers(ws: Workspace) -> None:
    worker = SegmentLog(ws.root / "predictions", "1")
    now = to_micros(parse_time("2013-01-01"))
    columns = label_rows(["a"], label=[0.0], known_at=[now], received_at=[now])
    worker.append_labels(columns)
    landed(ws, "1.csv", "a,1,2013-01-02\n")
    assert counts(import_tables(ws)) == [("delay/landed@0", 1, 1, 0, 1, 0)]
    worker.append_labels(columns)
    worker.close()
    assert len(logged(ws)) == 3


def test_classes_become_labels_by_name_once(tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_text("project: outcomes\n")
    (tmp_path / "definitions.py").write_text(DEFINITIONS.replace('"binary"', '"multiclass"'))
    (tmp_path / "landed").mkdir()
    ws = open_workspace(tmp_path)
    landed(ws, "1.csv", "a,late,2013-01-02\nb,on time,2013-01-03\nc,3,2013-01-03\n")
    first, again = import_tables(ws), import_tables(ws)
    landed(ws, "2.csv", "a,on time,2013-01-05\nb,on time,2013-01-03\n")
    assert counts(first) == [("delay/landed@0", 3, 3, 0, 0, 0)]
    assert again == []
    assert counts(import_tables(ws)) == [("delay/landed@1", 2, 1, 1, 1, 0)]
    table = ws.predictions.read_labels()[0]
    assert table["class_name"].to_pylist() == ["late", "on time", "3", "on time"]
    assert table["label"].to_pylist() == [None] * 4
