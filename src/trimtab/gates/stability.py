"""The stability gate: the metric in stretches of the holdout's time, the worst of them, and the trend.

The stretches have as many rows each. A stretch fails that is worse than all rows by more than the limit, where the
interval of its drop, at a level divided by the number of stretches (Bonferroni), is above 0. The trend is the slope of
the metric over the stretches, by least squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.gates.accuracy import drop_result, statistic
from trimtab.gates.inputs import Array, GateInputs
from trimtab.lazy_library import LazyLibrary
from trimtab.metric_catalog import METRICS
from trimtab.policy.gates import Stability
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict
from trimtab.stats.intervals import Interval, cluster_interval, time_clusters
from trimtab.stats.schemes import Ints

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = LazyLibrary("scipy.stats")

CONFIDENCE = 0.95
RESAMPLES = 500
TREND_FOLDS = 4
"""With fewer stretches no trend is looked for."""
WORST = "worst stretch"
_result = partial(drop_result, Stability.GATE)


@dataclass(frozen=True, eq=False)
class _Fold:
    rows: Ints
    value: float
    drop: float
    interval: Interval

    @property
    def is_sure(self) -> bool:
        return self.interval.low > 0


def judge_stability(inputs: GateInputs, policy: Stability) -> tuple[GateResult, ...]:
    """Judge the worst stretch of time; a trend for the worse is a warning."""
    metric = policy.metric_for(inputs.task)
    function = statistic(metric, inputs.threshold)
    known = np.flatnonzero(np.isfinite(inputs.main_scores))
    overall = function(inputs.y[known], inputs.scores[known]) if len(known) else math.nan
    parts = np.array_split(np.arange(len(inputs.y)), policy.folds)
    if len(known) < len(inputs.y) or not math.isfinite(overall) or len(inputs.y) < policy.folds:
        lost = len(inputs.y) - len(known)
        words = f"not judged: {metric} is not defined on the holdout ({lost} of {len(inputs.y)} rows have no number)"
        return (_result(metric, WORST, "fail", 0.0, None, words, {}),)
    folds = [_fold(inputs, policy, metric, overall, rows) for rows in parts]
    limit = policy.limit_for(metric, overall)
    defined = [fold for fold in folds if math.isfinite(fold.drop)]
    if len(defined) < len(folds):
        words = f"not judged: {len(folds) - len(defined)} of {len(folds)} stretches do not define {metric}"
        return (
            drop_result(
                Stability.GATE,
                metric,
                "worst stretch",
                "warn",
                0.0,
                limit,
                f"{words}; take fewer folds",
                _details(inputs, folds),
            ),
        )
    over = [fold for fold in folds if fold.drop > limit]
    worst = max([fold for fold in over if fold.is_sure] or over or folds, key=lambda fold: fold.drop)
    verdict: Verdict = "fail" if worst in over and worst.is_sure else "warn" if over else "pass"
    slope, p = _trend(np.array([fold.drop for fold in folds]))
    falls = slope > 0 and p < 1 - CONFIDENCE
    trend = f"; from stretch to stretch it becomes {abs(slope):.4f} worse (p {p:.2g})" if falls else ""
    number = folds.index(worst) + 1
    chance = ", which may be chance" if verdict == "warn" else ""
    first, last = (str(inputs.timestamps[worst.rows[end]].astype("datetime64[m]")) for end in (0, -1))
    reason = (
        f"{metric} is {worst.value:.4f} in stretch {number} of {len(folds)} ({first} to {last}, {len(worst.rows)} "
        f"rows), {abs(worst.drop):.4f} {'worse' if worst.drop >= 0 else 'better'} than the {overall:.4f} of all rows; "
        f"{limit:.4g} may be lost{chance}{trend}"
    )
    details = {**_details(inputs, folds), "slope": slope if math.isfinite(slope) else None}
    details["p_of_slope"] = p if math.isfinite(p) else None
    if verdict == "pass" and falls:
        verdict = "warn"
    return (
        drop_result(
            Stability.GATE, metric, "worst stretch", verdict, worst.drop, limit, reason, details, worst.interval
        ),
    )


def _fold(inputs: GateInputs, policy: Stability, metric: str, overall: float, rows: Ints) -> _Fold:
    function, facts = statistic(metric, inputs.threshold), METRICS[metric]
    value = function(inputs.y[rows], inputs.scores[rows])
    drop = facts.gain(overall, value)
    clusters, _ = time_clusters(inputs.timestamps[rows])
    interval = cluster_interval(
        lambda drawn: facts.gain(overall, function(inputs.y[rows[drawn]], inputs.scores[rows[drawn]])),
        len(rows),
        confidence=1 - (1 - CONFIDENCE) / policy.folds,
        resamples=RESAMPLES,
        seed=inputs.seed,
        clusters=clusters,
    )
    return _Fold(rows, value, drop, interval)


def _trend(drops: Array) -> tuple[float, float]:
    """Return by how much the metric becomes worse from stretch to stretch, and the p-value of no trend."""
    if len(drops) < TREND_FOLDS:
        return math.nan, math.nan
    found = stats.linregress(np.arange(len(drops)), drops)
    return float(found.slope), float(found.pvalue)


def _details(inputs: GateInputs, folds: list[_Fold]) -> dict[str, Any]:
    return {
        "folds": [
            {
                "start": str(inputs.timestamps[fold.rows[0]].astype("datetime64[us]")),
                "end": str(inputs.timestamps[fold.rows[-1]].astype("datetime64[us]")),
                "rows": len(fold.rows),
                "value": fold.value if math.isfinite(fold.value) else None,
                "drop": fold.drop if math.isfinite(fold.drop) else None,
            }
            for fold in folds
        ]
    }
