"""Changes of what serves that people ask for: once a key, and never over a revision that they have not seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.operations import deploying, rollout_orders
from trimtab.app.operations.actors import Actor
from trimtab.app.operations.freezing import freeze
from trimtab.app.rollout import rollouts
from trimtab.errors import ActionError, Forbidden, Outdated, UsageError
from trimtab.records.control import RetrainRequest
from trimtab.records.serving import Revision

ANN = Actor(name="ann", role="approver")
DEV = Actor(name="dev", role="developer")


@pytest.fixture
def project(tmp_path: Path) -> GatewayProject:
    """Version 1 serves, version 2 challenges it: revision 2."""
    made = GatewayProject(tmp_path / "project")
    made.deploy(1)
    made.deploy(2)
    return made


def test_a_repeated_request_changes_once(project: GatewayProject) -> None:
    ws = project.workspace
    first = rollout_orders.promote(ws, ANN, "delay", reason="it gains", key="k1", seen=2)
    assert (first.number, first.action, first.by, first.cause) == (3, "promote", "ann", "request/promote/k1")
    assert rollout_orders.promote(ws, ANN, "delay", reason="it gains", key="k1", seen=2) == first
    back = rollout_orders.rollback(ws, ANN, "delay", reason="it does not", key="k1", seen=3)
    assert (back.number, back.action) == (4, "rollback")


def test_a_key_of_another_request_is_refused_and_names_the_first(project: GatewayProject) -> None:
    ws, ben = project.workspace, Actor(name="ben", role="admin")
    first = rollout_orders.step(ws, ANN, "delay", reason="slowly", key="k1", share=0.3)
    assert rollout_orders.step(ws, ANN, "delay", reason="slowly", key="k1", share=0.3) == first
    for actor, reason, share in ((ANN, "slowly", 0.4), (ANN, "slowly", None), (ANN, "fast", 0.3), (ben, "slowly", 0.3)):
        with pytest.raises(UsageError, match=r"key 'k1' was used for another request, by ann: slowly"):
            rollout_orders.step(ws, actor, "delay", reason=reason, key="k1", share=share)
    back = rollout_orders.rollback(ws, ANN, "delay", reason="it does not", key="k1")
    with pytest.raises(UsageError, match="key 'k1' was used"):
        deploying.restore(ws, ANN, "delay", 1, reason="it does not", key="k1")
    assert ws.metadata.count(Revision) == back.number == 4


def test_the_same_request_at_the_same_time_gets_the_stored_revision(
    project: GatewayProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given another thread that writes the same revision just before this one does
    ws, stored = project.workspace, list[Revision]()

    def meanwhile(*args: object) -> None:
        monkeypatch.undo()
        stored.append(project.rollouts.promote(cause="request/promote/k1", reason="it gains", by="ann"))

    monkeypatch.setattr(rollouts, "closed_until", meanwhile)
    assert rollout_orders.promote(ws, ANN, "delay", reason="it gains", key="k1", seen=2) == stored[0]


def test_a_revision_that_came_meanwhile_is_named(project: GatewayProject) -> None:
    ws = project.workspace
    rollout_orders.step(ws, ANN, "delay", reason="slowly", share=0.3)
    with pytest.raises(Outdated, match=r"revision 3 came meanwhile \(step by ann: slowly\), so nothing is changed"):
        rollout_orders.abandon(ws, ANN, "delay", reason="it is worse", key="k", seen=2)
    assert ws.metadata.count(Revision) == 3


def test_a_revision_that_comes_between_look_and_change_is_not_overwritten(
    project: GatewayProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given another process that gives the challenger a larger share after the look at revision 2
    ws = project.workspace

    def meanwhile(*args: object, **options: object) -> None:
        project.rollouts.step(cause="c", reason="slowly", by="ben", share=0.3)

    monkeypatch.setattr(rollout_orders, "refuse_frozen", meanwhile)
    with pytest.raises(Outdated, match="revision 3 came meanwhile"):
        rollout_orders.promote(ws, ANN, "delay", reason="it gains", key="k", seen=2)
    assert ws.metadata.count(Revision) == 3


def test_each_change_takes_an_approver_and_a_retraining_a_developer(project: GatewayProject) -> None:
    ws = project.workspace
    for order in (rollout_orders.promote, rollout_orders.abandon, rollout_orders.rollback, rollout_orders.step):
        with pytest.raises(Forbidden, match="needs the role approver on delay"):
            order(ws, DEV, "delay", reason="it gains")
    with pytest.raises(Forbidden, match="needs the role developer on delay"):
        rollout_orders.ask_retraining(ws, Actor(name="vic", role="viewer"), "delay", reason="new terminal")
    assert (ws.metadata.count(Revision), ws.metadata.count(RetrainRequest)) == (2, 0)


def test_a_request_to_retrain_is_one_a_key_and_the_budget_holds_for_a_developer(project: GatewayProject) -> None:
    ws = project.workspace
    first = rollout_orders.ask_retraining(ws, DEV, "delay", reason="new terminal", key="k1")
    assert rollout_orders.ask_retraining(ws, DEV, "delay", reason="new terminal", key="k1") == first
    for actor, reason in ((ANN, "new terminal"), (DEV, "old terminal")):
        with pytest.raises(UsageError, match="key 'k1' was used for another request, by dev: new terminal"):
            rollout_orders.ask_retraining(ws, actor, "delay", reason=reason, key="k1")
    other = rollout_orders.ask_retraining(ws, ANN, "delay", reason="new terminal")
    assert (first.source, other.source, ws.metadata.count(RetrainRequest)) == ("api", "command", 2)


def test_a_freeze_holds_a_promotion_but_no_way_back(project: GatewayProject) -> None:
    ws = project.workspace
    freeze(ws, ANN, None, reason="year end")
    with pytest.raises(ActionError, match="all models are frozen by ann: year end"):
        rollout_orders.promote(ws, ANN, "delay", reason="it gains")
    assert rollout_orders.promote(ws, ANN, "delay", reason="it gains", force=True).number == 3
    assert deploying.restore(ws, ANN, "delay", 1, reason="it does not").number == 4
