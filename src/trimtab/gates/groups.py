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
from trimtab.metric_catalog import FAIRNESS, Task, fitting
from trimtab.stats.intervals import small_sample_factor, t_quantile

MEASURES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "demographic_parity": ("selection_rate",),
        "equalized_odds": ("tpr", "fpr"),
        "equal_opportunity": ("tpr",),
        "accuracy_score": ("accuracy",),
        "mean_error": ("mean_error",),
        "mae": ("mae",),
        "rmse": ("rmse",),
    }
)
"""Measures that a family of fairness metrics compares; the widest of them is its value."""
RESTS_ON = MappingProxyType({"tpr": "positive labels", "fpr": "negative labels"})
"""The rows that a measure is the mean of, where not all rows are."""


def measures_of(metric: str) -> tuple[str, ...]:
    """Return the measures that a metric such as equalized_odds_difference compares."""
    return MEASURES[metric.rpartition("_")[0]]


@dataclass(frozen=True)
class MeasuredRows:
    """The rows that a measure is a mean of. values: what is averaged. chosen: which rows; both (rows,)."""

    values: Array
    chosen: Array
    is_share: bool = False
    root: bool = False


def measured_rows(measure: str, y: Array, decision: Array) -> MeasuredRows:
    """Return the rows of a measure. y, decision: float64 (rows,); the decision of a regression is its score."""
    everywhere, yes, error = np.ones(len(y), dtype=bool), decision, decision - y
    return {
        "accuracy": MeasuredRows((decision == y).astype(np.float64), ~np.isnan(y), is_share=True),
        "selection_rate": MeasuredRows(yes, everywhere, is_share=True),
        "tpr": MeasuredRows(yes, y > 0, is_share=True),
        "fpr": MeasuredRows(yes, y <= 0, is_share=True),
        "mean_error": MeasuredRows(error, everywhere),
        "mae": MeasuredRows(np.abs(error), everywhere),
        "rmse": MeasuredRows(error**2, everywhere, root=True),
    }[measure]


def all_measures(task: Task) -> tuple[str, ...]:
    """Return every measure of a task, for the record."""
    return tuple(dict.fromkeys(each for name in fitting(task, FAIRNESS) for each in measures_of(name)))


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
