"""The robustness gate: how much worse the metric becomes when inputs go missing, are noisy, or come in the wrong unit.

Random disturbances are repeated with several seeds and averaged; a wrong unit, and the disturbances of one feature at a
time, show a model that leans on one column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trimtab.bundle.limits import answered
from trimtab.bundle.typed_matrix import typed_places
from trimtab.gates.inputs import Array, GateInputs
from trimtab.metric_catalog import METRICS, Task
from trimtab.policy.gates import Robustness
from trimtab.records.gate_reports import GateResult
from trimtab.stats.intervals import Interval, cluster_interval
from trimtab.stats.metrics import FORMULAS, metric_value
from trimtab.tasks import RULES

REPEATS = 5
CHANGED = "share of changed decisions"
"""What is judged where the rows have no labels."""
CONFIDENCE = 0.95
RESAMPLES = 200
MAX_ROWS = 20_000
"""Rows beyond this are thinned out evenly: the drop is a mean, and each feature costs one scoring."""


def judge_robustness(inputs: GateInputs, policy: Robustness) -> tuple[GateResult, ...]:
    """Judge the largest change of the metric for the worse; a disturbed row without a number fails by itself.

    The drop may be more than its mean on another stretch of time: the interval, over whole days, says how much.
    """
    metric = policy.metric_for(inputs.task) if inputs.labelled else CHANGED
    rows = np.unique(np.linspace(0, len(inputs.y) - 1, min(len(inputs.y), MAX_ROWS)).astype(np.int64))
    X, y, scores = inputs.X[rows], inputs.y[rows], inputs.scores[rows]
    clean = metric_value(metric, y, scores, threshold=inputs.threshold) if inputs.labelled else 0.0
    changed = _changed(inputs.task, inputs.threshold)
    drop = _drop(metric, inputs.threshold) if inputs.labelled else changed
    drops: dict[str, float] = {}
    decisions: dict[str, float] = {}
    worst: list[Array] = []
    for name, versions in disturbances(X, inputs.feature_names, policy, inputs.seed):
        disturbed = [inputs.candidate.score(version) for version in versions]
        if (lost := int(np.any([~answered(one) for one in disturbed], axis=0).sum())) > 0:
            return (_no_number(name, lost, len(rows)),)
        if RULES[inputs.task].decides:
            decisions[name] = changed(y, scores, *disturbed)
        drops[name] = drop(y, scores, *disturbed)
        if drops[name] >= max(drops.values()):
            worst = disturbed
    interval = cluster_interval(
        lambda drawn: drop(y[drawn], scores[drawn], *(disturbed[drawn] for disturbed in worst)),
        len(y),
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        seed=inputs.seed,
        clusters=inputs.clusters[rows],
    )
    return (_result(metric, clean, drops, interval, len(rows), policy, decisions),)


def _drop(metric: str, threshold: float) -> Callable[..., float]:
    """Return the mean drop of a metric from clean scores to disturbed ones, as a function of y and all scores."""
    function, facts = FORMULAS[metric].function, METRICS[metric]

    def drop(y: Array, clean: Array, *disturbed: Array) -> float:
        found = [function(y, scores, threshold) for scores in disturbed] or [function(y, clean, threshold)]
        return facts.gain(function(y, clean, threshold), float(np.mean(found)))

    return drop


def _changed(task: Task, threshold: float) -> Callable[..., float]:
    """Return the mean share of rows that get another decision, as a function of y and all scores."""
    decide = RULES[task].decide

    def changed(y: Array, clean: Array, *disturbed: Array) -> float:
        usual = decide(clean, threshold)
        return float(np.mean([(decide(scores, threshold) != usual).mean() for scores in disturbed] or [0.0]))

    return changed


def disturbances(
    X: Array, features: tuple[str, ...], policy: Robustness, seed: int
) -> Iterator[tuple[str, Iterator[Array]]]:
    """Yield the name of each disturbance that the policy asks for, with its disturbed copies of X."""
    if policy.missing > 0:
        yield f"{policy.missing:.3g} of values missing", _blanked(X, policy.missing, seed)
    if policy.noise > 0:
        yield f"noise of {policy.noise:g} sd", _noisy(X, policy.noise, seed)
    for j, name in enumerate(features):
        if policy.feature_missing > 0:
            yield f"{policy.feature_missing:.0%} of '{name}' missing", _one_blanked(X, j, policy.feature_missing, seed)
        if policy.feature_noise > 0 and j not in typed_places(X):
            yield f"noise of {policy.feature_noise:g} sd in '{name}'", _one_noisy(X, j, policy.feature_noise, seed)
    if policy.shifted_units is not None:
        for j, name in enumerate(features):
            if j in typed_places(X):
                continue  # a category or a date has no unit
            yield f"{name} times {policy.shifted_units:g}", _shifted(X, j, policy.shifted_units)


def _blanked(X: Array, share: float, seed: int) -> Iterator[Array]:
    for repeat in range(REPEATS):
        chance = np.random.default_rng((seed, repeat, 0)).random(X.shape)
        blanked = X.copy()
        blanked[chance < share] = np.nan
        yield blanked


def _one_blanked(X: Array, column: int, share: float, seed: int) -> Iterator[Array]:
    for repeat in range(REPEATS if share < 1 else 1):
        blanked = X.copy()
        blanked[np.random.default_rng((seed, repeat, 2)).random(len(X)) < share, column] = np.nan
        yield blanked


def _one_noisy(X: Array, column: int, size: float, seed: int) -> Iterator[Array]:
    values = np.asarray(X)[:, column].astype(np.float64)
    known = values[np.isfinite(values)]
    spread = float(known.std()) if len(known) else 0.0
    for repeat in range(REPEATS):
        noisy = X.copy()
        noisy[:, column] = values + size * spread * np.random.default_rng((seed, repeat, 3)).standard_normal(len(X))
        yield noisy


def _noisy(X: Array, size: float, seed: int) -> Iterator[Array]:
    spread = np.zeros(X.shape[1])
    known = np.array(~np.isnan(X).all(axis=0))  # a column without any value has no spread
    known[list(typed_places(X))] = False  # a category or a date has no noise
    spread[known] = np.nanstd(X[:, known].astype(np.float64), axis=0)
    for repeat in range(REPEATS):
        noise = np.random.default_rng((seed, repeat, 1)).standard_normal(X.shape)
        noisy = X.copy()
        noisy[:] = X + size * spread * noise
        yield noisy


def _shifted(X: Array, column: int, factor: float) -> Iterator[Array]:
    disturbed = X.copy()
    disturbed[:, column] *= np.float32(factor)
    yield disturbed


def _result(
    metric: str,
    clean: float,
    drops: dict[str, float],
    interval: Interval,
    rows: int,
    policy: Robustness,
    decisions: dict[str, float],
) -> GateResult:
    name, drop = max(drops.items(), key=lambda item: item[1], default=("nothing", 0.0))
    limit = policy.limit_for(metric, clean)
    over = not drop <= limit  # a change that is not defined fails
    details: dict[str, Any] = {"clean": clean, "drops": drops, "rows": rows, "repeats": REPEATS}
    if decisions:
        details["changed_decisions"] = decisions
    return GateResult(
        gate=Robustness.GATE,
        metric=metric if metric == CHANGED else f"{metric} {METRICS[metric].worsening}",
        verdict="fail" if over else "pass",
        value=drop if np.isfinite(drop) else 0.0,
        low=interval.low if np.isfinite(interval.low) else None,
        high=interval.high if np.isfinite(interval.high) else None,
        threshold=limit if np.isfinite(limit) else None,
        reason=_reason(metric, clean, name, drop, limit, len(drops)),
        details={**details, "clean": clean if np.isfinite(clean) else None},
    )


def _reason(metric: str, clean: float, name: str, drop: float, limit: float, disturbances: int) -> str:
    if metric == CHANGED:
        by = f"{abs(drop - limit):.4f} {'more' if drop > limit else 'less'} than the {limit:.4g} allowed"
        return f"{drop:.2%} of the rows get another decision under {name} (the worst of {disturbances}), {by}"
    if not np.isfinite(drop):
        return f"{metric} is not defined on the holdout or under {name}, so its change cannot be judged"
    moved = f"{METRICS[metric].worsening}s by {drop:.4f}" if drop >= 0 else f"improves by {-drop:.4f}"
    by = f"{abs(drop - limit):.4f} {'more' if drop > limit else 'less'} than the {limit:.4g} allowed"
    return f"{metric} {moved} from {clean:.4f} under {name} (the worst of {disturbances}), {by}"


def _no_number(name: str, lost: int, rows: int) -> GateResult:
    return GateResult(
        gate=Robustness.GATE,
        metric="share without a number",
        verdict="fail",
        value=lost / rows,
        low=None,
        high=None,
        threshold=0.0,
        reason=f"the model gives no number for {lost} of {rows} rows under {name}; impute missing values in the "
        "trainer's pipeline, or use an estimator that takes them",
        details={"disturbance": name, "rows_without_number": lost, "rows": rows},
    )
