"""A loop that is started again while a challenger is being compared goes on comparing."""

from __future__ import annotations

from pathlib import Path

from e2e.kit import WINDOW, Up, edit_policy
from kit.commands import typed
from kit.decisions import decide
from kit.waiting import wait_for
from trimtab.app.loop.workflow_names import workflow_id
from trimtab.app.project.process_files import read_progress
from trimtab.app.project.workspace import open_workspace
from trimtab.control.resolve import resolve
from trimtab.records.control import WorkflowStep


def test_an_approved_workflow_still_waits_for_labels_after_a_restart(project: Path, up: Up) -> None:
    # given a review that a person has approved, and its challenger
    edit_policy(project, rollout={"promote_when": {"metric": "log_loss", "min_windows": 2, "max_windows": 40}})
    workspace = open_workspace(project)
    decision = decide(workspace, "review", start=WINDOW)
    workflow = workflow_id(decision.id)
    resolve(workspace.metadata, decision.id, "approve", reason="test", by="test", clock=workspace.clock)

    def steps() -> list[str]:
        return [s.step for s in workspace.metadata.find(WorkflowStep, workflow=workflow)]

    def idle() -> bool:
        progress = read_progress(project / ".trimtab" / "run")
        return progress is not None and not progress.busy

    up.start()
    wait_for(lambda: "challenge" in steps(), "challenge")
    assert up.interrupt() == 0
    # when the loop is started again
    up.start()
    # then it waits for labels, so traffic is not held up
    wait_for(idle, "the loop is idle")
    typed("replay", "-p", project, "--from", "2013-03-13", "--to", "2013-03-15")
    assert up.interrupt() == 0
