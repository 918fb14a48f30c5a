"""Changed gates judge a run again; what the same gates have judged stands, unless a person forces it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from e2e.small_project import write_project
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.cli.stages import run_all
from trimtab.errors import GateRefused, StageError
from trimtab.records.gate_reports import GateReport
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import latest


def with_gate(workspace: Workspace, limit: float) -> Workspace:
    """Return the project with another limit of its accuracy gate."""
    path = workspace.project.folder / "trimtab.yaml"
    lines = path.read_text().splitlines()
    gates = f"gates: {{ accuracy: {{ metric: rmse, max: {limit:g}, resamples: 100 }}, performance: null }}"
    path.write_text("\n".join(gates if line.startswith("gates:") else line for line in lines) + "\n")
    return open_workspace(workspace.project.folder)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A regression whose rmse is about 0.3."""
    return open_workspace(write_project(tmp_path / "p", "regression"))


def test_a_run_meets_the_gates_as_they_are_now(workspace: Workspace) -> None:
    # given a run that passed, is registered and serves
    workspace = with_gate(workspace, 9)
    run_all(workspace, "m", as_of=None)
    run = pipeline.newest(workspace, Run, "m")
    passed = pipeline.evaluate(workspace, run)
    assert pipeline.evaluate(workspace, run) == passed, "the same gates judge once"
    assert pipeline.evaluated(workspace, run) == passed

    # when the limit is drawn tighter than its rmse
    workspace = with_gate(workspace, 0.01)
    with pytest.raises(StageError, match="have changed since; run: trimtab evaluate"):
        pipeline.evaluated(workspace, run)
    with pytest.raises(GateRefused, match=r"over the maximum of 0\.01"):
        run_all(workspace, "m", as_of=None)

    # then nothing new is deployed, and the wider limit is met again without being judged again
    assert workspace.metadata.count(Revision) == 1
    assert workspace.metadata.count(Bundle) == 1
    assert pipeline.evaluate(with_gate(workspace, 9), run) == passed

    # and force judges once more, under a name of its own
    forced = pipeline.evaluate(with_gate(workspace, 9), run, force=True)
    assert forced.id == f"{passed.id}/2"
    assert forced.key == passed.key
    assert latest(workspace.metadata, GateReport, run=run.id) == forced


def test_a_champion_is_registered_again_without_being_judged_again(workspace: Workspace) -> None:
    # given a run that was judged beside a champion, and took its place
    workspace = with_gate(workspace, 9)
    run_all(workspace, "m", as_of=None)
    code = workspace.project.folder / "definitions.py"
    code.write_text(code.read_text() + "# another run\n")
    workspace = open_workspace(workspace.project.folder)
    run_all(workspace, "m", as_of=None)
    run = pipeline.newest(workspace, Run, "m")

    # when it is registered again, then it is the bundle that it was, by the report of then
    report = pipeline.evaluated(workspace, run)
    assert report.champion == "m/1"
    assert pipeline.register(workspace, run, report).id == "m/2"
    assert workspace.metadata.count(GateReport, run=run.id) == 1


def test_a_report_without_a_key_is_not_believed(workspace: Workspace) -> None:
    # given a report that an earlier release wrote under gates that nobody knows any more
    ingesting.ingest(workspace)
    run = pipeline.train(workspace, "m", pipeline.snapshot(workspace, "m", as_of=workspace.now()))
    now = pipeline.evaluate(with_gate(workspace, 9), run)
    old = msgspec.structs.replace(now, id=f"{run.id}/gates", key="", verdict="pass")
    workspace.metadata.put(old)

    # when the run is judged by gates that it cannot pass
    found = pipeline.evaluate(with_gate(workspace, 0.01), run)

    # then the old report does not stand in for them
    assert found.verdict == "fail"
