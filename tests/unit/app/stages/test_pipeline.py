"""Which report of the gates counts for a run: the one by the gates and beside the champion of now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.gateway_project import GatewayProject
from trimtab import __version__
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.app.stages.pipeline import evaluate, evaluated, registered_report
from trimtab.errors import NotFound, StageError
from trimtab.gates.report import report_key
from trimtab.records.gate_reports import GateReport
from trimtab.testing.judged import bundle_record, gate_report, run_record

NEW = 3
"""Number of the run that is judged; versions 1 and 2 are champions."""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Version 1 is champion."""
    opened = GatewayProject(tmp_path / "project").workspace
    opened.metadata.put(bundle_record(1), bundle_record(2))
    serve(opened, 1)
    yield opened
    opened.metadata.close()


def serve(workspace: Workspace, version: int) -> None:
    rollouts = Rollouts(workspace.metadata, workspace.project.policy.rollout, "delay", workspace.clock)
    rollouts.deploy(bundle_record(version), cause=f"{version}", reason="a test", by="tests", role="champion")


def judged(workspace: Workspace, champion: str | None, *, measured: bool = True) -> GateReport:
    """Write the report of the new run beside a champion."""
    policy = workspace.project.policy
    key = report_key(
        policy.gates, champion=champion, trust=policy.serving.trust, measured=measured, release=__version__
    )
    report = gate_report(NEW, champion=champion, key=key)
    workspace.metadata.put(report)
    return report


def test_a_report_beside_the_champion_of_now_is_used_again(workspace: Workspace) -> None:
    report = judged(workspace, "delay/1")
    assert evaluated(workspace, run_record(NEW)) == report
    assert evaluate(workspace, run_record(NEW)) == report


@pytest.mark.parametrize("champion", [None, "delay/2"])
def test_a_report_beside_another_champion_is_not_used(workspace: Workspace, champion: str | None) -> None:
    judged(workspace, champion)
    with pytest.raises(StageError, match="the gates of the policy or the champion have changed since"):
        evaluated(workspace, run_record(NEW))
    with pytest.raises(NotFound, match="dataset"):  # it begins to judge, and this run has no training set
        evaluate(workspace, run_record(NEW))


def test_each_champion_has_a_report_of_its_own(workspace: Workspace) -> None:
    first, second = judged(workspace, "delay/1"), judged(workspace, "delay/2")
    assert evaluated(workspace, run_record(NEW)) == first
    serve(workspace, 2)
    assert evaluated(workspace, run_record(NEW)) == second
    assert evaluate(workspace, run_record(NEW)) == second


def test_what_was_judged_without_this_machines_figures_is_no_report_with_them(workspace: Workspace) -> None:
    report = judged(workspace, "delay/1", measured=False)
    assert evaluate(workspace, run_record(NEW), measured=False) == report
    with pytest.raises(StageError, match="have changed since"):
        evaluated(workspace, run_record(NEW))


def test_a_run_that_serves_is_compared_with_no_champion(workspace: Workspace) -> None:
    # given the report of version 1's own run, written while nothing served
    policy = workspace.project.policy
    key = report_key(policy.gates, champion=None, trust=policy.serving.trust, release=__version__)
    own = gate_report(1, key=key)
    workspace.metadata.put(own)
    assert evaluated(workspace, run_record(1)) == own
    assert evaluate(workspace, run_record(1)) == own


def test_the_report_of_a_registered_run_stands_whichever_champion_served_then(workspace: Workspace) -> None:
    report = judged(workspace, "delay/1")
    assert registered_report(workspace, run_record(NEW), measured=True) is None
    workspace.metadata.put(bundle_record(NEW))
    serve(workspace, 2)
    assert registered_report(workspace, run_record(NEW), measured=True) == report
    assert registered_report(workspace, run_record(NEW), measured=False) is None
