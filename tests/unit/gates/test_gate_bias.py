"""The bias gate: Fairlearn's figures, the groups behind them, and who is too small to be judged."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.bundle import Scorer
from trimtab.bundle.runtimes.onnx import OnnxScorer
from trimtab.errors import DataError, StageError
from trimtab.gates.bias import judge_bias
from trimtab.gates.inputs import GateInputs
from trimtab.gates.spread import spread
from trimtab.metric_catalog import FAIRNESS, fitting
from trimtab.policy import Bias
from trimtab.training.convert import convert

Make = Callable[..., GateInputs]

fairlearn = importlib.import_module("fairlearn.metrics")


def policy(**keys: Any) -> Bias:
    return Bias.model_validate({"sensitive": ["carrier"], "max": 0.3, **keys})


@pytest.fixture(scope="module")
def biased(flights: Any) -> Scorer:
    """A model that may only look at the carrier: all flights of a carrier get one answer."""
    return OnnxScorer(flights.graph([4]), "binary")


def test_a_model_that_judges_by_carrier_fails(make: Make, biased: Scorer) -> None:
    # given a threshold in the middle of what it says
    threshold = float(np.median(make(biased).scores))

    # when carriers are compared
    (result,) = judge_bias(make(biased, threshold=threshold), policy())

    # then some get every alarm and some none, and the reason names them
    assert result.verdict == "fail"
    assert result.value == pytest.approx(1.0)
    assert "0.700 over the maximum of 0.3" in result.reason
    worst = result.details["worst"]
    assert f"of '{worst['lowest']}'" in result.reason
    assert f"of '{worst['highest']}'" in result.reason


def test_a_model_that_looks_at_delays_passes(make: Make) -> None:
    (result,) = judge_bias(make(), policy())
    assert result.verdict == "pass"
    assert result.low is not None
    assert result.high is not None
    assert result.low <= result.value <= result.high
    assert "inside the maximum of 0.3" in result.reason


def test_small_groups_are_shown_but_not_judged(make: Make) -> None:
    (result,) = judge_bias(make(), policy(min_group_size=200))
    groups = {group["group"]: group for group in result.details["groups"]}
    assert groups["HA"]["size"] < 200
    assert not groups["HA"]["judged"]
    assert groups["UA"]["judged"]
    assert sum(group["size"] for group in groups.values()) == len(make().y)


def test_the_figure_is_fairlearns(make: Make) -> None:
    inputs = make()
    (result,) = judge_bias(inputs, policy(min_group_size=1, metric="demographic_parity_difference"))
    expected = fairlearn.demographic_parity_difference(
        inputs.y, inputs.scores >= 0.25, sensitive_features=inputs.groups["carrier"]
    )
    assert result.value == pytest.approx(expected)


def test_ratios_have_a_minimum(make: Make, biased: Scorer) -> None:
    keys = policy(metric="demographic_parity_ratio", max=None, min=0.2)
    (passed,) = judge_bias(make(), keys)
    (failed,) = judge_bias(make(biased, threshold=float(np.median(make(biased).scores))), keys)
    assert passed.verdict == "pass"
    assert failed.verdict == "fail"
    assert "under the minimum of 0.2" in failed.reason


def test_groups_without_the_labels_are_left_out(make: Make) -> None:
    # given one carrier that is never late
    inputs = make()
    never = make(y=np.where(inputs.groups["carrier"] == "UA", 0.0, inputs.y))
    (result,) = judge_bias(never, policy(metric="equal_opportunity_difference"))
    (united,) = [group for group in result.details["groups"] if group["group"] == "UA"]
    assert united["positives"] == 0
    assert not united["judged"]


def test_missing_groups_are_a_group(make: Make) -> None:
    carrier = make().groups["carrier"].astype(object)
    carrier[:500] = None
    (result,) = judge_bias(make(groups={"carrier": carrier}), policy())
    assert {"(missing)", "UA"} <= {group["group"] for group in result.details["groups"]}


def test_one_group_is_nothing_to_compare(make: Make) -> None:
    (result,) = judge_bias(make(), policy(min_group_size=100_000))
    assert result.verdict == "warn"
    assert "nothing to compare" in result.reason


def test_unknown_columns_and_regressions_are_refused(make: Make, flights: Any) -> None:
    with pytest.raises(DataError, match=r"no column 'carier'. Did you mean 'carrier'"):
        judge_bias(make(), policy(sensitive=["carier"]))
    estimator = importlib.import_module("sklearn.linear_model").Ridge().fit(flights.X[:100, :5] * 0, flights.y[:100])
    numbers = OnnxScorer(convert(estimator, task="regression", features=5), "regression")
    with pytest.raises(StageError, match=r"remove gates\.bias"):
        judge_bias(make(numbers), policy())


@settings(max_examples=30, deadline=None)  # Fairlearn takes some 50 ms a time
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 2)), min_size=30, max_size=60),
    st.sampled_from(fitting("binary", FAIRNESS)),
)
def test_counting_gives_what_fairlearn_gives(rows: list[tuple[int, int, int]], metric: str) -> None:
    # given every group with both labels, so that every rate is defined
    full = [*rows, *((truth, truth, group) for group in range(3) for truth in (0, 1))]
    truth, said, group = (np.array(column) for column in zip(*full, strict=True))
    expected = getattr(fairlearn, metric)(truth, said, sensitive_features=group)
    found = spread(metric, 3)(truth, said, group)
    if np.isnan(found):  # a ratio of rates that are all zero
        assert np.isnan(expected) or expected in (0.0, 1.0)
    else:
        assert found == pytest.approx(expected)
