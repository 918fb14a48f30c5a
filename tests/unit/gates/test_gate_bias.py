"""The bias gate: Fairlearn's figures, the groups behind them, and who is too small to be judged."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from trimtab.bundle.scorer import Scorer
from trimtab.errors import DataError
from trimtab.gates.bias import judge_bias
from trimtab.gates.groups import STATISTICS, GroupStatistics, GroupSums, MeasuredRows, measured_rows, measures_of, split
from trimtab.gates.inputs import GateInputs
from trimtab.metric_catalog import FAIRNESS, fitting
from trimtab.policy.gates import Bias
from trimtab.records.gate_reports import GateResult
from trimtab.runtimes.onnx import OnnxScorer
from trimtab.tasks import RULES
from unit.gates.lookup import row_numbers, table_scorer

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


def test_groups_of_personal_data_have_numbers_for_names(make: Make, biased: Scorer) -> None:
    threshold = float(np.median(make(biased).scores))
    inputs = make(biased, threshold=threshold, personal=frozenset(["carrier"]))
    (plain,) = judge_bias(make(biased, threshold=threshold), policy())
    (result,) = judge_bias(inputs, policy())
    assert result.value == plain.value
    assert all(row["group"].startswith("*** ") for row in result.details["groups"])
    shown = f"{result.reason} {result.details}"
    assert not [name for name in set(inputs.groups["carrier"]) if f"'{name}'" in shown]


def test_a_model_that_looks_at_delays_passes(make: Make) -> None:
    (result,) = judge_bias(make(), policy(max=0.45))
    assert result.verdict == "pass", result.reason
    assert result.low is not None
    assert result.high is not None
    assert result.low <= result.value <= result.high
    assert "inside the maximum of 0.45" in result.reason


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


def test_a_group_without_positives_is_judged_by_its_false_positives(make: Make) -> None:
    # given a large carrier that is never late, of which the model says yes to most flights
    inputs = make()
    united = inputs.groups["carrier"] == "UA"
    scores = np.where(united, 0.9, inputs.scores)
    never = make(table_scorer(scores), y=np.where(united, 0.0, inputs.y), X=row_numbers(inputs))

    # when all rates are compared
    (result,) = judge_bias(never, policy(metric="equalized_odds_difference"))

    # then its false positive rate counts, and that its true positive rate cannot be judged is told
    (group,) = [each for each in result.details["groups"] if each["group"] == "UA"]
    assert (group["positives"], group["tpr"], group["judged"]) == (0, None, ["fpr"])
    assert result.verdict == "fail"
    assert result.details["worst"]["measure"] == "fpr"
    assert result.details["worst"]["highest"] == "UA"
    assert "not judged: tpr of 'UA' (0 positive labels in" in result.reason


def test_a_group_without_negatives_is_judged_by_its_true_positives(make: Make) -> None:
    inputs = make()
    always = make(y=np.where(inputs.groups["carrier"] == "UA", 1.0, inputs.y))
    (result,) = judge_bias(always, policy(metric="equalized_odds_difference", max=1.2))
    (group,) = [each for each in result.details["groups"] if each["group"] == "UA"]
    assert (group["fpr"], group["judged"]) == (None, ["tpr"])
    assert result.verdict == "warn"
    assert "not judged: fpr of 'UA' (0 negative labels in" in result.reason


def test_a_large_group_that_cannot_be_judged_at_all_is_a_warning_with_its_name(make: Make) -> None:
    inputs = make()
    never = make(y=np.where(inputs.groups["carrier"] == "UA", 0.0, inputs.y))
    (result,) = judge_bias(never, policy(metric="equal_opportunity_difference", max=1.2))
    assert result.verdict == "warn"
    assert "not judged: tpr of 'UA'" in result.reason


def test_the_unfavourable_end_decides(make: Make) -> None:
    # given limits between the figure and the end of its interval that speaks against the model
    (free,) = judge_bias(make(), policy(max=1.2))
    (ratio,) = judge_bias(make(), policy(metric="demographic_parity_ratio", max=None, min=0.0))
    assert free.low is not None
    assert free.high is not None
    assert ratio.low is not None
    assert free.low <= free.value < free.high
    assert ratio.low < ratio.value

    # when the gate judges by them
    (over,) = judge_bias(make(), policy(max=(free.value + free.high) / 2))
    (under,) = judge_bias(
        make(), policy(metric="demographic_parity_ratio", max=None, min=(ratio.low + ratio.value) / 2)
    )

    # then it fails, although the figure itself is inside
    assert (over.verdict, under.verdict) == ("fail", "fail")
    assert "the upper end is" in over.reason
    assert "the lower end is" in under.reason


def test_the_worst_end_holds_the_true_gap_of_alike_groups() -> None:
    # given two groups of equal rates whose days differ, drawn again and again
    random, trials, held = np.random.default_rng(0), 200, 0
    for _ in range(trials):
        day = np.repeat(np.arange(14), 40)
        group = random.integers(0, 2, len(day))
        level = np.clip(0.3 + 0.15 * random.normal(size=(14, 2)), 0.02, 0.98)
        yes = (random.random(len(day)) < level[day, group]) * 1.0
        table = GroupSums.of(MeasuredRows(yes, np.ones(len(day), bool), is_share=True), day, group, 2)
        gap = table.gap([0, 1], ratio=False, confidence=0.95)
        held += gap.low <= 1e-12

    # then the interval excludes a gap of 0 as seldom as it says
    assert held >= binom.ppf(1e-4, trials, 0.95)


def test_a_rate_of_nothing_in_few_rows_is_not_taken_for_zero() -> None:
    day = np.arange(60) % 10
    group = np.repeat([0, 1], 30)
    table = GroupSums.of(MeasuredRows(np.zeros(60), np.ones(60, bool), is_share=True), day, group, 2)
    gap = table.gap([0, 1], ratio=False, confidence=0.95)
    assert gap.value == 0.0
    assert gap.high > 0.05


def test_missing_groups_are_a_group(make: Make) -> None:
    carrier = make().groups["carrier"].astype(object)
    carrier[:500] = None
    (result,) = judge_bias(make(groups={"carrier": carrier}), policy())
    assert {"(missing)", "UA"} <= {group["group"] for group in result.details["groups"]}


def test_nothing_judged_fails_unless_the_policy_says_otherwise(make: Make) -> None:
    (failed,) = judge_bias(make(), policy(min_group_size=100_000))
    (warned,) = judge_bias(make(), policy(min_group_size=100_000, when_not_judged="warn"))
    assert (failed.verdict, warned.verdict) == ("fail", "warn")
    assert "nothing to compare: 0 of 15 groups have 100000 rows" in failed.reason
    assert "gates.bias.when_not_judged: warn" in failed.reason


def test_rows_without_a_number_are_told(make: Make) -> None:
    inputs = make()
    scores = inputs.scores.copy()
    scores[:3] = np.nan
    (result,) = judge_bias(make(table_scorer(scores), X=row_numbers(inputs)), policy())
    assert result.verdict == "fail"
    assert "no number for 3 of" in result.reason


def test_unknown_columns_are_refused(make: Make) -> None:
    with pytest.raises(DataError, match=r"no column 'carier'. Did you mean 'carrier'"):
        judge_bias(make(), policy(sensitive=["carier"]))


def _gap(measure: str, kind: str, truth: Any, said: Any, scores: Any, day: Any, group: Any) -> float:
    if measure in STATISTICS:
        table: GroupSums = GroupStatistics.of_metric(measure, truth, scores, day, group, 3)
    else:
        loss = RULES["binary"].loss(truth, scores, 0.5)
        table = GroupSums.of(measured_rows(measure, truth, said, loss), day, group, 3)
    judged = [one for one in range(3) if table.counts[one] > 0]
    if kind.startswith("group"):
        return table.extreme(judged, lowest=kind == "group_min", confidence=0.95).value
    return table.gap(judged, ratio=kind == "ratio", confidence=0.95).value


def test_all_metrics_of_fairlearn_are_known_by_their_names() -> None:
    kinds = ("_difference", "_ratio", "_group_min", "_group_max")
    assert {name for name in fairlearn.__all__ if name.endswith(kinds)} <= set(FAIRNESS)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_each_metric_judges_real_rows(make: Make, task: Any) -> None:
    inputs = make()
    if task == "regression":
        inputs = make(table_scorer(inputs.scores, "regression"), X=row_numbers(inputs))
    for metric in fitting(task, FAIRNESS):
        low = split(metric)[1] in ("ratio", "group_min")
        (result,) = judge_bias(inputs, policy(metric=metric, **({"max": None, "min": -1e9} if low else {"max": 1e9})))
        assert result.verdict == "pass", (metric, result.reason)
        assert result.low is not None
        assert result.high is not None
        assert result.low <= result.value <= result.high, metric
        middle = (result.value + (result.low if low else result.high)) / 2
        (failed,) = judge_bias(
            inputs, policy(metric=metric, **({"max": None, "min": middle} if low else {"max": middle}))
        )
        assert failed.verdict == "fail" or middle == result.value, metric


def test_crossed_columns_show_what_each_alone_hides(make: Make) -> None:
    # given a rate that is high where two columns agree, and as high for each value alone
    rng = np.random.default_rng(0)
    n = len(make().y)
    sex, age = rng.choice(["f", "m"], n), rng.choice(["old", "young"], n)
    agree = (sex == "f") == (age == "old")
    scores = np.where(rng.random(n) < np.where(agree, 0.8, 0.2), 0.9, 0.1)
    inputs = make(table_scorer(scores), X=row_numbers(make()), groups={"sex": sex, "age": age})

    # when they are judged alone and together
    keys = {"metric": "selection_rate_difference", "max": 0.2}
    alone, other, both = judge_bias(inputs, policy(sensitive=["sex", "age", ["sex", "age"]], **keys))

    # then only the crossed groups fail
    assert [alone.verdict, other.verdict, both.verdict] == ["pass", "pass", "fail"]
    assert both.metric == "selection_rate_difference(sex x age)"
    assert "'f, old'" in both.reason or "'m, young'" in both.reason


def test_classes_are_judged_one_against_the_rest(make: Make) -> None:
    # given three classes, of which one is never said of one group
    rng = np.random.default_rng(0)
    n = len(make().y)
    y, group = rng.integers(0, 3, n), rng.choice(["a", "b"], n)
    scores = np.full((n, 3), 0.1)
    scores[np.arange(n), np.where((group == "b") & (y == 2), 0, y)] = 0.8
    inputs = make(
        table_scorer(scores, "multiclass"),
        X=row_numbers(make()),
        y=y.astype(np.float64),
        groups={"group": group},
        classes=("low", "middle", "high"),
    )
    (result,) = judge_bias(inputs, policy(sensitive=["group"], metric="true_positive_rate_difference", max=0.1))
    assert result.verdict == "fail"
    assert result.value == pytest.approx(1.0)
    assert result.details["worst"]["measure"] == "tpr of class 'high'"
    (whole,) = judge_bias(inputs, policy(sensitive=["group"], metric="log_loss_group_max", max=0.1))
    assert whole.details["worst"]["highest"] == "b"


def _regression(make: Make, **keys: Any) -> GateResult:
    """Judge predictions that are 5 too high for one carrier, and right but for noise for all others."""
    inputs = make()
    random = np.random.default_rng(0)
    y = random.normal(100, 20, len(inputs.y))
    off = np.where(inputs.groups["carrier"] == "UA", 5.0, 0.0) + random.normal(size=len(y))
    (result,) = judge_bias(make(table_scorer(y + off, "regression"), y=y, X=row_numbers(inputs)), policy(**keys))
    return result


def test_groups_of_a_regression_are_compared_by_their_errors(make: Make) -> None:
    # when groups are compared by the default of the task
    failed, passed = _regression(make, max=4.0), _regression(make, max=7.0)

    # then the carrier whose predictions are too high makes the gap
    assert (failed.verdict, passed.verdict) == ("fail", "pass")
    assert failed.metric == "mean_error_difference(carrier)"
    assert failed.value == pytest.approx(5.0, abs=0.4)
    assert failed.details["worst"]["highest"] == "UA"
    (united,) = [group for group in failed.details["groups"] if group["group"] == "UA"]
    assert united["mean_error"] == pytest.approx(5.0, abs=0.2)


@pytest.mark.parametrize(("metric", "expected"), [("rmse_ratio", 0.2), ("mae_ratio", 0.16)])
def test_errors_of_a_regression_have_ratios(make: Make, metric: str, expected: float) -> None:
    result = _regression(make, metric=metric, max=None, min=0.5)
    assert result.verdict == "fail"
    assert result.value == pytest.approx(expected, abs=0.05)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 2)), min_size=30, max_size=60),
    st.sampled_from(fitting("binary", FAIRNESS)),
)
def test_counting_gives_what_fairlearn_gives(rows: list[tuple[int, int, int]], metric: str) -> None:
    # given every group with both labels, so that every rate is defined
    full = [*rows, *((truth, truth, group) for group in range(3) for truth in (0, 1))]
    truth, said, group = (np.array(column) for column in zip(*full, strict=True))
    family, kind = split(metric)
    scores = np.where(said > 0, 0.7, 0.2) if family in ("roc_auc_score", "log_loss") else said
    more: dict[str, Any] = {"zero_division": 0} if family in ("f1_score", "precision_score") else {}
    expected = getattr(fairlearn, metric)(truth, scores, sensitive_features=group, **more)
    day = np.arange(len(truth)) % 10
    found = [_gap(measure, kind, truth * 1.0, said * 1.0, scores * 1.0, day, group) for measure in measures_of(metric)]
    low = kind in ("ratio", "group_min")
    if not np.isnan(expected):  # a ratio of rates that are all zero
        assert (min if low else max)(found) == pytest.approx(expected)
