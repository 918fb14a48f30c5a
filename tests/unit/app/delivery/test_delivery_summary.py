"""The summary of a pipeline, from records and the journal."""

import shutil
from pathlib import Path

import msgspec
import polars as pl
import pytest

from kit.small_project import TwoRuns, open_small
from kit.task_projects import make_multiclass
from trimtab.app.delivery.delivery_summary import delivery_summary
from trimtab.app.delivery.stage_journal import noted
from trimtab.app.delivery.summary_text import lines, markdown
from trimtab.app.stages import ingesting
from trimtab.errors import CheckFailed, NotFound
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import Baseline
from trimtab.stores.metadata.contract import latest


@pytest.fixture
def two_runs(two_runs: TwoRuns, tmp_path: Path) -> TwoRuns:
    """A copy of the project, so that further records do not reach other tests."""
    folder = tmp_path / "copy"
    shutil.copytree(two_runs.workspace.project.folder, folder)
    return two_runs._replace(workspace=open_small(folder))


def test_a_project_without_anything_says_what_comes_first(tmp_path: Path) -> None:
    found = delivery_summary(make_multiclass(tmp_path / "project"), "local")
    assert (found.verdict, found.problems) == ("incomplete", ())
    assert found.models[0].next == "nothing yet; run: trimtab run"
    assert "parcels: 0 rows, not checked: no rows yet" in "\n".join(lines(found))


def test_the_newest_run_waits_for_its_gates_and_an_earlier_one_passed(two_runs: TwoRuns) -> None:
    newest = delivery_summary(two_runs.workspace, "local")
    assert (newest.verdict, newest.models[0].run) == ("incomplete", two_runs.second.id)
    assert newest.sentence == "risk: not judged yet; run: trimtab evaluate."
    earlier = delivery_summary(two_runs.workspace, "local", run=two_runs.first.id[:10])
    assert (earlier.verdict, earlier.models[0].next) == ("passed", "passed its gates; run: trimtab register")
    assert earlier.models[0].params == two_runs.first.params
    assert {line.metric: line.value for line in earlier.models[0].metrics} == two_runs.first.metrics
    with pytest.raises(NotFound):
        delivery_summary(two_runs.workspace, "local", run="zzz")


def test_a_failing_gate_is_a_problem_with_its_reason(two_runs: TwoRuns) -> None:
    metadata = two_runs.workspace.metadata
    report = latest(metadata, GateReport, run=two_runs.first.id)
    assert report is not None
    failing = msgspec.structs.replace(report.results[0], verdict="fail", reason="far too low")
    report = msgspec.structs.replace(report, id=f"{report.id}/9", verdict="fail", results=(failing,))
    metadata.put(msgspec.structs.replace(report, run=two_runs.second.id))
    found = delivery_summary(two_runs.workspace, "local")
    assert found.verdict == "failed"
    assert found.problems[0].endswith("accuracy: far too low")
    assert found.models[0].next == "nothing deploys: 1 gate check failed; nothing serves yet"
    with noted(two_runs.workspace, "ingest"):
        pass
    with pytest.raises(CheckFailed), noted(two_runs.workspace, "evaluate", "risk"):
        raise CheckFailed("as the verb said it")
    found = delivery_summary(two_runs.workspace, "local")
    assert found.problems == ("evaluate of risk failed: as the verb said it",), "once, not by the records again"


def test_a_refused_batch_is_a_problem(tmp_path: Path) -> None:
    workspace = make_multiclass(tmp_path / "project")
    path = workspace.project.folder / "parcels.parquet"
    frame = pl.read_parquet(path)
    frame.with_columns(at=pl.lit(None, dtype=frame["at"].dtype)).write_parquet(path)
    with pytest.raises(CheckFailed):
        ingesting.ingest(workspace)
    found = delivery_summary(workspace, "local")
    assert found.problems[0].startswith("table parcels: batch parcels.parquet was refused: ")
    assert "batch parcels.parquet was refused" in markdown(found)


def test_both_versions_are_compared_on_the_same_rows(two_runs: TwoRuns) -> None:
    """The whole holdout is another set of rows: its value and the champion's do not differ by the gain."""
    each = Baseline(
        name="risk/1", metric="log_loss", value=0.5, gain=0.1, low=0.05, high=0.15, confidence=0.95, rows=40,
        unit="day", clusters=4,
    )  # fmt: skip
    run = msgspec.structs.replace(
        two_runs.first, id="f" * 32, baselines=(each,), metrics={"log_loss": 0.7, "brier": 0.2}
    )
    two_runs.workspace.metadata.put(run)
    loss, brier = delivery_summary(two_runs.workspace, "local", run="f" * 32).models[0].metrics
    assert (loss.value, loss.own_value, loss.other_value, loss.gain, loss.rows) == (0.7, 0.4, 0.5, 0.1, 40)
    assert brier.other is None
