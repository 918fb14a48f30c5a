"""Answers to reviews: once, by who may, and a repeated request is the first one."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.gateway_project import GatewayProject
from kit.decisions import decide
from trimtab.app.operations.actors import Actor
from trimtab.app.operations.answers import answer
from trimtab.app.operations.freezing import freeze, unfreeze
from trimtab.app.project.workspace import Workspace
from trimtab.errors import ActionError, Answered, Conflict, Forbidden, UsageError
from trimtab.records.control import Resolution

ANN, BEN = (Actor(name=name, role="approver", models=("delay",)) for name in ("ann", "ben"))
VIEWER = Actor(name="vic", role="viewer")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return GatewayProject(tmp_path / "project").workspace


def test_a_repeated_request_is_one_answer_and_another_one_is_a_conflict(workspace: Workspace) -> None:
    decision = decide(workspace).id
    first = answer(workspace, ANN, decision, "approve", reason="the terminal opened", key="k1")
    assert answer(workspace, ANN, decision, "approve", reason="the terminal opened ", key="k1") == first
    with pytest.raises(Conflict, match=r"answered by ann at .* UTC: approve \(the terminal opened\)"):
        answer(workspace, BEN, decision, "reject", reason="it did not open", key="k2")
    with pytest.raises(Answered):  # a command has no key, and says that there is nothing left to answer
        answer(workspace, ANN, decision, "approve", reason="the terminal opened")
    assert workspace.metadata.count(Resolution) == 1


@pytest.mark.parametrize(
    "actor", [VIEWER, Actor(name="dev", role="developer"), Actor(name="x", role="admin", models=("y",))]
)
def test_only_an_approver_of_the_model_answers(workspace: Workspace, actor: Actor) -> None:
    decision = decide(workspace).id
    with pytest.raises(Forbidden, match=r"needs the role (approver|viewer) on delay"):
        answer(workspace, actor, decision, "approve", reason="the terminal opened")
    assert workspace.metadata.count(Resolution) == 0


def test_a_decision_that_is_none_is_named_with_those_that_wait(workspace: Workspace) -> None:
    decide(workspace)
    with pytest.raises(UsageError, match="Waiting for review: delay/decision/1"):
        answer(workspace, ANN, "delay/decision/7", "approve", reason="the terminal opened")


def test_a_frozen_model_is_rejected_but_not_approved(workspace: Workspace) -> None:
    decision = decide(workspace).id
    with pytest.raises(Forbidden):
        freeze(workspace, VIEWER, "delay", reason="year end")
    freeze(workspace, ANN, "delay", reason="year end")
    with pytest.raises(ActionError, match="delay is frozen by ann: year end"):
        answer(workspace, ANN, decision, "approve", reason="the terminal opened")
    unfreeze(workspace, ANN, "delay", reason="it is over")
    assert answer(workspace, ANN, decision, "approve", reason="the terminal opened").verdict == "approve"
