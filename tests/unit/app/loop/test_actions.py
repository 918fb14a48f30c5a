"""What the controller asks for: a rollback of the version that was judged, and of no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.gateway_project import GatewayProject
from kit.decisions import decide
from trimtab.app.loop.actions import LoopActions
from trimtab.app.loop.workflows import Workflows
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.decision_list import DecisionFilter, list_decisions
from trimtab.app.reports.status import status
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft
from trimtab.control.ledger import Ledger
from trimtab.errors import ActionError
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.serving import Revision
from trimtab.testing.judged import window_report


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Versions 1 to 3 have been champion in turn."""
    project = GatewayProject(tmp_path / "project", rollout={"strategy": "blue-green"})
    for version in (1, 2, 3):
        project.deploy(version)
    yield project.workspace
    project.workspace.metadata.close()


@pytest.fixture
def actions(workspace: Workspace) -> Iterator[LoopActions]:
    workflows = Workflows(workspace.workflows_url)
    yield LoopActions(workspace, workflows)
    workflows.close()


def rollback_of(workspace: Workspace, version: int) -> Decision:
    """Write the decision that a window of a version asks for."""
    draft = Draft(
        cause=Cause(window=window_report(version, version=version), signals=()),
        band="none",
        impact_per_day=0.0,
        impact="low",
        cell="monitor",
        action="rollback",
        reasons=("3% of 1,000 predictions failed",),
    )
    ledger = Ledger(workspace.metadata, "delay")
    decision = ledger.append(draft, clock=workspace.clock)
    assert decision is not None
    return decision


def test_the_version_that_was_judged_is_rolled_back_once(workspace: Workspace, actions: LoopActions) -> None:
    decision = rollback_of(workspace, 3)
    for _ in range(2):
        actions.rollback(decision)
    newest, *_ = workspace.metadata.find(Revision, model="delay")
    assert (newest.number, newest.action, newest.bundle_in("champion")) == (4, "rollback", "delay/2")
    assert (newest.cause, newest.reason) == (decision.id, "3% of 1,000 predictions failed")


def test_a_version_that_came_in_the_place_of_the_judged_one_goes_on_serving(
    workspace: Workspace, actions: LoopActions
) -> None:
    with pytest.raises(ActionError, match="has version 3 as champion in revision 3; judged was version 2"):
        actions.rollback(rollback_of(workspace, 2))
    assert workspace.metadata.count(Revision) == 3


def test_a_review_is_escalated_once(workspace: Workspace, actions: LoopActions) -> None:
    review = decide(workspace)
    for reason in ("no answer for 3d", "no answer for 3d", "no answer for 5d"):
        actions.escalate(review, reason)
    (step,) = workspace.metadata.find(WorkflowStep)
    assert (step.workflow, step.decision, step.step) == (f"retrain/{review.id}", review.id, "escalate")
    assert step.outcome == "no answer for 3d"
    # and the status and the list of decisions say so
    (opened,) = status(workspace)["models"]["delay"]["open_reviews"]
    assert opened["escalated"] == "no answer for 3d"
    (listed,) = list_decisions(workspace, DecisionFilter(), limit=None)
    assert (listed.state, listed.became) == ("open", "waits for an answer; escalated: no answer for 3d")
