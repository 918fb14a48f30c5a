"""Estimates before labels: right for calibrated scores, blind for turned labels, and measured afterwards."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.monitoring.estimates import estimate_errors, estimated_metrics, past_errors
from trimtab.monitoring.expectation import Expectation
from trimtab.monitoring.mistakes import Costs, mean_mistakes
from trimtab.stats.metrics import metric_value
from trimtab.testing.judged import window_report
from trimtab.testing.streams import World, play
from unit.monitoring.monitor_bench import DAYS, Bench, reference

COSTS: Costs = {"false_negative": 40.0, "false_positive": 5.0}


@given(st.integers(0, 2**31), st.floats(0.2, 3.0))
def test_the_estimate_of_a_calibrated_model_is_its_performance(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(-0.5, spread, 20_000)))
    y = (rng.random(len(p)) < p).astype(np.float64)
    known = reference()
    found = estimated_metrics(p, known, COSTS)
    for name, slack in (("log_loss", 0.03), ("brier", 0.015), ("accuracy", 0.02)):
        assert found[f"estimated_{name}"] == pytest.approx(
            metric_value(name, y, p, threshold=known.threshold), abs=slack
        )
    made = mean_mistakes(y, p, task="binary", threshold=known.threshold)
    lost = (made["false_negative"] * 40 + made["false_positive"] * 5) * len(p)
    assert found["estimated_money_lost"] == pytest.approx(lost, rel=0.15)


def test_a_regression_expects_the_error_of_like_predictions() -> None:
    rng = np.random.default_rng(0)
    score = rng.uniform(0, 100, 5_000)
    fitted = Expectation.fit(score + rng.normal(0, 1 + score / 20), score, task="regression")
    known = dataclasses.replace(reference(), task="regression", expectation=fitted)
    low, high = (estimated_metrics(np.full(50, at), known, COSTS) for at in (5.0, 95.0))
    assert low["estimated_rmse"] == pytest.approx(1.25, rel=0.2)
    assert high["estimated_rmse"] == pytest.approx(5.75, rel=0.2)
    assert list(low) == ["estimated_rmse"]


def test_rows_without_a_score_are_left_out_and_no_scores_give_no_estimate() -> None:
    known = reference()
    assert estimated_metrics(np.array([np.nan]), known, COSTS) == {}
    assert estimated_metrics(np.array([0.2, np.nan]), known, {}) == estimated_metrics(np.array([0.2]), known, {})


def test_a_sure_score_is_finite() -> None:
    found = estimated_metrics(np.array([0.0, 1.0]), reference(), COSTS)
    assert found["estimated_accuracy"] == pytest.approx(1)
    assert found["estimated_log_loss"] == pytest.approx(0, abs=1e-12)


def test_the_error_is_measured_minus_estimated_and_money_is_that_of_the_labelled_rows() -> None:
    metrics = {
        "log_loss": 0.5,
        "estimated_log_loss": 0.4,
        "money_lost": 70.0,
        "estimated_money_lost": 100.0,
        "p99_ms": 1,
    }
    assert estimate_errors(metrics, coverage=0.5) == {
        "estimated_log_loss_error": pytest.approx(0.1),
        "estimated_money_lost_error": pytest.approx(20),
    }
    assert estimate_errors({"estimated_log_loss": 0.4}, coverage=0.5) == {}


def test_past_errors_are_told_by_metric() -> None:
    reports = [window_report(n, metrics={"estimated_brier_error": error}) for n, error in enumerate((0.1, -0.3))]
    assert past_errors([*reports, window_report(5)]) == {
        "brier": {"windows": 2, "mean_error": pytest.approx(-0.1), "mean_absolute_error": pytest.approx(0.2)}
    }


def test_windows_carry_the_estimate_before_and_its_error_after_the_labels(bench: Bench) -> None:
    play(bench.log, World(seed=3), range(DAYS, DAYS + 6))
    play(bench.log, World(seed=3, flip=0.2), range(DAYS + 6, DAYS + 12))
    bench.monitor().step()
    closed, matured = bench.reports("closed"), bench.reports("matured")
    assert all("estimated_log_loss" in report.metrics for report in closed)
    assert all("estimated_log_loss_error" not in report.metrics for report in closed)
    errors = [report.metrics["estimated_log_loss_error"] for report in matured if report.labelled]
    assert abs(np.mean(errors[:5])) < 0.05
    assert np.mean(errors[5:]) > 0.1, "20 % turned labels: the estimate does not move, its error says so"
    estimates = [report.metrics["estimated_log_loss"] for report in closed]
    assert np.mean(estimates[:6]) == pytest.approx(np.mean(estimates[6:]), abs=0.03)
