"""The calibration gate: promises of probabilities and of prediction intervals, judged by the upper end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trimtab.bundle.calibration import calibrate
from trimtab.gates.calibration_error import (
    calibration_error,
    coverage_shortfall,
    error_by_chance,
    judge_calibration,
)
from trimtab.gates.inputs import GateInputs
from trimtab.gates.table import evaluate
from trimtab.policy.gates import Calibration, Gates
from trimtab.records.gate_reports import GateResult
from unit.gates.lookup import table_scorer

Make = Callable[..., GateInputs]
ROWS_A_DAY = 60


def policy(**keys: Any) -> Calibration:
    return Calibration.model_validate({"max": 0.06, **keys})


def inputs(make: Make, scores: Any, y: Any, *, task: Any = "binary", rows_a_day: int = ROWS_A_DAY) -> GateInputs:
    """Return the inputs of rows with these scores and labels, so many each day."""
    rows = np.arange(len(y))
    days = np.datetime64("2024-01-01", "us") + rows // rows_a_day * np.timedelta64(1, "D")
    return make(table_scorer(scores, task), X=rows.astype(np.float32)[:, None], y=y, timestamps=days)


def binary(make: Make, *, sharper: float = 1.0, days: int = 40, seed: int = 0) -> GateInputs:
    """Return labels and the scores of a model whose log-odds are `sharper` times the true ones."""
    random = np.random.default_rng(seed)
    odds = random.normal(-1, 1.5, days * ROWS_A_DAY)
    y = (random.random(odds.size) < 1 / (1 + np.exp(-odds))) * 1.0
    return inputs(make, 1 / (1 + np.exp(-sharper * odds)), y)


def regression(make: Make, *, later: float = 1.0, days: int = 40, seed: int = 0) -> GateInputs:
    """Return labels and scores whose errors are `later` times as large in the later half of the days."""
    random = np.random.default_rng(seed)
    rows = days * ROWS_A_DAY
    score = random.normal(100, 20, rows)
    errors = random.normal(0, 5, rows) * np.where(np.arange(rows) < rows // 2, 1.0, later)
    return inputs(make, score, score + errors, task="regression")


def judge(given: GateInputs, **keys: Any) -> GateResult:
    (result,) = judge_calibration(given, policy(**keys))
    return result


def test_probabilities_that_hold_pass_and_others_fail(make: Make) -> None:
    held, broken = judge(binary(make)), judge(binary(make, sharper=2.0))
    assert (held.gate, held.metric, held.verdict) == ("calibration", "calibration_error", "pass")
    assert held.high is not None
    assert f"the upper end is {0.06 - held.high:.4f} under the maximum of 0.06" in held.reason
    assert f"chance alone makes about {held.details['by_chance']:.4f}" in held.reason
    assert broken.verdict == "fail"
    assert broken.value > 0.06


def test_intervals_that_hold_pass_and_others_fail(make: Make) -> None:
    held, broken = judge(regression(make)), judge(regression(make, later=1.6))
    assert (held.metric, held.verdict) == ("coverage_shortfall", "pass")
    assert abs(held.value) < 0.03
    assert broken.verdict == "fail"
    assert broken.value > 0.1
    assert "promise to hold 0.9 of the labels" in broken.reason


@pytest.mark.parametrize("given", [binary, regression])
def test_the_estimate_alone_is_not_enough(make: Make, given: Callable[[Make], GateInputs]) -> None:
    free = judge(given(make), max=0.5)
    assert free.high is not None
    between = (max(free.value, 0.0) + free.high) / 2
    assert judge(given(make), max=between).verdict == "fail"


def test_the_calibration_error_is_a_mean_over_bins() -> None:
    y, scores = np.array([0.0, 1, 0, 1, 1, 1]), np.array([0.1, 0.1, 0.1, 0.8, 0.8, 0.8])
    assert calibration_error(y, scores, 2)(np.arange(6)) == pytest.approx((abs(1 / 3 - 0.1) + abs(1 - 0.8)) / 2)
    assert calibration_error(y, scores, 2)(np.arange(3)) == pytest.approx(1 / 3 - 0.1)


def test_chance_makes_the_error_that_is_told() -> None:
    random = np.random.default_rng(0)
    scores = random.random(2000)
    found = [calibration_error((random.random(2000) < scores) * 1.0, scores, 10)(np.arange(2000)) for _ in range(200)]
    assert error_by_chance(scores, 10) == pytest.approx(np.mean(found), rel=0.05)


def test_the_widths_are_those_that_a_bundle_would_carry() -> None:
    random = np.random.default_rng(0)
    y, scores = random.normal(size=400), random.normal(size=400)
    earlier = np.arange(400) < 200
    half = calibrate(y[:200], scores[:200]).half_width(0.8)
    expected = 0.8 - float((np.abs(y - scores)[200:] <= half).mean())
    assert coverage_shortfall(y, scores, earlier, 0.8)(np.arange(400)) == pytest.approx(expected)


@pytest.mark.parametrize("later", [1.0, 1.4])
def test_the_upper_end_holds_the_true_shortfall_over_ten_days(make: Make, later: float) -> None:
    truth = judge(regression(make, later=later, days=400)).value
    ends = [judge(regression(make, later=later, days=10, seed=seed)).high for seed in range(1, 41)]
    assert sum(end is not None and end >= truth for end in ends) >= 35


def test_few_days_make_a_rough_interval_and_a_warning(make: Make) -> None:
    given = binary(make, days=8)
    hours = given.timestamps + np.arange(len(given.y)) % 24 * np.timedelta64(1, "h")
    result = judge(make(given.candidate, X=given.X, y=given.y, timestamps=hours), max=0.5)
    assert result.verdict == "warn"
    assert "fewer than 10 days" in result.reason


def test_what_cannot_be_judged_fails(make: Make) -> None:
    few = judge(regression(make, days=20), coverage=0.9999)
    assert few.verdict == "fail"
    assert "the rows are too few" in few.reason
    scores = np.full(600, 0.5)
    scores[:3] = np.nan
    lost = judge(inputs(make, scores, np.zeros(600)))
    assert lost.verdict == "fail"
    assert "no number for 3 of 600 rows" in lost.reason


def test_it_runs_when_the_policy_has_it(make: Make) -> None:
    gates = {"accuracy": None, "leakage": None, "performance": None}
    assert evaluate(binary(make, days=12), Gates.model_validate(gates)) == ()
    (result,) = evaluate(binary(make, days=12), Gates.model_validate({**gates, "calibration": {"max": 0.5}}))
    assert result.gate == "calibration"


def test_a_value_of_another_task_is_of_no_use() -> None:
    both = policy(bins=5, coverage=0.8)
    assert [key for key, _ in both.unusable(["regression"])] == ["bins"]
    assert [key for key, _ in both.unusable(["binary"])] == ["coverage"]
    assert list(both.unusable(["binary", "regression"])) == []
