"""`trimtab log`: the newest rows, the rows of an id with the label of its model that counts, compaction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.app.project.workspace import open_workspace
from trimtab.app.reports import summary
from trimtab.app.reports.lineage import UnknownPrediction
from trimtab.app.reports.paired_rows import latest_labels
from trimtab.app.reports.status import status
from trimtab.cli.log import app
from trimtab.clock import SystemClock, to_micros
from trimtab.errors import UsageError
from trimtab.llm.redaction.project_key import project_key
from trimtab.records.llm import TextErasure
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import content_rows, label_rows, prediction_rows, turn_rows


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "trimtab.yaml").write_text("project: logged\n")
    (tmp_path / "definitions.py").write_text(
        "import trimtab as tt\n"
        "rows = tt.FileSource('id', 'rows.parquet', timestamp='at')\n"
        "delay = tt.Model('delay', task='binary', examples=rows, label='late', features=['a', 'b'])\n"
    )
    log, now = SegmentLog(tmp_path / ".trimtab" / "predictions"), to_micros(SystemClock().now())
    log.append(prediction_rows([f"id-{n}" for n in range(12)], logged_at=[now] * 12))
    log.append_labels(label_rows(["id-3", "id-3"], label=[1.0, 0.0], known_at=[2, 1], received_at=[now] * 2))
    log.append_labels(label_rows(["id-3"], model=["price"], label=[0.0], known_at=[3], received_at=[now]))
    log.close()
    return tmp_path


def run(project: Path, *arguments: str) -> str:
    found = CliRunner().invoke(app, ["log", *arguments, "--project", str(project)], catch_exceptions=False)
    assert found.exit_code == 0
    return found.output


def test_tail_shows_the_newest_rows(project: Path) -> None:
    rows = json.loads(run(project, "tail", "--rows", "2", "--json"))
    assert [row["prediction_id"] for row in rows] == ["id-10", "id-11"]
    assert "id-11" in run(project, "tail")


def test_tail_fits_a_narrow_terminal_and_tells_what_went_wrong(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    log, ids = SegmentLog(project / ".trimtab" / "predictions"), ["a" * 32, "b" * 32]
    now = to_micros(SystemClock().now()) + 1
    log.append(
        prediction_rows(ids, logged_at=[now] * 2, route=["split", "abandoned"], error=[None, "[no] " + "x" * 90])
    )
    log.close()
    title, head, *rows = run(project, "tail", "--rows", "3").splitlines()
    assert title.startswith("newest predictions, 20")
    assert head.split() == ["logged", "prediction", "version", "role", "score"]
    assert [row.split()[-4:] for row in rows[:3]] == [[name, "delay/3", "champion", "0.25"] for name in ["id-11", *ids]]
    assert max(map(len, rows[:3])) <= 80
    assert rows[3].strip() == "abandoned: [no] " + "x" * 90


def test_an_empty_log_has_no_newest_rows(tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_text("project: logged\n")
    (tmp_path / "definitions.py").write_text("")
    assert run(tmp_path, "tail") == "no predictions\n"
    assert json.loads(run(tmp_path, "tail", "--json")) == []


def test_status_counts_the_log(project: Path) -> None:
    found = status(open_workspace(project))["records"]["prediction_log"]
    assert (found["count"], found["labels"], found["latest"]["prediction_id"]) == (12, 3, "id-11")


def test_a_summary_counts_the_rows_of_its_model_and_compares_those_with_labels(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "BLOCK_ROWS", 2)
    log, now = SegmentLog(project / ".trimtab" / "predictions"), to_micros(SystemClock().now()) + 1
    for served, error in ((False, None), (True, "failed")):
        log.append(prediction_rows(["id-3"], logged_at=[now], served=[served], error=[error]))
    log.append(prediction_rows(["id-3"], logged_at=[now], model=["price"]))
    log.close()
    ws = open_workspace(project)
    found = summary.summarise(ws, "delay")
    rows = summary._read_log(ws, "delay", latest_labels(ws, "delay")).labelled
    assert (found.predictions, found.scored_for_comparison, found.errors, found.labels) == (13, 1, 1, 1)
    assert rows.select("prediction_id", "error", "label").rows() == [("id-3", None, 1.0), ("id-3", "failed", 1.0)]


def test_show_gives_the_rows_of_an_id_and_its_label(project: Path) -> None:
    found = json.loads(run(project, "show", "id-3", "--json"))
    assert [row["prediction_id"] for row in found["predictions"]] == ["id-3"]
    assert found["label"]["label"] == 1.0
    assert "id-3" in run(project, "show", "id-3")


def test_compact_says_what_it_did(project: Path) -> None:
    done = json.loads(run(project, "compact", "--json"))
    assert (done["segments"], done["rows"]) == (2, 15)
    assert "predictions: 0 segments moved" in run(project, "compact")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["tali"], UsageError),
        (["show"], UsageError),
        (["tail", "id-3"], UsageError),
        (["show", "unknown"], UnknownPrediction),
    ],
)
def test_what_makes_no_sense_is_refused(project: Path, arguments: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        run(project, *arguments)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "trimtab.yaml").write_text("project: desk\n")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "triage.md").write_text("# user\n{{ ticket }}\n")
    (tmp_path / "definitions.py").write_text(
        "import trimtab as tt\n"
        "local = tt.Endpoint('local', url='loopback', prices={'classifier': tt.Price(input=0.1, output=0.4)})\n"
        "triage = tt.Prompt('triage', file='prompts/triage.md', endpoint=local, model='classifier')\n"
    )
    now = to_micros(SystemClock().now())
    key = project_key(tmp_path / ".trimtab")
    log = SegmentLog(tmp_path / ".trimtab" / "predictions")
    for name, user in (("turn-1", "anna"), ("turn-2", "bob")):
        conversation = key.of_name("conversation", "shop\x1fc1")
        hashes = {"user": [key.of_name("user", f"shop\x1f{user}")] * 2, "conversation": [conversation] * 2}
        log.append_contents(
            content_rows(
                [name, name],
                part=["messages.0.user", "answer"],
                text=["My parcel\nof <EMAIL_1> is late", "delivery " * 30],
                at=[now] * 2,
                **hashes,
            )
        )
        log.append_turns(turn_rows([name], at=[now]))
        log.append(prediction_rows([name], model=["triage"], version=[2], score=[0.0], logged_at=[now]))
    log.append_labels(
        label_rows(["turn-1"], model=["triage"], name=["thumbs"], source=["user"], rater=["4f"], received_at=[now])
    )
    log.close()
    return tmp_path


def test_tail_shows_question_and_answer_of_turns(desk: Path) -> None:
    lines = [line.strip() for line in run(desk, "tail").splitlines()]
    assert lines.count("question: My parcel of <EMAIL_1> is late") == 2
    assert sum(line.startswith("answer: delivery") and line.endswith("...") for line in lines) == 2
    assert json.loads(run(desk, "tail", "--rows", "1", "--json"))[0]["question"].startswith("My parcel")


def test_show_gives_a_turn_with_its_texts_and_labels(desk: Path) -> None:
    found = json.loads(run(desk, "show", "turn-1", "--json"))
    assert [part["part"] for part in found["contents"]] == ["messages.0.user", "answer"]
    assert (found["turns"][0]["cost_pico"], found["labels"][0]["name"]) == (27_000_000, "thumbs")
    assert found["label"]["label"] == 1.0
    text = run(desk, "show", "turn-1")
    assert "cost               2.7e-05" in text
    assert "messages.0.user (masked):" in text
    assert "label thumbs by 4f: 1," in text


def test_erase_takes_the_text_of_one_user_and_records_who_and_why(desk: Path) -> None:
    assert "--tenant TOKEN" in run(desk, "erase", "--user", "anna", "--reason", "no such")
    assert "2 texts erased" in run(
        desk, "erase", "--user", "anna", "--tenant", "shop", "--reason", "asked to on 3 March"
    )
    assert json.loads(run(desk, "show", "turn-1", "--json"))["contents"] == []
    assert len(json.loads(run(desk, "show", "turn-2", "--json"))["contents"]) == 2
    assert json.loads(run(desk, "erase", "turn-2", "--reason", "r", "--json"))["rows"] == 2
    records = open_workspace(desk).metadata.find(TextErasure)
    assert [(record.column, record.rows, record.reason) for record in records] == [
        ("prediction_id", 2, "r"),
        ("user", 2, "asked to on 3 March"),
        ("user", 0, "no such"),
    ]
    assert "anna" not in records[1].value
    assert records[0].by
    assert run(desk, "tail").count("question") == 0


def test_erase_takes_the_text_of_one_conversation_by_name_or_hash(desk: Path) -> None:
    shown = json.loads(run(desk, "show", "turn-1", "--json"))["contents"][0]["conversation"]
    assert json.loads(run(desk, "erase", "--conversation", "c1", "--reason", "r", "--json"))["rows"] == 0
    done = run(desk, "erase", "--conversation", "c1", "--tenant", "shop", "--reason", "r", "--json")
    assert (json.loads(done)["rows"], json.loads(done)["value"]) == (4, shown)
    assert json.loads(run(desk, "erase", "--conversation", shown, "--reason", "r", "--json"))["rows"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["erase", "--reason", "r"], "whose text"),
        (["erase", "turn-1", "--user", "anna", "--reason", "r"], "whose text"),
        (["erase", "turn-1"], "why"),
        (["tail", "--user", "anna"], "go with"),
    ],
)
def test_an_erasure_without_a_subject_or_a_reason_is_refused(desk: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(desk, *arguments)
