"""The accuracy gate: the metric with an interval that respects days, alone and against the champion.

Rows of one day rise and fall together, so the day is the unit of the interval: an interval from rows would be several
times too short. The unfavourable end must pass. Without a limit the gate warns of a model that may be without skill.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np

from trimtab.gates.inputs import MIN_DAYS, Array, GateInputs
from trimtab.metric_catalog import METRICS, OF_OBJECTIVE
from trimtab.policy.gates import Accuracy
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict
from trimtab.stats.intervals import Interval, cluster_interval
from trimtab.stats.metrics import FORMULAS, no_skill

Statistic = Callable[[Array, Array], float]
QUANTILE = "quantile"
"""The objective that only its own metric judges: the others are of a mean or a median."""
UNKNOWN = "its interval is not defined: the rows are too few, or all that defines it lies in one day"


def judge_accuracy(inputs: GateInputs, policy: Accuracy) -> tuple[GateResult, ...]:
    """Judge the metric against its limits and, with a champion, against the champion's on the same rows.

    The champion is compared on the rows that it was not trained on; where these have too few days it is not.
    """
    results = [_with_objective(_alone(inputs, policy), inputs, policy)]
    if inputs.champion_scores is not None and policy.not_worse_than_champion_by is not None and _comparable(inputs):
        results.append(_against_champion(inputs, inputs.champion_scores, policy, policy.not_worse_than_champion_by))
    return tuple(results)


def _with_objective(result: GateResult, inputs: GateInputs, policy: Accuracy) -> GateResult:
    """Return the result, with a warning where the metric does not judge what a regression has minimised."""
    name = policy.metric_for(inputs.task)
    right = OF_OBJECTIVE[QUANTILE]
    if not inputs.objective.startswith(QUANTILE) or name == right or result.verdict != "pass":
        return result
    words = f"the model predicts {inputs.objective}, which {name} does not judge: gates.accuracy.metric: {right}"
    return msgspec.structs.replace(result, verdict="warn", reason=f"{result.reason}; {words}")


def _comparable(inputs: GateInputs) -> bool:
    """Return True if the champion was trained on none of the rows, or enough days of rows are left."""
    if inputs.unseen.all():
        return True
    return len(np.unique(inputs.timestamps[inputs.unseen].astype("datetime64[D]"))) >= MIN_DAYS


def statistic(metric: str, threshold: float) -> Statistic:
    """Return the metric as a function of labels and scores."""
    function = FORMULAS[metric].function
    return lambda y, scores: function(y, scores, threshold)


def _alone(inputs: GateInputs, policy: Accuracy) -> GateResult:
    name = policy.metric_for(inputs.task)
    metric = statistic(name, inputs.threshold)
    interval = cluster_interval(
        lambda rows: metric(inputs.y[rows], inputs.scores[rows]),
        len(inputs.y),
        confidence=policy.confidence,
        resamples=policy.resamples,
        seed=inputs.seed,
        clusters=inputs.clusters,
        scale=METRICS[name].scale,
    )
    low, high = policy.limits_for(inputs.task)
    if not np.isnan(interval.low) and low is None and high is None:
        verdict, words = _skill(inputs, policy, name)
        return _result(inputs, policy, name, interval, verdict, None, words)
    verdict, threshold, words = _limits(interval, low, high)
    return _result(inputs, policy, name, interval, verdict, threshold, words)


def _skill(inputs: GateInputs, policy: Accuracy, name: str) -> tuple[Verdict, str]:
    """Warn unless the interval of the gain over a model without skill, on the same rows, is above 0."""
    limit = f"no limit is set (gates.accuracy.{METRICS[name].limit})"
    without_skill = partial(no_skill, name, classes=len(inputs.classes), threshold=inputs.threshold)
    reference = without_skill(inputs.y)
    if np.isnan(reference):
        return "warn", f"{limit}, and there is no {name} of a model without skill to compare it with"
    metric, facts = statistic(name, inputs.threshold), METRICS[name]
    gain = cluster_interval(
        lambda rows: facts.gain(metric(inputs.y[rows], inputs.scores[rows]), without_skill(inputs.y[rows])),
        len(inputs.y),
        confidence=policy.confidence,
        resamples=policy.resamples,
        seed=inputs.seed,
        clusters=inputs.clusters,
    )
    if gain.low > 0:
        return "pass", f"{limit}; a model without skill reaches {reference:.4f}, which this one surely beats"
    return "warn", f"{limit}, and it may be no better than a model without skill, which reaches {reference:.4f}"


def _against_champion(inputs: GateInputs, champion: Array, policy: Accuracy, margin: float) -> GateResult:
    """Judge the gain over the champion; more than zero is better, whichever way the metric goes."""
    name = policy.metric_for(inputs.task)
    unseen = inputs.unseen
    y, scores = inputs.y[unseen], (inputs.scores[unseen], champion[unseen])
    one, two = (statistic(name, threshold) for threshold in inputs.thresholds)
    interval = cluster_interval(
        lambda rows: METRICS[name].gain(one(y[rows], scores[0][rows]), two(y[rows], scores[1][rows])),
        len(y),
        confidence=policy.confidence,
        resamples=policy.resamples,
        seed=inputs.seed,
        clusters=inputs.clusters[unseen],
    )
    short = -margin - interval.low
    if np.isnan(interval.low):
        words = UNKNOWN
    elif short > 0:
        words = f"the lower end is {short:.4f} worse than the {margin:g} that may be lost"
    else:
        words = f"the lower end is {-short:.4f} better than the {margin:g} that may be lost"
    verdict: Verdict = "pass" if short <= 0 else "fail"  # NaN fails
    label = f"{name} gain over {inputs.champion_id or 'the champion'}"
    return _result(inputs, policy, label, interval, verdict, -margin, words)


def _limits(interval: Interval, low: float | None, high: float | None) -> tuple[Verdict, float | None, str]:
    if np.isnan(interval.low):
        return "fail", low if low is not None else high, UNKNOWN
    if low is not None:
        by = interval.low - low
        side = "under" if by < 0 else "over"
        return "fail" if by < 0 else "pass", low, f"the lower end is {abs(by):.4f} {side} the minimum of {low:g}"
    assert high is not None
    by = high - interval.high
    side = "over" if by < 0 else "under"
    return "fail" if by < 0 else "pass", high, f"the upper end is {abs(by):.4f} {side} the maximum of {high:g}"


def _result(
    inputs: GateInputs,
    policy: Accuracy,
    metric: str,
    interval: Interval,
    verdict: Verdict,
    threshold: float | None,
    words: str,
) -> GateResult:
    known = not np.isnan(interval.low)
    shown = f" ({interval.low:.4f} to {interval.high:.4f} at {interval.confidence:.0%})" if known else ""
    return GateResult(
        gate=Accuracy.GATE,
        metric=metric,
        verdict="warn" if verdict == "pass" and not inputs.enough_days else verdict,
        value=interval.value if np.isfinite(interval.value) else 0.0,
        low=interval.low if known else None,
        high=interval.high if np.isfinite(interval.high) else None,
        threshold=threshold,
        reason=f"{metric} is {interval.value:.4f}{shown}; {words}{inputs.remark}",
        details={
            "rows": len(inputs.y),
            "unit": inputs.unit,
            "clusters": interval.clusters,
            "confidence": policy.confidence,
            "resamples": policy.resamples,
        },
    )


def drop_result(
    gate: str,
    metric: str,
    where: str,
    verdict: Verdict,
    value: float,
    limit: float | None,
    reason: str,
    details: dict[str, Any],
    interval: Interval | None = None,
) -> GateResult:
    """Return the result of a gate that compares a part of the rows with all: how much worse the metric is there."""
    ends = (interval.low, interval.high) if interval is not None else (math.nan, math.nan)
    low, high = (end if math.isfinite(end) else None for end in ends)
    return GateResult(
        gate=gate,
        metric=f"{metric} {METRICS[metric].worsening}, {where}",
        verdict=verdict,
        value=value,
        low=low,
        high=high,
        threshold=limit,
        reason=reason,
        details=details,
    )
