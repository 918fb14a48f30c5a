"""Measures two versions of a model on their common rows, window by window.

Intervals hold however often one looks (stats/paired_sequence.py), because people look at a page whenever they like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trimtab.app.reports.comparison_result import Day, Difference, ScoreBin, Segment
from trimtab.app.reports.paired_rows import PairedRows, Span
from trimtab.definitions.impact_function import ImpactFunction
from trimtab.metric_catalog import BY_TASK, METRICS, Task
from trimtab.monitoring.mistakes import Costs, mistakes, pair_costs, row_costs
from trimtab.monitoring.row_money import RowMoney
from trimtab.stats.metrics import metric_value
from trimtab.stats.paired_sequence import paired_bounds
from trimtab.tasks import RULES

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

CONFIDENCE = 0.95
FEWEST_WINDOWS = 3
"""With fewer windows no interval is given."""
MOST_SEGMENTS = 12
"""Values of a column that are shown, those with the most rows."""
SCORE_BINS = 10
Z = 1.959963984540054
"""Of a normal distribution at 95 %."""
MOST_VALUES = 100
"""A column with more values makes no segments."""


class VersionMeasures:
    """The measures of one comparison.

    metric: by which the rule compares. costs: money a mistake, by kind. impact_function: the project's, in their
    place. thresholds: of both versions. days: length of each window that has rows, in days.
    """

    def __init__(
        self,
        rows: PairedRows,
        *,
        task: Task,
        metric: str,
        costs: Costs,
        thresholds: tuple[float, float],
        days: Sequence[float],
        impact_function: ImpactFunction | None = None,
    ) -> None:
        self._own = RowMoney.of(impact_function, rows.inputs, names=rows.category_names, classes=rows.classes)
        self.metric = metric
        self._rows, self._task, self._costs, self._thresholds = rows, task, costs, thresholds
        with_rows, place = np.unique(rows.window, return_inverse=True)
        self._place: npt.NDArray[np.int64] = place.astype(np.int64)
        self._traffic: Floats = rows.traffic[with_rows] / np.asarray(days)
        self._all: Mask = np.ones(len(rows.y), dtype=bool)

    @property
    def predictions_per_day(self) -> float:
        """Requests of the model a day, mean over windows."""
        return float(self._traffic.mean())

    def metric_gain(self, name: str, rows: Mask | None = None) -> Difference:
        """Return a metric of both versions, and its gain as the mean over windows, on some rows or on all."""
        rows = self._all if rows is None else rows
        gains = [self._gain(name, rows & (self._place == window)) for window in np.unique(self._place[rows])]
        own, other = (self._value(name, rows, version) for version in (0, 1))
        return _difference(name, "", own, other, np.array(gains))

    def other_metrics(self) -> Iterator[Difference]:
        """Yield the gains in the other metrics of the task."""
        yield from (self.metric_gain(name) for name in BY_TASK[self._task].summary if name != self.metric)

    def rates(self) -> Iterator[Difference]:
        """Yield the rates of mistakes and of positive decisions, or the errors of a regression by direction."""
        unit = "share" if RULES[self._task].decides else ""
        for name, (own, other) in self._measured_rows.items():
            directed = not name.startswith(("decided ", "mean "))
            gains = self._by_window(other - own if directed else own - other)
            yield _difference(name, unit, float(own.mean()), float(other.mean()), gains, directed=directed)

    def money(self, rows: Mask | None = None) -> Difference | None:
        """Return the money that mistakes cost a day, at the traffic of all requests; None without costs.

        The rows that both versions scored stand for all requests of their window; those of a segment for its share.
        """
        if not self._costs:
            return None
        own, other = (self._daily(values, self._all if rows is None else rows) for values in self._row_costs)
        priced = np.isfinite(own)
        value, against = (float(each[priced].mean()) if priced.any() else np.nan for each in (own, other))
        return _difference("money lost a day", "money", value, against, other - own)

    def segments(self) -> Iterator[Segment]:
        """Yield the values of each column that makes segments, those with the most rows first."""
        for column, values in self._rows.columns.items():
            counts = values.drop_nulls().value_counts(sort=True)
            for value, count in counts.head(MOST_SEGMENTS).iter_rows() if counts.height <= MOST_VALUES else ():
                rows = (values == value).fill_null(value=False).to_numpy()
                yield Segment(
                    column=column,
                    value=str(value),
                    rows=count,
                    metric=self.metric_gain(self.metric, rows),
                    money=self.money(rows),
                )

    def days(self, spans: Sequence[Span]) -> Iterator[Day]:
        """Yield what each window shows. spans: of the windows that have rows."""
        saved = None
        if self._costs:
            own, other = (self._daily(values, self._all) for values in self._row_costs)
            saved = other - own
        for window, (start, _) in enumerate(spans):
            here = self._place == window
            yield Day(
                start=start,
                rows=int(here.sum()),
                metric=_finite(self._gain(self.metric, here)),
                money=None if saved is None else _finite(saved[window]),
            )

    def calibration(self, version: int) -> Iterator[ScoreBin]:
        """Yield what one of the versions (0 or 1) said and what happened, by score.

        Probabilities are binned by tenths, other scores so that each bin has as many rows.
        """
        rules, score = RULES[self._task], self._scores[version]
        said, happened = rules.main_score(score), self._rows.y
        if rules.by_class:
            happened = (score.argmax(axis=1) == self._rows.y).astype(np.float64)
        if rules.output in ("probability", "probabilities"):
            place = np.minimum((said * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
        else:
            inner = np.quantile(said, np.arange(1, SCORE_BINS) / SCORE_BINS)
            place = np.searchsorted(inner, said, side="right")
        for each in np.unique(place):
            here = place == each
            low, high = _mean_interval(happened[here], share=rules.output != "value")
            mean = float(happened[here].mean())
            yield ScoreBin(rows=int(here.sum()), said=float(said[here].mean()), happened=mean, low=low, high=high)

    @property
    def _scores(self) -> tuple[Floats, Floats]:
        return self._rows.score, self._rows.against

    def _gain(self, name: str, rows: Mask) -> float:
        return METRICS[name].gain(self._value(name, rows, 0), self._value(name, rows, 1))

    def _value(self, name: str, rows: Mask, version: int) -> float:
        score = self._scores[version][rows]
        return metric_value(name, self._rows.y[rows], score, threshold=self._thresholds[version])

    @cached_property
    def _measured_rows(self) -> dict[str, tuple[Floats, Floats]]:
        """By name of a rate: its value in each row, of both versions."""
        own, other = self._made
        one, two = self._scores
        said = [RULES[self._task].decide(s, t) for s, t in zip(self._scores, self._thresholds, strict=True)]
        if RULES[self._task].by_class:
            wrong = [made["misclassification"] for made in (own, other)]
            decided = {
                f"decided {name}": ((said[0] == place) * 1.0, (said[1] == place) * 1.0)
                for place, name in enumerate(self._rows.classes)
            }
            return {"wrong decisions": (wrong[0], wrong[1]), **decided}
        if not RULES[self._task].decides:
            return {
                "too high": (own["over_prediction"], other["over_prediction"]),
                "too low": (own["under_prediction"], other["under_prediction"]),
                "mean prediction": (one, two),
            }
        wrong = [made["false_negative"] + made["false_positive"] for made in (own, other)]
        return {
            "wrong decisions": (wrong[0], wrong[1]),
            "missed positives": (own["false_negative"], other["false_negative"]),
            "false alarms": (own["false_positive"], other["false_positive"]),
            "decided positive": (said[0], said[1]),
        }

    @cached_property
    def _made(self) -> tuple[dict[str, Floats], dict[str, Floats]]:
        own, other = (
            mistakes(self._rows.y, score, task=self._task, threshold=threshold, own=self._own)
            for score, threshold in zip(self._scores, self._thresholds, strict=True)
        )
        return own, other

    @cached_property
    def _row_costs(self) -> tuple[Floats, Floats]:
        own, other = (row_costs(made, self._costs) for made in self._made)
        if self._rows.classes:
            said = (score.argmax(axis=1) for score in self._scores)
            pairs = [pair_costs(self._rows.y, each, self._rows.classes, self._costs) for each in said]
            return own + pairs[0], other + pairs[1]
        return own, other

    def _daily(self, values: Floats, rows: Mask) -> Floats:
        """Return values of rows, summed up to a day of each window's traffic, [windows]."""
        windows, finite = len(self._traffic), np.isfinite(values)  # a row of an unknown class may have no price
        counts, rows = np.bincount(self._place[finite], minlength=windows), rows & finite
        with np.errstate(invalid="ignore"):  # a window without a priced row has no money: NaN
            found: Floats = np.bincount(self._place[rows], values[rows], minlength=windows) / counts * self._traffic
        return found

    def _by_window(self, values: Floats) -> Floats:
        found: Floats = np.bincount(self._place, values) / np.bincount(self._place)
        return found


def _difference(
    name: str, unit: str, value: float, against: float, gains: Floats, *, directed: bool = True
) -> Difference:
    """gains: one a window, in order of time; those that are not finite are left out."""
    gains = gains[np.isfinite(gains)]
    low: float | None = None
    high: float | None = None
    if len(gains) >= FEWEST_WINDOWS:
        ends = paired_bounds(gains, held_out=0, max_windows=len(gains), confidence=0.5 + CONFIDENCE / 2)
        low, high = _finite(float(ends[0])), _finite(float(ends[1]))
    return Difference(
        name=name,
        unit=unit,
        value=_finite(value),
        against=_finite(against),
        gain=_finite(float(gains.mean())) if len(gains) else None,
        low=low,
        high=high,
        directed=directed,
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mean_interval(values: Floats, *, share: bool) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927, doi:10.2307/2276774), or of the mean of values."""
    n, mean = len(values), float(values.mean())
    if not share:
        spread = Z * float(values.std(ddof=1)) / np.sqrt(n) if n > 1 else 0.0
        return float(mean - spread), float(mean + spread)
    centre, weight = (mean + Z**2 / (2 * n)) / (1 + Z**2 / n), 1 + Z**2 / n
    spread = Z * np.sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2)) / weight
    return float(min(max(centre - spread, 0.0), mean)), float(max(min(centre + spread, 1.0), mean))
