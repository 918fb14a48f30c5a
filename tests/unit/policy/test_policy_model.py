"""The sections of the policy: what can never work is refused, and every key is described."""

import re
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from trimtab.metric_catalog import FAIRNESS, METRICS, TASKS
from trimtab.policy.decide import Decide, Impact
from trimtab.policy.gates import Accuracy, Bias, Gates, Performance, Robustness
from trimtab.policy.key_reference import meanings, reference
from trimtab.policy.model import Policy
from trimtab.policy.reader import parse_policy
from trimtab.policy.rollout import PromoteWhen, Rollout
from trimtab.policy.tree import valid_keys
from trimtab.units import MICROS

NEEDED: dict[str, dict[str, Any]] = {
    "gates.bias": {"sensitive": ["carrier"], "max": 0.2},
    "training.search": {"space": {"max_depth": [2, 3]}},
}
"""Keys without which a section does not parse."""


def refused(model: type[BaseModel], words: str, **values: Any) -> None:
    with pytest.raises(ValidationError, match=words):
        model.model_validate(values)


def test_numbers_in_code_are_converted_already() -> None:
    assert Decide(window=MICROS["h"]).window == MICROS["h"]
    assert Performance(memory=10).memory == 10


def test_gates_that_can_never_pass_are_refused() -> None:
    refused(Accuracy, "can never pass: roc_auc is at most 1, min is 1.2", metric="roc_auc", min=1.2)
    refused(Accuracy, "can never pass: the metric is at most 1, min is 1.2", min=1.2)
    refused(Accuracy, "can never pass: log_loss is at least 0, max is -1", metric="log_loss", max=-1)
    refused(Bias, "can never pass: a difference between groups is at least 0", sensitive=["a"], max=-0.1)
    refused(Bias, "at most 1, min is 2", sensitive=["a"], metric="equalized_odds_ratio", min=2)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_limit_on_the_wrong_side_is_refused(metric: str) -> None:
    right, wrong = ("min", "max") if METRICS[metric].higher_is_better else ("max", "min")
    Accuracy.model_validate({"metric": metric, right: 0.5})
    refused(Accuracy, f"give {right}, not {wrong}: for {metric} (more|less) is better", metric=metric, **{wrong: 0.5})


@pytest.mark.parametrize("metric", sorted(FAIRNESS))
def test_a_ratio_needs_min_and_a_difference_max(metric: str) -> None:
    right, wrong = ("min", "max") if metric.endswith(("_ratio", "_min")) else ("max", "min")
    Bias.model_validate({"sensitive": ["a"], "metric": metric, right: 0.5})
    refused(Bias, f"give {right}: {metric} is", sensitive=["a"], metric=metric, **{wrong: 0.5})
    refused(Bias, f"give {right}: {metric} is", sensitive=["a"], metric=metric)


def test_a_comparison_that_ends_before_it_begins_is_refused() -> None:
    refused(PromoteWhen, "min_windows 20 is more than max_windows 10", min_windows=20, max_windows=10)
    refused(PromoteWhen, "min_live_windows 11 is more than max_windows 10", min_live_windows=11, max_windows=10)
    PromoteWhen.model_validate({"min_windows": 10, "min_live_windows": 10, "max_windows": 10})


def test_a_short_comparison_of_an_older_policy_is_still_a_policy() -> None:
    assert PromoteWhen.model_validate({"max_windows": 12}).max_windows == 12


def test_a_tolerated_loss_is_not_negative() -> None:
    refused(PromoteWhen, "greater than or equal to 0", tolerate=-0.1)


@pytest.mark.parametrize("split", [{"champion": 90, "challenger": 20}, {"champion": 50}, {}])
def test_a_split_adds_up(split: dict[str, float]) -> None:
    refused(Rollout, "expected 100", split=split)


@pytest.mark.parametrize("ten", ["10%", " 10.0 % ", "10", 10, 10.0])
def test_percent_may_be_written_with_its_sign(ten: object) -> None:
    assert Rollout.model_validate({"split": {"champion": "90%", "challenger": ten}}).split == {
        "champion": 90.0,
        "challenger": 10.0,
    }


def test_shares_of_a_split_are_told_as_percent() -> None:
    shares = {"champion": 0.9, "challenger": 0.1}
    refused(Rollout, "expected 100 percent; write champion: 90, challenger: 10", split=shares)


def test_a_split_has_no_negative_share() -> None:
    refused(Rollout, "challenger has -10", split={"champion": 110, "challenger": -10})


def test_levels_of_impact_are_in_order() -> None:
    refused(Impact, "must be less than high", medium="500/day", high="100/week")
    refused(Impact, "must be less than high", medium="500/day", high="500/day")


@pytest.mark.parametrize(
    ("cost", "threshold"),
    [({}, 0.5), ({"false_negative": 40, "false_positive": 5}, 1 / 9), ({"false_negative": 40}, 0.5)],
)
def test_the_threshold_follows_from_the_costs(cost: dict[str, float], threshold: float) -> None:
    assert Impact.model_validate({"cost": cost}).threshold == pytest.approx(threshold)


def test_saying_yes_at_the_threshold_costs_as_much_as_saying_no() -> None:
    impact = Impact.model_validate({"cost": {"false_negative": 40, "false_positive": 5}})
    p, cost = impact.threshold, impact.cost_for("binary")
    assert (1 - p) * cost["false_positive"] == pytest.approx(p * cost["false_negative"])


def test_pairs_of_classes_are_priced_beyond_any_other_wrong_class() -> None:
    impact = Impact.model_validate({"cost": {"misclassification": 2, "matrix": {"late": {"on time": 12}, 3: {1: 0}}}})
    assert impact.cost_for("multiclass") == {"misclassification": 2.0, "late -> on time": 10.0, "3 -> 1": -2.0}
    assert impact.cost_for("binary") == {}
    assert impact.for_task("multiclass").cost == impact.cost


@pytest.mark.parametrize(
    ("cost", "says"),
    [
        ({"matrix": 3}, "cost.matrix is 3.0; expected {true class: {predicted class: money}}"),
        ({"misclassification": {"a": {"b": 1}}}, "cost.misclassification is"),
        ({"matrix": {"late": {"late": 1}}}, "cost.matrix.late.late is no mistake"),
        ({"matrix": {"late": {"early": -1}}}, "greater than or equal to 0"),
    ],
)
def test_costs_that_are_no_prices_are_refused(cost: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Impact.model_validate({"cost": cost})


@pytest.mark.parametrize(("text", "value"), [("95%", 0.95), ("0.9", 0.9)])
def test_confidence_may_be_a_percentage(text: str, value: float) -> None:
    assert Accuracy.model_validate({"confidence": text}).confidence == value


def test_a_month_of_retrainings_needs_no_period() -> None:
    texts = ("8", "8/month", f"{8 / 30:.4f}/day")
    values = [Decide.model_validate({"budget": {"retrains": text}}).budget.retrains for text in texts]
    assert values == pytest.approx([8, 8, 8], abs=0.01)


def test_a_policy_cannot_be_changed() -> None:
    policy = parse_policy("project: p")
    with pytest.raises(ValidationError, match="frozen"):
        policy.project = "q"


# --- what is said of the keys


def test_every_key_of_every_section_has_a_meaning() -> None:
    sections = reference()
    assert len(sections) > 15
    assert [f"{section.path}.{key.name}" for section in sections for key in section.keys if not key.meaning] == []
    assert [section.path for section in sections if not section.meaning] == []


def test_every_value_is_described_and_has_a_default_that_parses() -> None:
    for section in reference():
        if "TABLE" in section.path or "NAME" in section.path:
            continue
        for key in section.keys:
            if key.default in ("", "none", "required"):
                continue
            assert key.written, key
            nested: Any = {**NEEDED.get(section.path, {}), key.name: yaml.safe_load(key.default)}
            for part in reversed(section.path.split(".")):
                nested = {part: nested}
            parse_policy(yaml.safe_dump({"project": "p", **nested}))


def test_defaults_are_written_as_they_are() -> None:
    parsed, default = parse_policy("project: p\ndecide: { window: 1d }\n"), parse_policy("project: p")
    assert parsed.decide.window == default.decide.window
    keys = {f"{section.path}.{key.name}": key.default for section in reference() for key in section.keys}
    assert keys["decide.window"] == "1d"
    assert keys["gates.performance.memory"] == "500MB"
    assert keys["gates.robustness.noise"] == "0.1sd"
    assert keys["impact.high"] == "5000/day"
    assert keys["decide.budget.retrains"] == "8/month"
    assert keys["checks.max_failing_rows"] == "1%"


def test_meanings_are_read_from_the_source() -> None:
    assert meanings(Policy)["project"] == "Name of the project."
    assert (
        "left out, log_loss for a binary or multiclass model, rmse for a regression model and roc_auc for an anomaly "
        "model." in meanings(PromoteWhen)["metric"]
    )


@pytest.mark.parametrize(
    ("path", "some"),
    [
        ((), "project"),
        (("checks", "any_table"), "schema"),
        (("decide", "matrix", "any_band"), "p"),
        (("environments", "any_name"), "metadata"),
        (("gates", "bias"), "sensitive"),
    ],
)
def test_valid_keys(path: tuple[str, ...], some: str) -> None:
    assert some in valid_keys(path)


@pytest.mark.parametrize("path", [("decide", "matrix"), ("project",), ("training", "params"), ("no", "such", "place")])
def test_where_any_name_may_stand_or_none(path: tuple[str, ...]) -> None:
    assert valid_keys(path) == []


def test_what_is_left_out_goes_by_the_task() -> None:
    policy = Policy(project="p")
    accuracy = policy.gates.accuracy
    assert accuracy is not None
    for task in TASKS:
        assert task in METRICS[accuracy.metric_for(task)].tasks
        assert task in METRICS[policy.rollout.promote_when.metric_for(task)].tasks
        assert task in METRICS[Robustness().metric_for(task)].tasks
        assert task in FAIRNESS[Bias(sensitive=["a"], max=0.1).metric_for(task)]
        assert PromoteWhen(metric="money").quality_for(task) in METRICS
    assert PromoteWhen(metric="money").metric_for("binary") == "money"
    assert Accuracy(metric="brier").metric_for("binary") == "brier"
    completed = Gates(accuracy=Accuracy(metric="brier"), robustness=Robustness()).sections()["robustness"]
    assert completed == Robustness(metric="brier")


def test_a_limit_holds_where_it_fits_the_metric_of_the_task() -> None:
    both = Accuracy(min=0.6, max=40.0)
    assert both.limits_for("binary") == (0.6, None)
    assert both.limits_for("regression") == (None, 40.0)


def test_the_limit_of_a_disturbance_is_in_the_metrics_unit() -> None:
    assert Robustness().limit_for("roc_auc", 0.8) == pytest.approx(0.03)
    assert Robustness().limit_for("rmse", 200.0) == pytest.approx(20.0)
    assert Robustness(max_drop=3.0).limit_for("rmse", 200.0) == 3.0
    assert Robustness(max_relative_drop=0.25).limit_for("roc_auc", 0.8) == pytest.approx(0.2)
    refused(Robustness, "not both", max_drop=0.1, max_relative_drop=0.1)


def test_costs_are_those_of_the_task_and_none_is_negative() -> None:
    impact = Impact(cost={"false_negative": 3.0, "over_prediction": 0.5})
    assert impact.for_task("binary").cost == {"false_negative": 3.0}
    assert impact.for_task("regression").cost == {"over_prediction": 0.5}
    refused(Impact, "greater than or equal to 0", cost={"false_negative": -1})
