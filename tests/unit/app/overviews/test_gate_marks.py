"""A gate that passes lies right of the common line of the thresholds, whichever side is its good one."""

from __future__ import annotations

import pytest

from trimtab.app.overviews.gate_marks import gate_marks
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict


def result(gate: str, metric: str, verdict: Verdict, value: float, ends: tuple[float, float] | None) -> GateResult:
    low, high = ends or (None, None)
    return GateResult(
        gate=gate, metric=metric, verdict=verdict, value=value, low=low, high=high, threshold=0.5, reason=""
    )


@pytest.mark.parametrize(
    ("found", "higher"),
    [
        (result("accuracy", "roc_auc", "pass", 0.7, (0.6, 0.8)), True),
        (result("accuracy", "roc_auc", "fail", 0.6, (0.4, 0.8)), True),  # its bad end is below the limit
        (result("accuracy", "log_loss", "fail", 0.4, (0.3, 0.6)), False),
        (result("bias", "ratio(origin)", "pass", 0.8, (0.6, 0.9)), True),
        (result("bias", "ratio(origin)", "fail", 0.3, (0.2, 0.4)), True),
        (result("bias", "difference(origin)", "fail", 0.8, (0.6, 0.9)), False),
        (result("performance", "p99", "pass", 0.1, None), False),
        (result("performance", "p99", "fail", 0.9, None), False),
        (result("leakage", "alone", "warn", 0.9, None), False),
        (result("robustness", "drop", "fail", 0.4, (0.3, 0.6)), False),
    ],
)
def test_the_good_side_is_known_or_follows_from_the_verdict(found: GateResult, higher: bool) -> None:
    (mark,) = gate_marks([found])
    assert mark.higher_is_better is higher


def test_results_of_one_gate_are_numbered() -> None:
    leaks = [result("leakage", "alone", "pass", 0.1, None)] * 2
    assert [mark.name for mark in gate_marks(leaks)] == ["leakage", "leakage 2"]
