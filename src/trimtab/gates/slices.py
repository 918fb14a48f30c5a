"""The slices gate: parts of the rows on which the model is worse than on all, declared or found by a search.

A drop is that of the metric from all rows to the rows of a slice, with an interval over whole days. The level of each
interval is divided by the number of slices that are looked at (Bonferroni), so the chance that any of them misses stays
below it, and the worst of many slices is not taken for a bad one that is merely unlucky.

Sources: Chung, Kraska, Polyzotis, Tae & Whang, Slice Finder: automated data slicing for model validation, ICDE 2019;
O. J. Dunn, Multiple comparisons among means, JASA 56 (1961).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from trimtab.gates.accuracy import Statistic, drop_result, statistic
from trimtab.gates.inputs import MIN_DAYS, Array, GateInputs
from trimtab.gates.row_segments import Segments, feature_segments, segments_of
from trimtab.metric_catalog import METRICS
from trimtab.policy.gates import Slices, names_in
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict
from trimtab.stats.intervals import Interval, cluster_interval
from trimtab.stats.schemes import Ints

MAX_ROWS = 50_000
"""Rows beyond this are thinned out evenly: each slice costs one evaluation for each day."""
LOOKED_AT = 10
"""Worst slices of a search that get an interval; the level is that of all of them."""
MAX_GROUPS = 200
"""A column with more values is left out of the search."""
RESAMPLES = 500

_result = partial(drop_result, Slices.GATE)


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice. rows: bool (rows,). drop: against all rows; more than 0 is worse."""

    name: str
    rows: Array
    value: float
    drop: float
    interval: Interval | None = None

    @property
    def low(self) -> float:
        """Lower end of the drop; NaN where it is not defined."""
        return math.nan if self.interval is None else self.interval.low

    @property
    def high(self) -> float:
        """Upper end of the drop; NaN where it is not defined."""
        return math.nan if self.interval is None else self.interval.high

    def as_json(self) -> dict[str, Any]:
        """Return what the report keeps."""
        ends = {"low": self.low, "high": self.high}
        known = {name: value if math.isfinite(value) else None for name, value in ends.items()}
        return {"slice": self.name, "rows": int(self.rows.sum()), "value": self.value, "drop": self.drop, **known}


def judge_slices(inputs: GateInputs, policy: Slices) -> tuple[GateResult, ...]:
    """Judge the slices of each declared column, then the worst that a search finds. Raises DataError."""
    inputs = _thinned(inputs)
    metric = policy.metric_for(inputs.task)
    if lost := int((~np.isfinite(inputs.main_scores)).sum()):
        words = f"the model gives no number for {lost} of {len(inputs.y)} rows, so slices cannot be judged"
        return (_result(metric, "slices", "fail", lost / len(inputs.y), None, words, {}),)
    overall = statistic(metric, inputs.threshold)(inputs.y, inputs.scores)
    if not math.isfinite(overall):
        words = f"{metric} is not defined on the holdout, so slices cannot be compared with it"
        return (_result(metric, "slices", "fail", 0.0, None, words, {}),)
    judge = _Judge(inputs, policy, metric, overall)
    declared = [segments_of(inputs, names_in(columns), "gates.slices.by") for columns in policy.by]
    results = [judge.declared(columns) for columns in declared]
    if policy.search != "none":
        results.append(judge.found(policy.search == "pairs"))
    return tuple(results)


class _Judge:
    """Judges slices of one run's holdout. The metric of all rows without a day is computed once for all slices."""

    def __init__(self, inputs: GateInputs, policy: Slices, metric: str, overall: float) -> None:
        self.inputs, self.policy, self.metric, self.overall = inputs, policy, metric, overall
        self.limit = policy.limit_for(metric, overall)
        self.function: Statistic = statistic(metric, inputs.threshold)
        self.days = np.unique(inputs.clusters, return_inverse=True)[1].ravel()
        self.of_all: dict[int, float] = {}

    def declared(self, segments: Segments) -> GateResult:
        """Judge the unfavourable end of each slice of declared columns."""
        slices = [each for each in self.slices(segments) if each is not None]
        all_of_them = len(np.unique(segments.place))
        if not slices:
            verdict: Verdict = "fail" if self.policy.when_not_judged == "fail" else "warn"
            words = (
                f"{segments.column}: none of its {all_of_them} slices has {self.policy.min_rows} rows (min_rows) in "
                f"{MIN_DAYS} {self.inputs.unit} and defines {self.metric}; cut it into fewer slices, take a larger "
                "holdout, or write gates.slices.when_not_judged: warn"
            )
            return drop_result(
                Slices.GATE, self.metric, segments.column, verdict, 0.0, self.limit, words, {"searched": 0}
            )
        judged = [self.judged(each, len(slices)) for each in slices]
        known = [each for each in judged if math.isfinite(each.high)]
        worst = max(known or judged, key=lambda each: each.high if known else each.drop)
        fails = not worst.high <= self.limit or len(known) < len(judged)
        left_out = f"; {all_of_them - len(slices)} are not judged" if all_of_them > len(slices) else ""
        words = f"the worst of {len(slices)} slices of {segments.column}{left_out}"
        if len(known) < len(judged):
            worst = next(each for each in judged if not math.isfinite(each.high))
            words += f", and {self.metric} has no interval there: all that defines it lies in one of the days"
        return self.told(worst, "fail" if fails else "pass", segments.column, words, judged)

    def found(self, pairs: bool) -> GateResult:
        """Judge the worst slices of all columns: one that is surely worse than the limit fails."""
        slices = list(self.searched(pairs))
        if not slices:
            words = (
                f"the search finds no slice with {self.policy.min_rows} rows (min_rows) in {MIN_DAYS} "
                f"{self.inputs.unit}"
            )
            return _result(self.metric, "worst found", "warn", 0.0, self.limit, words, {"searched": 0})
        worst_first = sorted(slices, key=lambda each: -each.drop)[:LOOKED_AT]
        judged = [self.judged(each, len(slices)) for each in worst_first]
        sure = [each for each in judged if each.low > self.limit]
        maybe = [each for each in judged if each.drop > self.limit and each.low > 0]
        worst = max(sure or maybe or judged, key=lambda each: each.drop)
        words = f"the worst of {len(slices)} slices that were searched"
        if maybe and not sure:
            words += ", which may be chance"
        verdict: Verdict = "fail" if sure else "warn" if maybe else "pass"
        return self.told(worst, verdict, "worst found", words, judged, searched=len(slices))

    def searched(self, pairs: bool) -> Iterator[Slice]:
        """Yield the slices of all features and columns that can be judged."""
        inputs = self.inputs
        single = [feature_segments(inputs, place) for place in range(len(inputs.feature_names))]
        single += [segments_of(inputs, (name,), "gates") for name in inputs.groups if name not in inputs.feature_names]
        single = [each for each in single if len(each.names) <= MAX_GROUPS]
        crossed = [first.crossed(second) for first, second in combinations(single, 2)] if pairs else []
        for segments in (*single, *crossed):
            yield from (each for each in self.slices(segments) if each is not None)

    def slices(self, segments: Segments) -> Iterator[Slice | None]:
        """Yield each slice with its drop; None for one that cannot be judged."""
        sizes = np.bincount(segments.place, minlength=len(segments.names))
        for number in np.flatnonzero(sizes):
            rows = segments.place == number
            if sizes[number] < self.policy.min_rows or len(np.unique(self.days[rows])) < MIN_DAYS:
                yield None
                continue
            value = self.function(self.inputs.y[rows], self.inputs.scores[rows])
            drop = METRICS[self.metric].gain(self.overall, value)
            yield Slice(segments.names[number], rows, value, drop) if math.isfinite(drop) else None

    def judged(self, found: Slice, looked_at: int) -> Slice:
        """Return a slice with the interval of its drop, whose level is divided by how many are looked at."""
        interval = cluster_interval(
            self.drop(found.rows),
            len(self.inputs.y),
            confidence=1 - (1 - self.policy.confidence) / looked_at,
            resamples=RESAMPLES,
            seed=self.inputs.seed,
            clusters=self.days,
        )
        return replace(found, interval=interval)

    def drop(self, mask: Array) -> Callable[[Ints], float]:
        """Return the drop from some rows to those of them in the slice, as a function of row numbers."""
        y, scores, facts = self.inputs.y, self.inputs.scores, METRICS[self.metric]

        def of_rows(rows: Ints) -> float:
            place = hash(rows.tobytes())
            if place not in self.of_all:
                self.of_all[place] = self.function(y[rows], scores[rows])
            kept = rows[mask[rows]]
            return facts.gain(self.of_all[place], self.function(y[kept], scores[kept])) if len(kept) else math.nan

        return of_rows

    def told(
        self,
        worst: Slice,
        verdict: Verdict,
        column: str,
        words: str,
        judged: list[Slice],
        *,
        searched: int | None = None,
    ) -> GateResult:
        """Return the result, whose reason names the slice."""
        known = math.isfinite(worst.low)
        level = self.policy.confidence
        ends = f" ({worst.low:.4f} to {worst.high:.4f}, {level:.0%} for all slices together)" if known else ""
        moved = "worse" if worst.drop >= 0 else "better"
        reason = (
            f"{worst.name} ({int(worst.rows.sum())} rows): {self.metric} is {worst.value:.4f}, {abs(worst.drop):.4f} "
            f"{moved} than the {self.overall:.4f} of all rows; the drop{ends} may be {self.limit:.4g}; {words}"
            f"{self.inputs.remark}"
        )
        if verdict == "pass" and not self.inputs.enough_days:
            verdict = "warn"
        details = {
            "searched": len(judged) if searched is None else searched,
            "all_rows": self.overall,
            "unit": self.inputs.unit,
            "slices": [each.as_json() for each in sorted(judged, key=lambda each: -each.drop)[:LOOKED_AT]],
        }
        return drop_result(
            Slices.GATE, self.metric, column, verdict, worst.drop, self.limit, reason, details, worst.interval
        )


def _thinned(inputs: GateInputs) -> GateInputs:
    if len(inputs.y) <= MAX_ROWS:
        return inputs
    rows = np.unique(np.linspace(0, len(inputs.y) - 1, MAX_ROWS).astype(np.int64))
    groups = {name: values[rows] for name, values in inputs.groups.items()}
    return replace(inputs, X=inputs.X[rows], y=inputs.y[rows], timestamps=inputs.timestamps[rows], groups=groups)
