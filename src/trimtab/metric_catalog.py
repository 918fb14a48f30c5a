"""The facts of every metric and task: direction, range, scale, unit, defaults.

This file holds no arithmetic: `stats/metrics.py` computes the metrics by the same names, and `tasks.py` says what the
labels and scores of a task are. A new task is one entry of `Task`, its metrics in METRICS and FAIRNESS, one row in
BY_TASK, and one row in `tasks.RULES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

ModelTask = Literal["binary", "multiclass", "regression", "anomaly"]
TASKS: tuple[ModelTask, ...] = get_args(ModelTask)
"""The tasks of models, which are trained."""
Task = Literal["binary", "multiclass", "regression", "anomaly", "chat"]
CHAT: Task = "chat"
"""The task of prompts. Their score is always 0; a label of 1 is a bad turn, such as one with a thumb down."""

Mistake = Literal[
    "false_negative",
    "false_positive",
    "misclassification",
    "absolute_error",
    "over_prediction",
    "under_prediction",
    "bad_turn",
]
"""Kinds of mistakes, as `impact.cost` in the policy names them. misclassification is any wrong class of a multiclass
model. Those of a regression are counted in units of error: over_prediction is max(score - label, 0), under_prediction
is max(label - score, 0)."""

PAIR = " -> "
MONEY = "money"
"""In the place of a metric: money that mistakes cost a prediction. Versions are compared by it, not measured."""


def class_pair(true: str, predicted: str) -> str:
    """Return the kind of mistake of rows of one class that another one is predicted for."""
    return f"{true}{PAIR}{predicted}"


Scale = Literal["plain", "share", "positive", "error", "up_to_one"]
"""The scale on which a metric is closer to normal; its interval is computed there. share: log-odds of 0 to 1.
positive: logarithm. error: reciprocal, for skewed values above 0. up_to_one: logarithm of the distance from 1.
plain: the value itself."""


HIGHEST = 1.0
"""The best value of a metric that is better when higher; a `min` above it can never be met."""
CONTAMINATION = 0.05
"""Share of the training rows of an anomaly model that its threshold flags, unless the policy says otherwise."""
LOWEST = 0.0
"""The best value of a metric that is better when lower; a `max` below it can never be met."""


@dataclass(frozen=True)
class MetricFacts:
    """One metric."""

    tasks: tuple[Task, ...]
    higher_is_better: bool
    scale: Scale = "share"
    in_label_units: bool = False
    """Whether its unit is the label's, so that no limit suits every model."""
    note: str = ""
    """What a user must know of its value, for docs/policy.md."""

    @property
    def better(self) -> Literal["more", "less"]:
        """The better direction."""
        return "more" if self.higher_is_better else "less"

    @property
    def worsening(self) -> Literal["drop", "rise"]:
        """The word for a change for the worse."""
        return "drop" if self.higher_is_better else "rise"

    @property
    def limit(self) -> Literal["min", "max"]:
        """The limit of a policy that suits it."""
        return "min" if self.higher_is_better else "max"

    def gain(self, value: float, other: float) -> float:
        """Return by how much `value` is better than `other`, in the metric's unit; less than 0 when it is worse."""
        return value - other if self.higher_is_better else other - value


_FLAGS: tuple[Task, ...] = ("binary", "anomaly")
_CLASSES: tuple[Task, ...] = ("binary", "multiclass")

METRICS: Mapping[str, MetricFacts] = MappingProxyType(
    {
        "roc_auc": MetricFacts(_FLAGS, True),
        "average_precision": MetricFacts(_FLAGS, True),
        "accuracy": MetricFacts(("binary", "multiclass", "anomaly"), True),
        "precision": MetricFacts(_FLAGS, True),
        "recall": MetricFacts(_FLAGS, True),
        "f1": MetricFacts(_FLAGS, True),
        "log_loss": MetricFacts(_CLASSES, False, "positive"),
        "brier": MetricFacts(
            _CLASSES, False, note="of several classes half the sum over them, so that it is at most 1"
        ),
        "balanced_accuracy": MetricFacts(("binary", "multiclass", "anomaly"), True),
        "f1_macro": MetricFacts(("multiclass",), True),
        "f1_weighted": MetricFacts(("multiclass",), True),
        "precision_macro": MetricFacts(("multiclass",), True),
        "precision_weighted": MetricFacts(("multiclass",), True),
        "recall_macro": MetricFacts(("multiclass",), True),
        "roc_auc_ovr": MetricFacts(("multiclass",), True, note="not defined where a class has no row"),
        "roc_auc_ovr_weighted": MetricFacts(("multiclass",), True, note="not defined where a class has no row"),
        "rmse": MetricFacts(("regression",), False, "error", in_label_units=True),
        "mae": MetricFacts(("regression",), False, "error", in_label_units=True),
        "mape": MetricFacts(
            ("regression",), False, "error", note="a share; one wrong prediction of a label of 0 makes it huge"
        ),
        "r2": MetricFacts(("regression",), True, "up_to_one"),
        "mean_pinball_loss": MetricFacts(
            ("regression",),
            False,
            "error",
            in_label_units=True,
            note="of the quantile that a model predicts (its training finds out which), else of the median",
        ),
        "bad_rate": MetricFacts(("chat",), False, note="share of the turns of a prompt whose label says bad"),
        "mean_poisson_deviance": MetricFacts(
            ("regression",), False, "error", in_label_units=True, note="defined for predictions above 0 alone"
        ),
    }
)

OF_OBJECTIVE: Mapping[str, str] = MappingProxyType(
    {"quantile": "mean_pinball_loss", "poisson": "mean_poisson_deviance"}
)
"""What a regression has minimised -> the metric of it, which every run has in addition."""

_DECIDING: tuple[Task, ...] = ("binary", "multiclass", "anomaly")
_RATES = ("selection_rate", *(f"{of}_{side}_rate" for of in ("true", "false") for side in ("positive", "negative")))

FAIRNESS: Mapping[str, tuple[Task, ...]] = MappingProxyType(
    {
        **{
            f"{name}_{kind}": _DECIDING
            for name in ("demographic_parity", "equalized_odds", "equal_opportunity", *_RATES, "accuracy_score")
            for kind in ("difference", "ratio")
        },
        "zero_one_loss_difference": _DECIDING,
        "zero_one_loss_ratio": _DECIDING,
        "zero_one_loss_group_max": _DECIDING,
        "accuracy_score_group_min": _DECIDING,
        "balanced_accuracy_score_group_min": _DECIDING,
        "f1_score_group_min": _DECIDING,
        "precision_score_group_min": _DECIDING,
        "recall_score_group_min": _DECIDING,
        "roc_auc_score_group_min": _DECIDING,
        "log_loss_group_max": _CLASSES,
        "mean_error_difference": ("regression",),
        "mae_difference": ("regression",),
        "mae_ratio": ("regression",),
        "rmse_difference": ("regression",),
        "rmse_ratio": ("regression",),
        "mean_absolute_error_group_max": ("regression",),
        "mean_squared_error_group_max": ("regression",),
        "r2_score_group_min": ("regression",),
    }
)
"""Metrics of the bias gate -> their tasks: all of Fairlearn's, by its names, and errors of a regression."""


@dataclass(frozen=True)
class TaskMetrics:
    """The defaults of one task."""

    accuracy_gate: str
    promotion: str
    """Compares champion and challenger in each window, unless the policy names another metric."""
    summary: tuple[str, ...]
    """Computed for every matured window and every summary; a table with room for one metric shows the first."""
    paired: tuple[str, ...]
    """Compared with the champion in every window, in addition to the metric of `promote_when`."""
    training: tuple[str, ...]
    """Computed on the holdout and written with every run."""
    fairness: str
    leakage: str
    """At most 1; a value close to 1 is suspicious for a single feature or a model."""
    costs: tuple[Mistake, ...]
    """Mistakes that can have a price."""


BY_TASK: Mapping[Task, TaskMetrics] = MappingProxyType(
    {
        "binary": TaskMetrics(
            accuracy_gate="roc_auc",
            promotion="log_loss",
            summary=("log_loss", "roc_auc", "brier", "accuracy"),
            paired=("log_loss", "brier"),
            training=("roc_auc", "average_precision", "log_loss", "brier"),
            fairness="equalized_odds_difference",
            leakage="roc_auc",
            costs=("false_negative", "false_positive"),
        ),
        "multiclass": TaskMetrics(
            accuracy_gate="balanced_accuracy",
            promotion="log_loss",
            summary=("log_loss", "accuracy", "balanced_accuracy", "f1_macro", "brier"),
            paired=("log_loss", "brier"),
            training=("accuracy", "balanced_accuracy", "f1_macro", "roc_auc_ovr", "log_loss", "brier"),
            fairness="accuracy_score_difference",
            leakage="roc_auc_ovr",
            costs=("misclassification",),
        ),
        "regression": TaskMetrics(
            accuracy_gate="rmse",
            promotion="rmse",
            summary=("rmse", "mae", "r2"),
            paired=("rmse", "mae"),
            training=("rmse", "mae", "r2"),
            fairness="mean_error_difference",
            leakage="r2",
            costs=("absolute_error", "over_prediction", "under_prediction"),
        ),
        "anomaly": TaskMetrics(
            accuracy_gate="roc_auc",
            promotion="roc_auc",
            summary=("roc_auc", "average_precision", "precision", "recall", "f1"),
            paired=("roc_auc", "average_precision"),
            training=("roc_auc", "average_precision", "precision", "recall", "f1"),
            fairness="demographic_parity_difference",
            leakage="roc_auc",
            costs=("false_negative", "false_positive"),
        ),
        "chat": TaskMetrics(
            accuracy_gate="bad_rate",
            promotion="bad_rate",
            summary=("bad_rate",),
            paired=("bad_rate",),
            training=("bad_rate",),
            fairness="",
            leakage="",
            costs=("bad_turn",),
        ),
    }
)


def fitting(task: Task, tasks: Mapping[str, tuple[Task, ...]] | None = None) -> list[str]:
    """Return the names of the metrics of a task. tasks: name -> tasks; left out, of METRICS."""
    known = tasks if tasks is not None else {name: facts.tasks for name, facts in METRICS.items()}
    return [name for name, of in known.items() if task in of]


def of_models(tasks: Iterable[Task]) -> str:
    """Return models of tasks in words: "a binary or multiclass model"."""
    named = list(tasks)
    return f"{'an' if named[0][0] in 'aeiou' else 'a'} {' or '.join(named)} model"


def with_metric(names: tuple[str, ...], metric: str | None, task: Task) -> tuple[str, ...]:
    """Return the names, and `metric` if it is for the task."""
    known = METRICS.get(metric or "")
    return tuple(dict.fromkeys((*names, metric) if metric and known and task in known.tasks else names))


def compared_metrics(task: Task, metric: str | None) -> tuple[str, ...]:
    """Return the metrics by which two versions are compared in a window: the task's, and `metric` if it is for it."""
    return with_metric(BY_TASK[task].paired, metric, task)


def headline(metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """Return the name and value of the first summary metric of a window; None before its labels are known."""
    names = (of.summary[0] for of in BY_TASK.values())
    return next(((name, metrics[name]) for name in names if name in metrics), None)
