"""The accuracy gate: the metric with an interval that respects days, alone and against the champion. Called by run.py.

Rows of one day rise and fall together, so the bootstrap draws whole days: drawing rows would give intervals
several times too short. The unfavourable end of the interval must pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from trimtab.gates.inputs import MIN_DAYS, Array, GateInputs
from trimtab.policy import Accuracy
from trimtab.records import GateResult, Verdict
from trimtab.stats import METRICS, Interval, bootstrap, bootstrap_difference

GATE = "accuracy"
Statistic = Callable[[Array, Array], float]


def judge_accuracy(inputs: GateInputs, policy: Accuracy) -> tuple[GateResult, ...]:
    """Judge the metric against its limits and, with a champion, against the champion's on the same rows."""
    results = [_alone(inputs, policy)]
    if inputs.champion_scores is not None and policy.not_worse_than_champion_by is not None:
        results.append(_beside(inputs, inputs.champion_scores, policy, policy.not_worse_than_champion_by))
    return tuple(results)


def statistic(metric: str, threshold: float) -> Statistic:
    """Return the metric as a function of labels and scores."""
    function = METRICS[metric].function
    return lambda y, scores: function(y, scores, threshold)


def _alone(inputs: GateInputs, policy: Accuracy) -> GateResult:
    metric = statistic(policy.metric_for(inputs.task), inputs.threshold)
    interval = bootstrap(
        lambda rows: metric(inputs.y[rows], inputs.scores[rows]),
        len(inputs.y),
        confidence=policy.confidence,
        resamples=policy.resamples,
        seed=inputs.seed,
        clusters=inputs.clusters,
    )
    verdict, threshold, words = _limits(interval, *policy.limits_for(inputs.task))
    name, details = policy.metric_for(inputs.task), _details(inputs, policy, interval)
    return _result(name, interval, verdict, threshold, words, details)


def _beside(inputs: GateInputs, champion: Array, policy: Accuracy, margin: float) -> GateResult:
    """Judge the gain over the champion; more than zero is better, whichever way the metric goes."""
    better = METRICS[policy.metric_for(inputs.task)].higher_is_better
    first, second = (inputs.scores, champion) if better else (champion, inputs.scores)
    interval = bootstrap_difference(
        statistic(policy.metric_for(inputs.task), inputs.threshold),
        inputs.y,
        first,
        second,
        confidence=policy.confidence,
        resamples=policy.resamples,
        seed=inputs.seed,
        clusters=inputs.clusters,
    )
    short = -margin - interval.low
    name = f"gain over {inputs.champion_id or 'the champion'}"
    if np.isnan(interval.low):
        words = "the interval cannot be told from so few rows"
    elif short > 0:
        words = f"the lower end is {short:.4f} worse than the {margin:g} that may be lost"
    else:
        words = f"the lower end is {-short:.4f} better than the {margin:g} that may be lost"
    verdict: Verdict = "pass" if short <= 0 else "fail"  # NaN fails
    details = _details(inputs, policy, interval)
    return _result(f"{policy.metric_for(inputs.task)} {name}", interval, verdict, -margin, words, details)


def _limits(interval: Interval, low: float | None, high: float | None) -> tuple[Verdict, float | None, str]:
    if np.isnan(interval.low):
        return "fail", low if low is not None else high, "the interval cannot be told from so few rows"
    if low is not None:
        by = interval.low - low
        side = "under" if by < 0 else "over"
        return "fail" if by < 0 else "pass", low, f"the lower end is {abs(by):.4f} {side} the minimum of {low:g}"
    if high is not None:
        by = high - interval.high
        side = "over" if by < 0 else "under"
        return "fail" if by < 0 else "pass", high, f"the upper end is {abs(by):.4f} {side} the maximum of {high:g}"
    return "pass", None, "no limit is set"


def _result(
    metric: str, interval: Interval, verdict: Verdict, threshold: float | None, words: str, details: dict[str, Any]
) -> GateResult:
    told = not np.isnan(interval.low)
    rough = details["drawn"] != "days"
    shown = f" ({interval.low:.4f} to {interval.high:.4f} at {interval.confidence:.0%})" if told else ""
    remark = f"; fewer than {MIN_DAYS} days, so hours were drawn and the interval is rough" if rough else ""
    return GateResult(
        gate=GATE,
        metric=metric,
        verdict="warn" if verdict == "pass" and rough else verdict,
        value=interval.value if np.isfinite(interval.value) else 0.0,
        low=interval.low if told else None,
        high=interval.high if told else None,
        threshold=threshold,
        reason=f"{metric} is {interval.value:.4f}{shown}; {words}{remark}",
        details=details,
    )


def _details(inputs: GateInputs, policy: Accuracy, interval: Interval) -> dict[str, Any]:
    return {
        "rows": len(inputs.y),
        "drawn": "days" if inputs.enough_days else "hours",
        "clusters": interval.clusters,
        "confidence": policy.confidence,
        "resamples": policy.resamples,
    }
