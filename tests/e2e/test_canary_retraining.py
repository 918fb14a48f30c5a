"""A retrained bundle as a canary: the guard moves it, and the workflow notes how it ended."""

from __future__ import annotations

from pathlib import Path

from e2e.kit import WINDOW, Up, edit_policy
from kit.commands import typed
from kit.decisions import decide
from kit.waiting import wait_for
from trimtab.app.loop.workflow_names import workflow_id
from trimtab.app.project.mlflow_access import open_registry
from trimtab.app.project.workspace import open_workspace
from trimtab.records.control import WorkflowStep
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import latest


def test_a_canary_ends_its_retraining_when_the_guard_has_promoted_it(project: Path, up: Up) -> None:
    # given a canary policy whose labels would promote at once, and a decision to retrain
    edit_policy(
        project,
        rollout={
            "strategy": "canary",
            "canary": {"steps": ["50%"], "hold": "1s", "min_requests": 5},
            "promote_when": {"metric": "log_loss", "min_labels": 0, "min_windows": 2, "max_windows": 2},
            "rollback_when": {},
        },
    )
    workspace = open_workspace(project)
    workflow = workflow_id(decide(workspace, "retrain", start=WINDOW).id)

    def noted(step: str) -> WorkflowStep | None:
        return latest(workspace.metadata, WorkflowStep, workflow=workflow, step=step)

    # when it is trained, and traffic comes
    up.start()
    wait_for(lambda: noted("challenge"), "challenge")
    typed("replay", "-p", project, "--from", "2013-03-13", "--to", "2013-03-16")
    # then the guard promotes it, the workflow notes that, and the registry's aliases follow
    wait_for(lambda: noted("promote"), "the workflow ends")
    last = noted("promote")
    assert last is not None
    assert "by guard" in last.outcome
    assert noted("compare") is None
    actions = [each.action for each in workspace.metadata.find(Revision, oldest_first=True)]
    assert actions == ["deploy", "challenge", "promote"]
    registry = open_registry(workspace)
    wait_for(lambda: registry.alias("delay", "champion") == 2, "the champion's alias follows")
    wait_for(lambda: registry.alias("delay", "challenger") is None, "the challenger's alias goes")
    assert up.interrupt() == 0
