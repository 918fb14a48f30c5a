"""What is known of every metric and task: direction, task, defaults. Policy, gates, monitoring and summaries read it.

A new task is one entry of `Task`, its metrics in METRICS and FAIRNESS, and one row in BY_TASK.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

Task = Literal["binary", "regression"]
TASKS: tuple[Task, ...] = get_args(Task)

Mistake = Literal["false_negative", "false_positive", "absolute_error", "over_prediction", "under_prediction"]
"""Kinds of mistakes, as `impact.cost` in the policy names them. Those of a regression are counted in units of error:
over_prediction is max(score - label, 0), under_prediction is max(label - score, 0)."""
MISTAKES: tuple[Mistake, ...] = get_args(Mistake)


Scale = Literal["plain", "share", "positive", "error", "up_to_one"]
"""Where a figure is closer to normal, for its interval. share: 0 to 1, by its log-odds. positive: by its logarithm.
error: above 0 and skewed, by its reciprocal. up_to_one: by the logarithm of its distance from 1. plain: as it is."""


@dataclass(frozen=True)
class MetricFacts:
    """One metric. Better ones that rise are at most 1; the others are at least 0."""

    task: Task
    higher_is_better: bool
    scale: Scale = "share"
    in_label_units: bool = False
    """Whether it has the unit of the label, so that no limit can be right for every model."""

    @property
    def worsens(self) -> str:
        """The verb for a change for the worse: "drops" or "rises"."""
        return "drops" if self.higher_is_better else "rises"

    @property
    def limit(self) -> Literal["min", "max"]:
        """Which limit a gate can hold against it."""
        return "min" if self.higher_is_better else "max"


METRICS: Mapping[str, MetricFacts] = MappingProxyType(
    {
        "roc_auc": MetricFacts("binary", True),
        "average_precision": MetricFacts("binary", True),
        "accuracy": MetricFacts("binary", True),
        "precision": MetricFacts("binary", True),
        "recall": MetricFacts("binary", True),
        "f1": MetricFacts("binary", True),
        "log_loss": MetricFacts("binary", False, "positive"),
        "brier": MetricFacts("binary", False),
        "rmse": MetricFacts("regression", False, "error", in_label_units=True),
        "mae": MetricFacts("regression", False, "error", in_label_units=True),
        "r2": MetricFacts("regression", True, "up_to_one"),
    }
)

FAIRNESS: Mapping[str, Task] = MappingProxyType(
    {
        "demographic_parity_difference": "binary",
        "demographic_parity_ratio": "binary",
        "equalized_odds_difference": "binary",
        "equalized_odds_ratio": "binary",
        "equal_opportunity_difference": "binary",
        "equal_opportunity_ratio": "binary",
        "mean_error_difference": "regression",
        "mae_difference": "regression",
        "mae_ratio": "regression",
        "rmse_difference": "regression",
        "rmse_ratio": "regression",
    }
)
"""Metrics of the bias gate -> the task that they are for."""


@dataclass(frozen=True)
class TaskMetrics:
    """The defaults of one task."""

    accuracy_gate: str
    promotion: str
    """A mean of losses by which champion and challenger are compared."""
    summary: tuple[str, ...]
    """Of every matured window and every summary; the first one is shown where there is room for one."""
    paired: tuple[str, ...]
    """Whose paired gain over the champion is kept in every window."""
    training: tuple[str, ...]
    """Of the holdout, written with every run."""
    fairness: str
    leakage: str
    """At most 1, which a single feature or a model should not reach; more is better."""
    costs: tuple[Mistake, ...]
    """Which mistakes can have a price."""


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
    }
)


def fitting(task: Task, tasks: Mapping[str, Task] | None = None) -> list[str]:
    """Return the names of the metrics of a task; tasks: by name, those of METRICS when left out."""
    known = tasks if tasks is not None else {name: facts.task for name, facts in METRICS.items()}
    return [name for name, of in known.items() if of == task]


def headline(metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """Return name and value of the metric that stands for a window's quality, or None before labels are in."""
    return next(((name, metrics[name]) for name in _headlines() if name in metrics), None)


def _headlines() -> Iterable[str]:
    return (each.summary[0] for each in BY_TASK.values())
