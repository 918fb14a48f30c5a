"""The calibration gate: how far probabilities, or prediction intervals, are from what they promise.

binary      expected calibration error: rows in bins of like score, each with as many rows; the mean over rows of the
            distance between the mean score of a bin and its share of 1
anomaly     distance of the share of rows that are reported from the contamination, which set the threshold
regression  coverage shortfall: the promised coverage minus the share of labels within the intervals; their widths are
            those of bundle/calibration.py, made from the earlier half of the holdout and judged on the later half

With few rows, chance alone makes some calibration error; the result names how much. Over ten days or more the upper end
of the interval holds the true value in 93 % of simulated holdouts or more, as with the other gates.

Sources: Naeini, Cooper & Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015;
Nguyen & O'Connor, Posterior calibration and exploratory analysis, EMNLP 2015 (bins of equal size).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from trimtab.bundle.calibration import rank
from trimtab.gates.inputs import Array, GateInputs
from trimtab.policy.gates import Calibration
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict
from trimtab.stats.intervals import Interval, cluster_interval
from trimtab.stats.schemes import Ints
from trimtab.tasks import RULES

Statistic = Callable[[Ints], float]
CONFIDENCE = 0.95


def judge_calibration(inputs: GateInputs, policy: Calibration) -> tuple[GateResult, ...]:
    """Judge the calibration of a model; a row without a score fails by itself."""
    rules = RULES[inputs.task]
    if lost := int((~np.isfinite(inputs.main_scores)).sum()):
        words = f"the model gives no number for {lost} of {len(inputs.y)} rows, so its calibration cannot be judged"
        return (
            _result(policy, "share without a number", "fail", lost / len(inputs.y), words, {"rows": len(inputs.y)}),
        )
    if rules.output == "anomaly_score":
        return (_alarms(inputs, policy),)
    if rules.by_class:
        return (_classes(inputs, policy),)
    if rules.confidence is not None:
        return (_probabilities(inputs, policy),)
    return (_intervals(inputs, policy),)


def calibration_error(y: Array, scores: Array, bins: int) -> Statistic:
    """Return the expected calibration error as a function of row numbers.

    y: labels 0 or 1; scores: probabilities; float64 (rows,). bins: as many at most; rows of one score share a bin, and
    the bins stay those of all rows.
    """
    edges = np.unique(np.quantile(scores, np.arange(1, bins) / bins))
    place, distance = np.searchsorted(edges, scores, side="right"), y - scores
    return lambda rows: float(np.abs(np.bincount(place[rows], distance[rows])).sum()) / len(rows)


def error_by_chance(scores: Array, bins: int) -> float:
    """Return the calibration error to expect of these scores were they calibrated, the rows being independent.

    The sum of labels minus scores of a bin is then nearly normal, and its mean distance from 0 is sqrt(2 / pi) standard
    deviations.
    """
    edges = np.unique(np.quantile(scores, np.arange(1, bins) / bins))
    variances = np.bincount(np.searchsorted(edges, scores, side="right"), scores * (1 - scores))
    return float(np.sqrt(2 / math.pi * np.maximum(variances, 0)).sum()) / len(scores)


def coverage_shortfall(y: Array, scores: Array, earlier: Array, coverage: float) -> Statistic:
    """Return how much less than `coverage` the prediction intervals hold, as a function of row numbers.

    y, scores: float64 (rows,). earlier: true for rows that make the widths, bool (rows,). NaN where they are too few to
    promise the coverage, or none is left to judge.
    """
    errors = np.abs(y - scores)

    def shortfall(rows: Ints) -> float:
        known, judged = errors[rows[earlier[rows]]], errors[rows[~earlier[rows]]]
        place = rank(coverage, len(known)) - 1
        if place >= len(known) or not len(judged):
            return math.nan
        return coverage - float((judged <= np.partition(known, place)[place]).mean())

    return shortfall


def _probabilities(inputs: GateInputs, policy: Calibration) -> GateResult:
    bins = policy.bins_or_default
    chance = error_by_chance(inputs.scores, bins)
    interval = _interval(inputs, calibration_error(inputs.y, inputs.scores, bins))
    interval = replace(interval, low=max(interval.low, 0.0))
    remark = f"; with so many rows, chance alone makes about {chance:.4f}"
    return _judged(inputs, policy, "calibration_error", interval, remark, {"bins": bins, "by_chance": chance})


def _classes(inputs: GateInputs, policy: Calibration) -> GateResult:
    """Judge the class with the largest error, each class against the rest.

    Source: Kull et al., Beyond temperature scaling, NeurIPS 2019 (classwise calibration).
    """
    bins = policy.bins_or_default
    errors = [
        calibration_error((inputs.y == place).astype(np.float64), inputs.scores[:, place], bins)
        for place in range(len(inputs.classes))
    ]
    everywhere = np.arange(len(inputs.y))
    of_class = {name: error(everywhere) for name, error in zip(inputs.classes, errors, strict=True)}
    worst = max(of_class, key=lambda name: of_class[name])
    chance = error_by_chance(inputs.scores[:, inputs.classes.index(worst)], bins)
    interval = _interval(inputs, lambda rows: max(error(rows) for error in errors))
    interval = replace(interval, low=max(interval.low, 0.0))
    remark = f"; the worst class is '{worst}', for which chance alone makes about {chance:.4f} with so many rows"
    details = {"bins": bins, "by_chance": chance, "worst": worst, "classes": of_class}
    return _judged(inputs, policy, "calibration_error", interval, remark, details)


def _alarms(inputs: GateInputs, policy: Calibration) -> GateResult:
    """Judge how far the share of rows from the threshold on is from the contamination, which set the threshold."""
    said = inputs.scores >= inputs.threshold
    share = _interval(inputs, lambda rows: float(said[rows].mean()))
    promised = inputs.contamination
    far = max(abs(share.low - promised), abs(share.high - promised))
    near = 0.0 if share.low <= promised <= share.high else min(abs(share.low - promised), abs(share.high - promised))
    interval = replace(share, value=abs(share.value - promised), low=near, high=far)
    remark = f"; {share.value:.4f} of the rows are reported, and training.contamination is {promised:.4g}"
    return _judged(inputs, policy, "alarm_share_error", interval, remark, {"share": share.value, "promised": promised})


def _intervals(inputs: GateInputs, policy: Calibration) -> GateResult:
    coverage = policy.coverage_or_default
    units, place = np.unique(inputs.clusters, return_inverse=True)
    earlier = place.ravel() < len(units) // 2
    interval = _interval(inputs, coverage_shortfall(inputs.y, inputs.scores, earlier, coverage))
    details = {"coverage": coverage, "rows_of_widths": int(earlier.sum())}
    remark = f"; intervals promise to hold {coverage:.3g} of the labels, and {coverage - interval.value:.4f} are within"
    return _judged(inputs, policy, "coverage_shortfall", interval, remark, details)


def _interval(inputs: GateInputs, statistic: Statistic) -> Interval:
    return cluster_interval(statistic, len(inputs.y), confidence=CONFIDENCE, seed=inputs.seed, clusters=inputs.clusters)


def _judged(
    inputs: GateInputs, policy: Calibration, metric: str, interval: Interval, remark: str, details: dict[str, Any]
) -> GateResult:
    """Judge the upper end of the interval."""
    details |= {"rows": len(inputs.y), "unit": inputs.unit, "clusters": interval.clusters}
    if not math.isfinite(interval.high):
        words = f"{metric} has no interval: the rows are too few, or lie in too few {inputs.unit}"
        value = interval.value if math.isfinite(interval.value) else 0.0
        return _result(policy, metric, "fail", value, words, details)
    by = policy.max - interval.high
    verdict: Verdict = "fail" if by < 0 else "pass" if inputs.enough_days else "warn"
    words = (
        f"{metric} is {interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f} at {CONFIDENCE:.0%}); the upper "
        f"end is {abs(by):.4f} {'over' if by < 0 else 'under'} the maximum of {policy.max:g}{remark}{inputs.remark}"
    )
    return _result(policy, metric, verdict, interval.value, words, details, low=interval.low, high=interval.high)


def _result(
    policy: Calibration,
    metric: str,
    verdict: Verdict,
    value: float,
    reason: str,
    details: dict[str, Any],
    *,
    low: float | None = None,
    high: float | None = None,
) -> GateResult:
    return GateResult(
        gate=Calibration.GATE,
        metric=metric,
        verdict=verdict,
        value=value,
        low=low,
        high=high,
        threshold=policy.max,
        reason=reason,
        details=details,
    )
