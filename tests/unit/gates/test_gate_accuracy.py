"""The accuracy gate judges the unfavourable end of an interval that respects days."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trimtab.bundle.scorer import Scorer
from trimtab.gates.accuracy import judge_accuracy
from trimtab.gates.inputs import GateInputs
from trimtab.policy.gates import Accuracy
from trimtab.stats.intervals import cluster_interval
from trimtab.stats.metrics import metric_value
from unit.gates.lookup import row_numbers, table_scorer

Make = Callable[..., GateInputs]
SLIGHT_SKILL = 2
"""A seed whose shuffled labels go a little with the scores."""


def policy(**keys: Any) -> Accuracy:
    return Accuracy.model_validate({"resamples": 200, **keys})


def test_a_good_model_passes_by_a_margin(make: Make) -> None:
    (result,) = judge_accuracy(make(), policy(metric="roc_auc", min=0.7))
    assert result.verdict == "pass"
    assert result.low is not None
    assert result.high is not None
    assert 0.7 < result.low < result.value < result.high
    assert f"{result.low - 0.7:.4f} over the minimum of 0.7" in result.reason
    assert result.details["unit"] == "days"


def test_a_poor_model_fails_and_says_by_how_much(make: Make, poor: Scorer) -> None:
    (result,) = judge_accuracy(make(poor), policy(metric="roc_auc", min=0.7))
    assert result.verdict == "fail"
    assert result.low is not None
    assert f"{0.7 - result.low:.4f} under the minimum of 0.7" in result.reason


def test_the_estimate_alone_is_not_enough(make: Make) -> None:
    # given a minimum between the lower end and the estimate
    (free,) = judge_accuracy(make(), policy(metric="roc_auc"))
    assert free.low is not None
    between = (free.low + free.value) / 2

    # then the gate fails, although the estimate is above it
    (result,) = judge_accuracy(make(), policy(metric="roc_auc", min=between))
    assert result.value > between
    assert result.verdict == "fail"


def test_where_less_is_better_the_upper_end_counts(make: Make, poor: Scorer) -> None:
    (passed,) = judge_accuracy(make(), policy(metric="log_loss", max=0.45))
    (failed,) = judge_accuracy(make(poor), policy(metric="log_loss", max=0.45))
    assert passed.verdict == "pass"
    assert failed.verdict == "fail"
    assert "over the maximum of 0.45" in failed.reason


def test_where_less_is_better_the_estimate_alone_is_not_enough(make: Make) -> None:
    # given a maximum between the estimate and the upper end
    (free,) = judge_accuracy(make(), policy(metric="log_loss"))
    assert free.high is not None
    between = (free.value + free.high) / 2

    # then the gate fails, although the estimate is below it
    (result,) = judge_accuracy(make(), policy(metric="log_loss", max=between))
    assert result.value < between
    assert result.verdict == "fail"


def test_a_gain_over_the_champion_that_may_be_a_loss_fails(make: Make, good: Scorer, poor: Scorer) -> None:
    # given a margin between the lower end of the loss against a better champion and its estimate
    champion = {"champion": good, "champion_id": "delay/3"}
    _, free = judge_accuracy(make(poor, **champion), policy(metric="roc_auc", not_worse_than_champion_by=0.0))
    assert free.low is not None
    between = -(free.low + free.value) / 2

    # then the gate fails, although the estimate is within the margin
    _, result = judge_accuracy(make(poor, **champion), policy(metric="roc_auc", not_worse_than_champion_by=between))
    assert result.value > -between
    assert result.verdict == "fail"


def test_a_skill_that_chance_may_have_made_warns(make: Make) -> None:
    # given labels that have little to do with the scores: the gain over no skill is more than zero, not surely
    inputs = make()
    shuffled = np.random.default_rng(SLIGHT_SKILL).permutation(inputs.y)
    (result,) = judge_accuracy(make(y=shuffled), policy(metric="roc_auc"))
    assert result.value > 0.5
    assert result.verdict == "warn"


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_the_champion_is_compared_on_the_same_rows(make: Make, good: Scorer, poor: Scorer, metric: str) -> None:
    # when the better model is the candidate, and when it is the champion
    keys = policy(metric=metric, not_worse_than_champion_by=0.005)
    _, better = judge_accuracy(make(good, champion=poor, champion_id="delay/3"), keys)
    _, worse = judge_accuracy(make(poor, champion=good, champion_id="delay/3"), keys)
    _, same = judge_accuracy(make(good, champion=good), keys)

    # then a gain is more than zero whichever way the metric goes, and a twin differs by nothing at all
    assert (better.verdict, worse.verdict, same.verdict) == ("pass", "fail", "pass")
    assert better.value == pytest.approx(-worse.value)
    assert better.value > 0.05
    assert (same.low, same.value, same.high) == (0.0, 0.0, 0.0)
    assert "delay/3" in better.reason
    assert "worse than the 0.005 that may be lost" in worse.reason


def test_the_champion_decides_by_its_own_threshold(make: Make, good: Scorer) -> None:
    # given a twin that decides from another score on
    given = make(good, champion=good, threshold=0.25, champion_threshold=0.6)
    _, result = judge_accuracy(given, policy(not_worse_than_champion_by=0.0, metric="f1"))
    own, other = (metric_value("f1", given.y, given.scores, threshold=limit) for limit in (0.25, 0.6))
    assert result.value == pytest.approx(own - other)
    assert result.value != 0


def test_a_champion_may_see_other_features(make: Make, good: Scorer) -> None:
    inputs = make(good, champion=good)
    blinded = np.zeros_like(inputs.X)
    _, result = judge_accuracy(
        make(good, champion=good, champion_X=blinded), policy(not_worse_than_champion_by=0.0, metric="roc_auc")
    )
    assert result.value > 0.2, "a champion that sees nothing is a coin"


def test_without_champion_or_margin_there_is_one_result(make: Make, poor: Scorer) -> None:
    assert len(judge_accuracy(make(), policy(not_worse_than_champion_by=0.01))) == 1
    assert len(judge_accuracy(make(champion=poor), policy())) == 1


def test_days_make_the_interval_wider_than_rows_would(make: Make) -> None:
    # given labels that go with the day: half of the days nothing is late
    inputs = make()
    days = inputs.timestamps.astype("datetime64[D]").astype(np.int64)
    clustered = make(y=np.where(days % 2 == 0, inputs.y, 0.0))
    (by_day,) = judge_accuracy(clustered, policy(metric="brier"))
    by_row = cluster_interval(
        lambda rows: float(np.mean((clustered.scores[rows] - clustered.y[rows]) ** 2)),
        len(clustered.y),
        clusters=np.random.default_rng(0).integers(0, 182, len(clustered.y)),
        resamples=200,
    )
    assert by_day.low is not None
    assert by_day.high is not None
    assert by_day.high - by_day.low > 1.3 * (by_row.high - by_row.low)


def test_few_days_warn(make: Make) -> None:
    inputs = make()
    few = inputs.timestamps < inputs.timestamps[0] + np.timedelta64(4, "D")
    (result,) = judge_accuracy(
        make(X=inputs.X[few], y=inputs.y[few], timestamps=inputs.timestamps[few]), policy(metric="roc_auc", min=0.5)
    )
    assert result.verdict == "warn", result.reason
    assert "hours are the unit" in result.reason


def test_one_class_cannot_be_judged(make: Make) -> None:
    (result,) = judge_accuracy(make(y=np.zeros(len(make().y))), policy(metric="roc_auc", min=0.5))
    assert result.verdict == "fail"
    assert "its interval is not defined" in result.reason
    assert result.low is None


def test_the_same_seed_gives_the_same_interval(make: Make) -> None:
    assert judge_accuracy(make(seed=3), policy()) == judge_accuracy(make(seed=3), policy())


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "brier", "average_precision", "accuracy"])
def test_without_a_limit_a_model_that_may_be_without_skill_warns(make: Make, metric: str) -> None:
    # given scores that have nothing to do with the labels
    shuffled = np.random.default_rng(0).permutation(make().y)

    # when no limit is set
    (skilled,) = judge_accuracy(make(), policy(metric=metric))
    (chance,) = judge_accuracy(make(y=shuffled), policy(metric=metric))

    # then only the model whose interval excludes that of no skill passes
    assert skilled.verdict == "pass"
    assert chance.verdict == "warn"
    assert "no limit is set" in chance.reason
    assert "may be no better than a model without skill" in chance.reason


@pytest.mark.parametrize(("limit", "verdict"), [(0.2, "pass"), (0.05, "fail")])
def test_a_regression_can_be_judged_by_its_percentage_error(make: Make, limit: float, verdict: str) -> None:
    y = make().X[:, 1].astype(np.float64)  # miles
    inputs = make(table_scorer(1.1 * y, task="regression"), X=row_numbers(make()), y=y)
    (result,) = judge_accuracy(inputs, policy(metric="mape", max=limit))
    assert (result.verdict, round(result.value, 3)) == (verdict, 0.1)


def test_recall_alone_shows_no_skill(make: Make) -> None:
    (result,) = judge_accuracy(make(), policy(metric="recall"))
    assert result.verdict == "warn"
    assert "no recall of a model without skill" in result.reason
    (limited,) = judge_accuracy(make(), policy(metric="recall", min=0.01))
    assert limited.verdict == "pass"
