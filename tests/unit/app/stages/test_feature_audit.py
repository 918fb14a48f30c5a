"""The audit finds each served value that the tables do not give any more, and says where the difference comes from."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from typer.testing import CliRunner

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.app.stages.feature_audit import FeatureAudit, audit
from trimtab.app.stages.freshness import bring_up_to_date
from trimtab.cli.features import building
from trimtab.clock import ManualClock, to_micros
from trimtab.errors import StageError
from trimtab.features.online_plan import OnlinePlan
from trimtab.records.data import TableVersion
from trimtab.records.training import DatasetVersion
from trimtab.stores.metadata.contract import latest
from trimtab.testing.judged import bundle_record
from trimtab.testing.predictions import prediction_rows

DEFINITIONS = """
import trimtab as tt

visits = tt.FileSource("visits", "visits", timestamp="at", known_at="known", key=["visit"])
examples = tt.FileSource("examples", "examples.csv", timestamp="at")
view = tt.FeatureView("v", tt.Entity("user"), visits, [tt.sum("spent", "3d"), tt.count("WINDOW")])
m = tt.Model("m", task="regression", examples=examples, label="y", features=["size", view])
"""
POLICY = "project: visits\ntraining: { min_examples: 4 }\n"
START = datetime(2024, 1, 1, tzinfo=UTC)
USERS = ("u", "w")
SUM, COUNT = "v__spent_sum_3d", "v__count_3d"


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def define(folder: Path, window: str = "3d") -> None:
    (folder / "definitions.py").write_text(DEFINITIONS.replace("WINDOW", window))


def write(folder: Path, name: str, *rows: tuple[int, str, float, float, float]) -> None:
    lines = [
        f"{visit},{user},{day(at).isoformat()},{day(known).isoformat()},{spent}"
        for visit, user, at, known, spent in rows
    ]
    (folder / "visits").mkdir(exist_ok=True)
    (folder / "visits" / name).write_text("\n".join(["visit,user,at,known,spent", *lines]) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    define(tmp_path)
    (tmp_path / "trimtab.yaml").write_text(POLICY)
    rows = [f"{user},{day(n / 2).isoformat()},{n},1" for n in range(12) for user in USERS]
    (tmp_path / "examples.csv").write_text("\n".join(["user,at,y,size", *rows]) + "\n")
    visits = [(n, "u", n, n + 0.25, 10.1**n) for n in range(5)] + [(n + 10, "w", n, n, n) for n in range(5)]
    write(tmp_path, "1.csv", *visits)
    return tmp_path


def opened(folder: Path, at: float) -> Workspace:
    return open_workspace(folder, clock=ManualClock(day(at)))


def serve(ws: Workspace, dataset: DatasetVersion, at: float, **changes: Any) -> None:
    """Let version 1 answer both users with what the online store has."""
    bundle = msgspec.structs.replace(
        bundle_record(1, model="m"), dataset=dataset.id, features=dataset.features, views=dataset.views
    )
    ws.metadata.put(bundle)
    plan = OnlinePlan(ws.model("m"), ws.online, {"user": "text"})
    vectors = plan.vectors({"user": list(USERS), "size": [1, 1]}, [to_micros(day(at))] * 2)
    given: dict[str, Any] = {
        "model": ["m"] * 2,
        "version": [1] * 2,
        "event_time": [to_micros(day(at))] * 2,
        "entities": [[("user", user)] for user in USERS],
        "logged_at": [to_micros(day(at))] * 2,
        "features": [row.tolist() for row in vectors],
    }
    ws.predictions.append(prediction_rows([f"{at}-{user}" for user in USERS], **given | changes))
    ws.predictions.close()


def trained(folder: Path, at: float) -> DatasetVersion:
    ws = opened(folder, at)
    ingesting.ingest(ws)
    return pipeline.snapshot(ws, "m", as_of=day(at))


def causes(found: FeatureAudit) -> dict[tuple[str, str], int]:
    return {(each.feature, each.cause): each.rows for each in found.differences}


def audited(folder: Path, at: float = 9) -> FeatureAudit:
    ws = opened(folder, at)
    return audit(ws, ws.model("m"))


def test_values_that_the_tables_still_give_are_no_differences(folder: Path) -> None:
    serve(opened(folder, 4.6), trained(folder, 4.6), 4.9)
    found = audited(folder)
    assert found.compared == {SUM: 2, COUNT: 2}
    assert (found.differences, found.not_compared, found.audited, found.unexplained) == ((), ("size",), 2, 0)


def test_a_file_that_came_after_the_answer_is_late_data(folder: Path) -> None:
    serve(opened(folder, 4.6), trained(folder, 4.6), 4.9)
    write(folder, "2.csv", (99, "u", 4.1, 4.2, 7.0))
    ingesting.ingest(opened(folder, 6))
    found = audited(folder)
    assert causes(found) == {(SUM, "late data"): 1, (COUNT, "late data"): 1}
    (example,) = found.differences[0].examples
    assert (example.entity, example.served, example.then, example.now) == ({"user": "u"}, 3.0, 3.0, 4.0)


def test_a_row_that_was_replaced_after_the_answer_is_a_correction(folder: Path) -> None:
    serve(opened(folder, 4.6), trained(folder, 4.6), 4.9)
    write(folder, "2.csv", (3, "u", 3, 5.5, 7.0))
    ingesting.ingest(opened(folder, 6))
    assert causes(audited(folder)) == {(SUM, "correction"): 1, (COUNT, "correction"): 1}


def test_values_from_before_the_last_refresh_are_of_a_stale_store(folder: Path) -> None:
    dataset = trained(folder, 4.1)  # the visit of day 4 is known at 4.25
    serve(opened(folder, 4.9), dataset, 4.9)
    ws = opened(folder, 5)
    bring_up_to_date(ws, ws.model("m").views[0])
    assert causes(audited(folder)) == {(SUM, "stale watermark"): 1, (COUNT, "stale watermark"): 1}


def test_an_answer_with_another_definition_is_compared_with_the_present_one(folder: Path) -> None:
    serve(opened(folder, 4.6), trained(folder, 4.6), 4.9)
    define(folder, "2d")
    assert audited(folder).differences == ()  # it has no feature of the same name
    (folder / "definitions.py").write_text(DEFINITIONS.replace('tt.count("WINDOW")', 'tt.count("2d", name="count_3d")'))
    assert causes(audited(folder)) == {(COUNT, "changed definition"): 2}


def test_an_entity_that_the_store_did_not_have_is_named(folder: Path) -> None:
    dataset = trained(folder, 4.6)
    serve(opened(folder, 4.6), dataset, 4.9, features=[[1.0, float("nan"), 0.0]] * 2)
    assert causes(audited(folder)) == {(SUM, "missing entity"): 2, (COUNT, "missing entity"): 2}


@pytest.mark.parametrize(
    ("sum_", "count", "cause"), [(9.000001, 3.0, "rounding"), (8.0, 3.0, "unexplained"), (9.0, 3.0, None)]
)
def test_a_value_that_nothing_gives_is_unexplained(folder: Path, sum_: float, count: float, cause: str | None) -> None:
    served = trained(folder, 4.6)
    serve(opened(folder, 4.6), served, 4.9)
    serve(opened(folder, 4.6), served, 4.95, features=[[1.0, sum_, count]] * 2, entities=[[("user", "w")]] * 2)
    found = audited(folder)
    assert causes(found) == ({} if cause is None else {(SUM, cause): 2})
    assert found.unexplained == (2 if cause == "unexplained" else 0)


def test_rows_that_were_read_again_are_a_changed_table(folder: Path) -> None:
    serve(opened(folder, 4.6), trained(folder, 4.6), 4.9)
    ws = opened(folder, 6)
    before = latest(ws.metadata, TableVersion, table="visits")
    assert before is not None
    rows = ws.tables.scan("visits").with_columns(spent=pl.when(pl.col("user") == "u").then(2.0).otherwise("spent"))
    version = ws.tables.replace("visits", rows.collect().to_arrow(), batch="again")
    now = {"id": f"visits@{version}", "version": version, "created_at": day(6), "replaces_all": True}
    ws.metadata.put(msgspec.structs.replace(before, **now))
    assert causes(audited(folder)) == {(SUM, "changed table"): 1}


def test_only_answers_of_the_time_are_audited_and_a_sample_is_the_same_again(folder: Path) -> None:
    dataset = trained(folder, 4.6)
    for at in (4.61, 4.7, 4.9):
        serve(opened(folder, 4.6), dataset, at)
    ws = opened(folder, 9)
    found = audit(ws, ws.model("m"), since=day(4.65), until=day(4.9))
    assert (found.logged, found.audited) == (2, 2)
    once, again = (audit(ws, ws.model("m"), sample=3) for _ in range(2))
    assert (once.logged, once.audited) == (6, 3)
    assert once == again
    with pytest.raises(StageError, match="has no answers of model 'm' with features in that time"):
        audit(ws, ws.model("m"), since=day(8))


def test_the_command_shows_causes_and_fails_for_unexplained_values(folder: Path) -> None:
    dataset = trained(folder, 4.6)
    serve(opened(folder, 4.6), dataset, 4.9)
    write(folder, "2.csv", (99, "u", 4.1, 4.2, 7.0))
    ingesting.ingest(opened(folder, 6))
    arguments = ["features", "audit", "m", "--since", "2024-01-02", "-p", str(folder)]
    done = CliRunner().invoke(building.app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "2 of 2 answers, 2 features of views; 2 of 4 values differ" in done.output
    assert "late data" in done.output
    serve(opened(folder, 4.6), dataset, 4.95, features=[[1.0, 8.0, 3.0]] * 2)
    done = CliRunner().invoke(building.app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 1
    causes = {each["cause"] for each in json.loads(done.output)["differences"]}
    assert causes == {"late data", "unexplained"}
