"""The robustness gate: how much the metric drops under disturbed inputs, and under which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trimtab.bundle.scorer import Scorer
from trimtab.gates.inputs import GateInputs
from trimtab.gates.robustness import disturbances, judge_robustness
from trimtab.policy.gates import Robustness
from trimtab.runtimes.onnx import OnnxScorer
from trimtab.training.convert import convert

Make = Callable[..., GateInputs]


def policy(**keys: Any) -> Robustness:
    return Robustness.model_validate({"missing": 0.0, "noise": 0.0, **keys})


def test_a_model_that_leans_on_one_column_fails_and_the_column_is_named(make: Make) -> None:
    # when departure delays come in a unit that is a thousand times larger
    (result,) = judge_robustness(make(), policy(metric="roc_auc", shifted_units=1000, max_drop=0.03))

    # then the model that lives on them drops, and no other column matters as much
    assert result.verdict == "fail"
    assert "under dep_delay times 1000 (the worst of 5)" in result.reason
    assert result.value > 0.03
    drops = result.details["drops"]
    assert max(drops, key=drops.__getitem__) == "dep_delay times 1000"
    assert drops["distance times 1000"] < 0.03


def test_a_model_that_does_not_look_at_it_passes(make: Make, poor: Scorer) -> None:
    # given a model of the distance alone
    (result,) = judge_robustness(make(poor), policy(metric="roc_auc", missing=0.05, noise=0.1, max_drop=0.03))
    assert result.verdict == "pass"
    assert result.low is not None
    assert result.high is not None
    assert "less than the 0.03 allowed" in result.reason


def test_more_missing_values_cost_more(make: Make) -> None:
    found = [judge_robustness(make(), policy(metric="roc_auc", missing=share))[0] for share in (0.05, 0.5)]
    few, many = (result.value for result in found)
    assert 0 < few < many
    assert found[1].low is not None
    assert found[1].high is not None
    assert found[1].low <= many <= found[1].high
    assert found[1].verdict == "fail"


def test_a_rise_of_the_loss_is_a_drop(make: Make) -> None:
    (result,) = judge_robustness(make(), policy(metric="log_loss", missing=0.5))
    assert result.value > 0


def test_words_and_limits_follow_the_metric(make: Make, flights: Any) -> None:
    # given a loss, and a regression whose error has the unit of its label
    (loss,) = judge_robustness(make(), policy(metric="log_loss", missing=0.5))
    estimator = LinearRegression().fit(flights.X[: flights.split], flights.X[: flights.split, 3])
    numbers = OnnxScorer(convert(estimator, task="regression", features=5), "regression")
    inputs = make(numbers, y=flights.X[flights.split :, 3].astype(np.float64))
    (error,) = judge_robustness(inputs, policy(metric="rmse", noise=0.5))

    # then both rise, and the limit of the regression is a share of its undisturbed error
    assert "log_loss rises by" in loss.reason
    assert "rmse rises by" in error.reason
    assert error.metric == "rmse rise"
    assert error.threshold == pytest.approx(0.1 * error.details["clean"])


def test_a_metric_that_is_not_defined_fails(make: Make) -> None:
    (result,) = judge_robustness(make(y=np.zeros(len(make().y))), policy(metric="roc_auc", noise=0.1))
    assert result.verdict == "fail"
    assert "roc_auc is not defined on the holdout" in result.reason


def test_a_model_without_numbers_for_gaps_fails(make: Make, flights: Any) -> None:
    # given a linear model without imputation
    fragile = OnnxScorer(flights.graph(estimator=make_pipeline(StandardScaler(), LogisticRegression())), "binary")
    (result,) = judge_robustness(make(fragile), policy(metric="roc_auc", missing=0.05))
    assert result.verdict == "fail"
    assert "gives no number" in result.reason
    assert 0.5 < result.value <= 1


def test_nothing_asked_for_is_nothing_dropped(make: Make) -> None:
    (result,) = judge_robustness(make(), policy(metric="roc_auc"))
    assert (result.verdict, result.value) == ("pass", 0.0)


def test_disturbances_are_as_large_as_said_and_repeatable() -> None:
    # given a column of sd 10, one without spread and one without values
    X = np.stack([np.random.default_rng(0).normal(0, 10, 5000), np.ones(5000), np.full(5000, np.nan)], axis=1)
    X = X.astype(np.float32)
    keys = policy(missing=0.2, noise=0.5, shifted_units=3)
    found = {name: list(versions) for name, versions in disturbances(X, ("a", "b", "c"), keys, 0)}

    # then shares, noise and units are right, and the input is untouched
    assert list(found) == ["0.2 of values missing", "noise of 0.5 sd", "a times 3", "b times 3", "c times 3"]
    blanked = found["0.2 of values missing"]
    assert [float(np.isnan(v[:, :2]).mean()) for v in blanked] == pytest.approx([0.2] * 5, abs=0.02)
    noisy = found["noise of 0.5 sd"][0]
    assert float((noisy - X)[:, 0].std()) == pytest.approx(5, rel=0.05)
    assert (noisy[:, 1] == 1).all()
    assert (found["a times 3"][0][:, 0] == X[:, 0] * 3).all()
    assert (found["a times 3"][0][:, 1] == 1).all()
    again = dict(disturbances(X, ("a", "b", "c"), keys, 0))
    assert all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(again["noise of 0.5 sd"], found["noise of 0.5 sd"], strict=True)
    )


def test_the_feature_that_the_model_cannot_do_without_is_named(make: Make) -> None:
    (result,) = judge_robustness(make(), Robustness(missing=0, noise=0, feature_missing=1.0, feature_noise=1.0))
    assert result.verdict == "fail"
    assert "under 100% of 'dep_delay' missing (the worst of 10)" in result.reason
    drops = result.details["drops"]
    assert drops["noise of 1 sd in 'dep_delay'"] > drops["noise of 1 sd in 'month'"]
