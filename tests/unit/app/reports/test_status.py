"""What serves since when, and what waits for a person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.status import status
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.clock import ManualClock
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft
from trimtab.control.ledger import Ledger
from trimtab.control.resolve import resolve
from trimtab.testing.judged import bundle_record, window_report

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = open_workspace(GatewayProject(tmp_path / "project").folder, clock=ManualClock(START))
    yield opened
    opened.metadata.close()


@pytest.fixture
def rollouts(workspace: Workspace) -> Rollouts:
    """What changes what serves; these bundles have no files to look into."""
    return Rollouts(workspace.metadata, workspace.project.policy.rollout, "delay", workspace.clock)


def model(workspace: Workspace) -> dict[str, Any]:
    return dict(status(workspace)["models"]["delay"])


def test_a_champion_serves_since_it_came_back_whatever_came_beside_it(workspace: Workspace, rollouts: Rollouts) -> None:
    # given two champions in turn, a rollback, and a challenger, an hour apart
    said: dict[str, Any] = {"reason": "a test", "by": "tests"}
    rollouts.deploy(bundle_record(1), cause="1", role="champion", **said)
    workspace.clock.sleep(HOUR.total_seconds())
    rollouts.deploy(bundle_record(2), cause="2", role="champion", **said)
    workspace.clock.sleep(HOUR.total_seconds())
    rollouts.rollback(cause="r", **said)
    workspace.clock.sleep(HOUR.total_seconds())
    rollouts.deploy(bundle_record(3), cause="3", role="challenger", **said)
    # then each serves since it took its role for the last time
    serving = {each["bundle"]: each["since"] for each in model(workspace)["serving"]}
    assert serving == {
        "delay/1": (START + 2 * HOUR).isoformat(),
        "delay/3": (START + 3 * HOUR).isoformat(),
    }


def test_a_review_is_open_until_it_is_answered(workspace: Workspace) -> None:
    draft = Draft(
        cause=Cause(window=window_report(1), signals=()),
        band="severe",
        impact_per_day=0.0,
        impact="high",
        cell="retrain",
        action="review",
        reasons=("a test",),
    )
    decision = Ledger(workspace.metadata, "delay").append(draft, clock=workspace.clock)
    assert decision is not None
    assert [each["id"] for each in model(workspace)["open_reviews"]] == [decision.id]
    resolve(workspace.metadata, decision.id, "reject", reason="no", by="ann", clock=workspace.clock)
    assert model(workspace)["open_reviews"] == []
    assert [each["id"] for each in model(workspace)["decisions"]] == [decision.id]


def test_nothing_has_happened_yet(workspace: Workspace) -> None:
    found = status(workspace)
    assert (found["gateway"], found["steering"], found["dead_workflows"]) == (None, None, [])
    assert (model(workspace)["serving"], model(workspace)["revision"]) == ([], None)
    assert {kind: each["count"] for kind, each in found["records"].items() if each["count"]} == {}
