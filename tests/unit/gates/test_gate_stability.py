"""The stability gate: the worst stretch of time, and a trend for the worse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trimtab.gates.inputs import GateInputs
from trimtab.gates.stability import judge_stability
from trimtab.policy.gates import Stability
from trimtab.stats.metrics import metric_value
from unit.gates.lookup import row_numbers, table_scorer

Make = Callable[..., GateInputs]
ROWS = 2000


def policy(**keys: Any) -> Stability:
    return Stability.model_validate({"metric": "accuracy", "max_drop": 0.05, **keys})


def made(make: Make, wrong: np.ndarray[Any, Any]) -> GateInputs:
    """Return inputs of 50 days with a share of wrong answers by place in time, (rows,)."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, ROWS).astype(np.float64)
    said = np.where(rng.random(ROWS) < wrong, 1 - y, y)
    times = np.datetime64("2026-01-01", "us") + np.arange(ROWS) * np.timedelta64(2_160_000_000, "us")
    inputs = make(y=y, timestamps=times, threshold=0.5, groups={})
    return make(y=y, timestamps=times, threshold=0.5, groups={}, X=row_numbers(inputs), candidate=table_scorer(said))


def test_a_stretch_that_fails_is_named_with_its_time(make: Make) -> None:
    inputs = made(make, np.where(np.arange(ROWS) // 400 == 3, 0.5, 0.1))
    (result,) = judge_stability(inputs, policy())
    assert result.verdict == "fail"
    assert "in stretch 4 of 5 (2026-01-31T" in result.reason
    rows = slice(1200, 1600)
    expected = metric_value("accuracy", inputs.y, inputs.scores) - metric_value(
        "accuracy", inputs.y[rows], inputs.scores[rows]
    )
    assert result.value == pytest.approx(expected)
    assert [fold["rows"] for fold in result.details["folds"]] == [400] * 5


def test_stretches_alike_pass(make: Make) -> None:
    (result,) = judge_stability(made(make, np.full(ROWS, 0.1)), policy())
    assert result.verdict == "pass", result.reason
    assert "may be chance" not in result.reason


def test_a_drop_that_may_be_chance_is_a_warning(make: Make) -> None:
    (result,) = judge_stability(made(make, np.full(ROWS, 0.1)), policy(max_drop=0.0))
    assert result.verdict == "warn"
    assert "which may be chance" in result.reason


def test_a_trend_for_the_worse_is_a_warning(make: Make) -> None:
    (result,) = judge_stability(made(make, np.linspace(0.05, 0.35, ROWS)), policy(max_drop=0.5))
    assert result.verdict == "warn"
    assert "from stretch to stretch it becomes 0.0" in result.reason
    assert result.details["slope"] > 0
    (up,) = judge_stability(made(make, np.linspace(0.35, 0.05, ROWS)), policy(max_drop=0.5))
    assert up.verdict == "pass"


def test_a_stretch_without_the_metric_is_a_warning(make: Make) -> None:
    inputs = made(make, np.full(ROWS, 0.1))
    inputs.y[:400] = 0
    (result,) = judge_stability(inputs, policy(metric="roc_auc"))
    assert result.verdict == "warn"
    assert "1 of 5 stretches do not define roc_auc; take fewer folds" in result.reason
