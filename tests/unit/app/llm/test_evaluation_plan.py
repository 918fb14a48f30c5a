"""What items can show is known before money is spent, and no version widens its own margin."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from kit.triage_project import write_triage
from trimtab.app.llm.evaluation_plan import spread_before, tolerated_loss
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.errors import PolicyError
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.record import Verdict


def workspace(folder: Path, policy: str = "") -> Workspace:
    return open_workspace(write_triage(folder / "tickets", items=3, policy=policy))


def report(of: Workspace, number: int, verdict: Verdict, spread: float) -> None:
    result = GateResult(
        gate="quality",
        metric="exact",
        verdict=verdict,
        value=0.0,
        low=None,
        high=None,
        threshold=None,
        reason="",
        details={"spread": spread},
    )
    of.metadata.put(
        GateReport(
            id=f"{number}", created_at=of.now(), model="triage", run=f"{number}", champion=None, verdict=verdict,
            results=(result,),
        )
    )  # fmt: skip


@pytest.mark.parametrize(("items", "points"), [(50, 11.1), (200, 5.6), (1000, 2.5)])
def test_auto_tolerates_what_the_items_can_show(tmp_path: Path, items: int, points: float) -> None:
    margin, shown = tolerated_loss(workspace(tmp_path), units=items, spread=math.sqrt(0.1))
    assert margin == shown
    assert round(100 * margin, 1) == points


def test_auto_tolerates_at_most_15_points(tmp_path: Path) -> None:
    margin, shown = tolerated_loss(workspace(tmp_path), units=20, spread=math.sqrt(0.1))
    assert (margin, round(shown, 3)) == (0.15, 0.176)


def test_a_fixed_margin_that_cannot_be_shown_is_refused_with_the_items_that_it_needs(tmp_path: Path) -> None:
    of = workspace(tmp_path, "llm: { gates: { quality: { not_worse_by: 5% } } }\n")
    assert tolerated_loss(of, units=400, spread=math.sqrt(0.1))[0] == 0.05
    with pytest.raises(PolicyError, match=r"trimtab.yaml:4: .*5.0% cannot be shown with 200 items, .* 248 would"):
        tolerated_loss(of, units=200, spread=math.sqrt(0.1))


def test_only_a_comparison_that_passed_says_how_much_versions_differ(tmp_path: Path) -> None:
    of = workspace(tmp_path)
    assert spread_before(of.metadata, "triage", "exact") == math.sqrt(0.1)
    report(of, 1, "fail", 0.9)
    assert spread_before(of.metadata, "triage", "exact") == math.sqrt(0.1)
    report(of, 2, "pass", 0.4)
    report(of, 3, "fail", 0.9)
    assert spread_before(of.metadata, "triage", "exact") == 0.4
    report(of, 4, "pass", 0.05)
    assert spread_before(of.metadata, "triage", "exact") == math.sqrt(0.1)
