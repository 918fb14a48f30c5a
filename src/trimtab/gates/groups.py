"""Rates and errors of each group, and how far two groups may lie apart.

A measure is a mean over some rows of a group (for rmse its root): the true positive rate over its positive rows. A
group without such rows has no such measure, and is compared by the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from types import MappingProxyType

import numpy as np

from trimtab.gates.inputs import Array
from trimtab.stats.intervals import small_sample_factor, t_quantile
from trimtab.stats.metrics import FORMULAS, THRESHOLD
from trimtab.tasks import Rules

MEASURES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "demographic_parity": ("selection_rate",),
        "equalized_odds": ("tpr", "fpr"),
        "equal_opportunity": ("tpr",),
        "true_positive_rate": ("tpr",),
        "false_positive_rate": ("fpr",),
        "true_negative_rate": ("tnr",),
        "false_negative_rate": ("fnr",),
        "recall_score": ("tpr",),
        "accuracy_score": ("accuracy",),
        "balanced_accuracy_score": ("balanced_accuracy",),
        "f1_score": ("f1",),
        "precision_score": ("precision",),
        "roc_auc_score": ("roc_auc",),
        "mean_absolute_error": ("mae",),
        "mean_squared_error": ("mse",),
        "r2_score": ("r2",),
    }
)
"""Measures that a family of fairness metrics compares, where it has another name; the widest is its value."""
RESTS_ON = MappingProxyType(
    {
        "tpr": "positive labels",
        "fnr": "positive labels",
        "fpr": "negative labels",
        "tnr": "negative labels",
        "precision": "rows predicted 1",
        "f1": "positive labels",
        "roc_auc": "labels of the rarer kind",
    }
)
"""The rows that a measure rests on, where these are not all rows."""
STATISTICS = ("balanced_accuracy", "f1", "roc_auc", "r2")
"""Measures that are no mean over rows."""
OF_CLASSES = ("accuracy", "zero_one_loss", "balanced_accuracy", "log_loss")
"""Measures that a multiclass model has as a whole; others are those of one class against the rest."""
OF_SCORES = ("roc_auc", "log_loss")
"""Measures of scores; others are of decisions."""
MAX_DAYS = 60
"""More days are joined with their neighbours for STATISTICS: each costs one evaluation a group."""


def measures_of(metric: str) -> tuple[str, ...]:
    """Return the measures that a metric such as equalized_odds_difference compares."""
    family = split(metric)[0]
    return MEASURES.get(family, (family,))


def split(metric: str) -> tuple[str, str]:
    """Return the family of a metric, and how groups are compared: difference, ratio, group_min or group_max."""
    kind = next(kind for kind in ("difference", "ratio", "group_min", "group_max") if metric.endswith(f"_{kind}"))
    return metric.removesuffix(f"_{kind}"), kind


@dataclass(frozen=True)
class MeasuredRows:
    """The rows that a measure is a mean of. values: what is averaged. chosen: which rows; both (rows,)."""

    values: Array
    chosen: Array
    is_share: bool = False
    root: bool = False


def measured_rows(measure: str, y: Array, decision: Array, loss: Array | None = None) -> MeasuredRows:
    """Return the rows of a measure that is a mean. y, decision, loss: float64 (rows,); the decision of a regression is
    its score, loss is the log loss of each row."""
    everywhere, yes, error = np.ones(len(y), dtype=bool), decision, decision - y
    if measure == "log_loss" and loss is not None:
        return MeasuredRows(loss, everywhere)
    return {
        "accuracy": MeasuredRows((decision == y).astype(np.float64), ~np.isnan(y), is_share=True),
        "selection_rate": MeasuredRows(yes, everywhere, is_share=True),
        "zero_one_loss": MeasuredRows((decision != y).astype(np.float64), everywhere, is_share=True),
        "tpr": MeasuredRows(yes, y > 0, is_share=True),
        "fpr": MeasuredRows(yes, y <= 0, is_share=True),
        "fnr": MeasuredRows(1 - yes, y > 0, is_share=True),
        "tnr": MeasuredRows(1 - yes, y <= 0, is_share=True),
        "precision": MeasuredRows((y > 0).astype(np.float64), yes > 0, is_share=True),
        "mean_error": MeasuredRows(error, everywhere),
        "mae": MeasuredRows(np.abs(error), everywhere),
        "rmse": MeasuredRows(error**2, everywhere, root=True),
        "mse": MeasuredRows(error**2, everywhere),
    }[measure]


def shown_measures(rules: Rules) -> tuple[str, ...]:
    """Return the measures of each group that a report shows, whichever is judged."""
    if not rules.decides:
        return ("mean_error", "mae", "rmse")
    return ("accuracy",) if rules.by_class else ("selection_rate", "tpr", "fpr", "accuracy")


@dataclass(frozen=True)
class Gap:
    """How far two groups lie apart: `lowest` and `highest` are numbers of groups. A ratio is lowest / highest."""

    lowest: int
    highest: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupSums:
    """Sums of one measure, float64 [days, groups]: rows that count, their values, and the squares of these."""

    count: Array
    total: Array
    squares: Array
    is_share: bool
    root: bool

    @classmethod
    def of(cls, rows: MeasuredRows, day: Array, group: Array, groups: int) -> GroupSums:
        """Sum up rows. day, group: numbers from 0 on, int64 (rows,)."""
        days = int(day.max()) + 1
        place = (day * groups + group)[rows.chosen]
        values = rows.values[rows.chosen]

        def summed(weights: Array | None) -> Array:
            found: Array = np.bincount(place, weights, minlength=days * groups).reshape(days, groups)
            return found.astype(np.float64)

        return cls(summed(None), summed(values), summed(values**2), rows.is_share, rows.root)

    @cached_property
    def counts(self) -> Array:
        """MeasuredRows that count, by group."""
        counts: Array = self.count.sum(axis=0)
        return counts

    @cached_property
    def values(self) -> Array:
        """The measure of each group; NaN where it has no rows."""
        return self._measure(self.total.sum(axis=0), self.counts)

    def gap(self, judged: list[int], *, ratio: bool, confidence: float) -> Gap:
        """Return the widest gap between any two groups (at least two), with how wide it may be.

        A difference's `high`, or a ratio's `low`, is the worst end that any pair of groups has, so it also holds for
        pairs that look close because they are small.
        """
        pairs = [self._pair(a, b, ratio=ratio, confidence=confidence) for a, b in combinations(judged, 2)]
        if ratio:
            widest = min(pairs, key=lambda gap: gap.value)
            return Gap(widest.lowest, widest.highest, widest.value, min(gap.low for gap in pairs), widest.high)
        widest = max(pairs, key=lambda gap: gap.value)
        return Gap(widest.lowest, widest.highest, widest.value, widest.low, max(gap.high for gap in pairs))

    def extreme(self, judged: list[int], *, lowest: bool, confidence: float) -> Gap:
        """Return the lowest or highest value of any group, with how low or high that of any group may be."""
        reaches = {g: self._reach_of(g, confidence) for g in judged}
        group = (min if lowest else max)(judged, key=lambda g: float(self.values[g]))
        value, reach = float(self.values[group]), reaches[group]
        low = min(float(self.values[g]) - reaches[g] for g in judged) if lowest else value - reach
        high = value + reach if lowest else max(float(self.values[g]) + reaches[g] for g in judged)
        return Gap(group, group, value, low, high)

    def _reach_of(self, group: int, confidence: float) -> float:
        days = max(self._days[group] - 1, 1)
        error = self._error(self._without[:, group], float(self._own[group]))
        return t_quantile(confidence, days) * small_sample_factor(len(self.count)) * error

    def _pair(self, a: int, b: int, *, ratio: bool, confidence: float) -> Gap:
        low, high = (a, b) if self.values[a] <= self.values[b] else (b, a)
        reach = t_quantile(confidence, max(self._days[[a, b]].min() - 1, 1)) * small_sample_factor(len(self.count))
        lowest, highest = float(self.values[low]), float(self.values[high])
        if not ratio:
            reach *= self._error(self._without[:, high] - self._without[:, low], float(self._own[[low, high]].sum()))
            value = highest - lowest
            return Gap(low, high, value, max(value - reach, 0.0), value + reach)
        if highest <= 0:
            return Gap(low, high, 1.0, 1.0, 1.0)  # no errors, or no row predicted 1: equal
        if lowest <= 0:
            return Gap(low, high, 0.0, 0.0, min(1.0, (lowest + reach * float(np.sqrt(self._own[low]))) / highest))
        own = float(self._own[low] / lowest**2 + self._own[high] / highest**2)
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.log(self._without[:, low]) - np.log(self._without[:, high])
        reach *= self._error(moved, own)
        value = lowest / highest
        return Gap(low, high, value, value * float(np.exp(-reach)), min(1.0, value * float(np.exp(reach))))

    def _error(self, without: Array, own: float) -> float:
        """Return the standard error over days; it is no less than that of independent rows, whose variance is `own`."""
        days, known = len(without), bool(np.isfinite(without).all())
        spread = (days - 1) / days * float(((without - without.mean()) ** 2).sum()) if days > 1 and known else 0.0
        return float(np.sqrt(max(spread, own)))

    @cached_property
    def _days(self) -> Array:
        days: Array = (self.count > 0).sum(axis=0)
        return days

    @cached_property
    def _without(self) -> Array:
        """The measure without each day in turn, [days, groups]; a group of one day keeps its value."""
        found = self._measure(self.total.sum(axis=0) - self.total, self.counts - self.count)
        return np.where(np.isnan(found), self.values, found)

    @cached_property
    def _own(self) -> Array:
        """Variance of the measure of each group, were its rows independent."""
        n, total = np.maximum(self.counts, 1), self.total.sum(axis=0)
        if self.is_share:  # Agresti & Coull: none of 300 is not a share of exactly 0
            share = (total + 2) / (n + 4)
            own: Array = share * (1 - share) / (n + 4)
            return own
        variance: Array = np.maximum(self.squares.sum(axis=0) - total**2 / n, 0) / np.maximum(n - 1, 1) / n
        return variance / np.maximum(4 * total / n, np.finfo(float).tiny) if self.root else variance

    def _measure(self, total: Array, count: Array) -> Array:
        mean: Array = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return np.sqrt(np.maximum(mean, 0)) if self.root else mean


@dataclass(frozen=True)
class GroupStatistics(GroupSums):
    """One measure that is no mean, such as f1: each group's value, and the values without each day in turn.

    found, rests: (groups,). left: [days, groups].
    """

    found: Array
    left: Array
    rests: Array

    @classmethod
    def of_metric(cls, measure: str, y: Array, scores: Array, day: Array, group: Array, groups: int) -> GroupStatistics:
        """Compute the measure of each group. scores: those that the metric takes; decisions are 0 or 1."""
        function, days = FORMULAS[measure].function, int(day.max()) + 1
        if days > MAX_DAYS:
            day, days = day * MAX_DAYS // days, MAX_DAYS
        found, left = np.full(groups, np.nan), np.full((days, groups), np.nan)
        count, rests = np.zeros((days, groups)), np.zeros(groups)
        for number in range(groups):
            rows = np.flatnonzero(group == number)
            own, of_day = y[rows], day[rows]
            count[:, number] = np.bincount(of_day, minlength=days)
            found[number] = function(own, scores[rows], THRESHOLD)
            for one in np.unique(of_day):
                kept = rows[of_day != one]
                left[one, number] = function(y[kept], scores[kept], THRESHOLD) if len(kept) else np.nan
            positive = int((own > 0).sum())
            rarer = min(positive, len(own) - positive)
            if np.isfinite(found[number]):
                rests[number] = {"f1": positive, "roc_auc": rarer}.get(measure, len(own))
        nothing = np.zeros((days, groups))
        return cls(count, nothing, nothing, False, False, found, left, rests)

    @cached_property
    def counts(self) -> Array:
        """Rows that the measure of each group rests on; 0 where it has none."""
        return self.rests

    @cached_property
    def values(self) -> Array:
        """The measure of each group; NaN where it is not defined."""
        return self.found

    @cached_property
    def _without(self) -> Array:
        return np.where(np.isnan(self.left), self.found, self.left)

    @cached_property
    def _own(self) -> Array:
        return np.zeros(len(self.found))
