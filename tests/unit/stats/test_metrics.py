"""Metrics: equal to scikit-learn's, NaN where there is nothing to tell, and the ones that the policy names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from trimtab.errors import DataError, UsageError
from trimtab.metric_catalog import METRICS
from trimtab.stats.metrics import FORMULAS, metric_value, no_skill
from trimtab.tasks import SMALLEST, UNKNOWN_CLASS

Reference = Callable[[Any, Any, float], float]
REFERENCE: dict[str, Reference] = {
    "roc_auc": lambda y, s, t: sk.roc_auc_score(y, s),
    "average_precision": lambda y, s, t: sk.average_precision_score(y, s),
    "log_loss": lambda y, s, t: sk.log_loss(y, s, labels=[0, 1]),
    "brier": lambda y, s, t: sk.brier_score_loss(y, s),
    "accuracy": lambda y, s, t: sk.accuracy_score(y, s >= t),
    "bad_rate": lambda y, s, t: float(np.mean(y)),
    "balanced_accuracy": lambda y, s, t: sk.balanced_accuracy_score(y, s >= t),
    "precision": lambda y, s, t: sk.precision_score(y, s >= t),
    "recall": lambda y, s, t: sk.recall_score(y, s >= t),
    "f1": lambda y, s, t: sk.f1_score(y, s >= t),
    "rmse": lambda y, s, t: sk.root_mean_squared_error(y, s),
    "mae": lambda y, s, t: sk.mean_absolute_error(y, s),
    "mape": lambda y, s, t: sk.mean_absolute_percentage_error(y, s),
    "r2": lambda y, s, t: sk.r2_score(y, s),
    "mean_pinball_loss": lambda y, s, t: sk.mean_pinball_loss(y, s, alpha=t),
    "mean_poisson_deviance": lambda y, s, t: sk.mean_poisson_deviance(y, s),
}
BINARY = [name for name, metric in METRICS.items() if "binary" in metric.tasks]
OF_CLASSES = [name for name, metric in METRICS.items() if "multiclass" in metric.tasks]
SINGLE = sorted(name for name, metric in METRICS.items() if metric.tasks != ("multiclass",))
CLASS_REFERENCE: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": lambda y, s: sk.accuracy_score(y, s.argmax(axis=1)),
    "balanced_accuracy": lambda y, s: sk.balanced_accuracy_score(y, s.argmax(axis=1)),
    "log_loss": lambda y, s: sk.log_loss(y, s, labels=range(s.shape[1])),
    "brier": lambda y, s: sk.brier_score_loss(y, s, labels=range(s.shape[1]), scale_by_half=True),
    "f1_macro": lambda y, s: sk.f1_score(y, s.argmax(axis=1), average="macro"),
    "f1_weighted": lambda y, s: sk.f1_score(y, s.argmax(axis=1), average="weighted"),
    "precision_macro": lambda y, s: sk.precision_score(y, s.argmax(axis=1), average="macro", zero_division=0),
    "precision_weighted": lambda y, s: sk.precision_score(y, s.argmax(axis=1), average="weighted", zero_division=0),
    "recall_macro": lambda y, s: sk.recall_score(y, s.argmax(axis=1), average="macro", zero_division=0),
    "roc_auc_ovr": lambda y, s: sk.roc_auc_score(y, s, multi_class="ovr", labels=range(s.shape[1])),
    "roc_auc_ovr_weighted": lambda y, s: sk.roc_auc_score(
        y, s, multi_class="ovr", average="weighted", labels=range(s.shape[1])
    ),
}


def classes_of(random: np.random.Generator, rows: int = 400, classes: int = 4) -> tuple[Any, Any]:
    """Return labels and probabilities of classes, the last of which is rare and never predicted."""
    score = random.dirichlet(np.array([3.0] * (classes - 1) + [0.3]), rows)
    y = np.array([random.choice(classes, p=p) for p in 0.9 * score + 0.1 / classes], dtype=np.float64)
    return y, score


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", OF_CLASSES)
def test_equal_to_scikit_learn_for_several_classes(name: str, seed: int) -> None:
    y, score = classes_of(np.random.default_rng(seed))
    assert metric_value(name, y, score) == pytest.approx(CLASS_REFERENCE[name](y, score), rel=1e-9)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_no_skill_of_several_classes_is_no_better_than_their_shares(name: str) -> None:
    y, score = classes_of(np.random.default_rng(0))
    shares = np.bincount(y.astype(int), minlength=4) / len(y)
    found, gain = no_skill(name, y, classes=4), METRICS[name].gain
    assert gain(metric_value(name, y, score), found) > 0
    for constant in (*np.eye(4), np.full(4, 0.25), shares):
        assert gain(metric_value(name, y, np.tile(constant, (len(y), 1))), found) < 1e-9


def test_a_class_that_the_model_does_not_know_is_a_mistake() -> None:
    y, score = np.array([0.0, UNKNOWN_CLASS, 1.0]), np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
    assert metric_value("accuracy", y, score) == pytest.approx(2 / 3)
    assert metric_value("brier", y, score) == pytest.approx((0 + 0.75 + 0.04) / 3)
    assert metric_value("log_loss", y, score) == pytest.approx((-math.log(0.8) - math.log(SMALLEST)) / 3)
    assert metric_value("recall_macro", y, score) == pytest.approx(2 / 3)


def test_two_classes_have_the_brier_loss_and_log_loss_of_a_binary_model() -> None:
    random = np.random.default_rng(1)
    y, p = (random.random(50) < 0.5) * 1.0, random.random(50)
    for name in ("brier", "log_loss", "accuracy", "balanced_accuracy"):
        assert metric_value(name, y, np.column_stack([1 - p, p])) == pytest.approx(metric_value(name, y, p))


@pytest.mark.parametrize("digits", [1, 9])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SINGLE)
def test_equal_to_scikit_learn(name: str, seed: int, digits: int) -> None:
    random = np.random.default_rng(seed)
    score = np.round(random.random(300), digits)  # one digit: many ties
    y = (random.random(300) < score) * 1.0 if name in BINARY else score + random.normal(size=300)
    if name == "mean_poisson_deviance":
        y, score = np.floor(np.abs(y) * 3), score + 0.1
    expected = REFERENCE[name](y, score, 0.4)
    assert metric_value(name, y, score, threshold=0.4) == pytest.approx(expected, rel=1e-9)


def test_the_table_holds_what_the_policy_names() -> None:
    assert list(FORMULAS) == list(METRICS)
    assert REFERENCE.keys() | CLASS_REFERENCE.keys() == METRICS.keys()
    assert CLASS_REFERENCE.keys() == set(OF_CLASSES)
    assert all(FORMULAS[name].function.__name__ == name for name in METRICS)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_no_rows_is_nan(name: str) -> None:
    assert math.isnan(metric_value(name, [], []))


@pytest.mark.parametrize(
    ("name", "label"),
    [("roc_auc", 0), ("roc_auc", 1), ("average_precision", 0), ("recall", 0), ("precision", 0), ("f1", 0), ("r2", 1)],
)
def test_one_class_is_nan_where_the_metric_needs_two(name: str, label: int) -> None:
    assert math.isnan(metric_value(name, [label] * 3, [0.1, 0.2, 0.3]))


@pytest.mark.parametrize("name", ["log_loss", "brier", "accuracy"])
def test_one_class_is_a_figure_where_it_can_be(name: str) -> None:
    assert metric_value(name, [0, 0], [0.1, 0.2]) == pytest.approx(
        REFERENCE[name](np.zeros(2), np.array([0.1, 0.2]), 0.5)
    )


def test_a_model_that_never_says_yes_has_recall_zero() -> None:
    assert metric_value("recall", [0, 1], [0.1, 0.2]) == 0
    assert metric_value("f1", [0, 1], [0.1, 0.2]) == 0


def test_a_certain_mistake_costs_much_and_not_infinity() -> None:
    assert 30 < metric_value("log_loss", [1.0], [0.0]) < 40


def test_the_error_of_a_label_of_zero_is_huge_as_in_scikit_learn() -> None:
    assert metric_value("mape", [0.0, 10.0], [0.0, 11.0]) == pytest.approx(0.05)
    huge = metric_value("mape", [0.0, 10.0], [1.0, 10.0])
    assert huge == sk.mean_absolute_percentage_error([0.0, 10.0], [1.0, 10.0])
    assert huge > 1e15


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'roc_auc'"):
        metric_value("roc_acu", [1], [0.5])
    with pytest.raises(DataError, match="2 labels but 1 scores"):
        metric_value("brier", [1, 0], [0.5])
    with pytest.raises(DataError, match="the probability of each class"):
        metric_value("f1_macro", [1, 0], [0.5, 0.5])
    with pytest.raises(DataError, match="leave rows without a label out"):
        metric_value("brier", [1, float("nan")], [0.5, 0.5])


@pytest.mark.parametrize("name", SINGLE)
def test_no_skill_is_what_the_best_constant_reaches(name: str) -> None:
    random = np.random.default_rng(0)
    y = (random.random(500) < 0.2) * 1.0 if name in BINARY else random.normal(size=500)
    if name == "mean_poisson_deviance":
        y = np.floor(np.abs(y) * 3)
    found = no_skill(name, y)
    if name == "recall":
        assert math.isnan(found)
        return
    sign = 1 if METRICS[name].higher_is_better else -1
    constants = np.linspace(0, 1, 21) if name in BINARY else np.linspace(y.min(), y.max(), 201)
    reached = [sign * metric_value(name, y, np.full(500, one)) for one in constants]
    assert sign * found >= np.nanmax(reached) - 1e-9
    assert sign * found <= np.nanmax(reached) + 0.05
    assert math.isnan(no_skill(name, []))
