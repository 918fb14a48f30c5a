"""The bias gate: how far groups of each sensitive column lie apart, by Fairlearn's metrics.

Each rate is compared over the groups that have it, and the unfavourable end of the interval decides. What cannot be
judged is reported: a large group without a rate is a warning that names it, and a column with nothing to compare fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trimtab.definitions.personal_columns import mask_number
from trimtab.errors import DataError, nearest
from trimtab.gates.groups import (
    OF_CLASSES,
    OF_SCORES,
    RESTS_ON,
    STATISTICS,
    Gap,
    GroupStatistics,
    GroupSums,
    measured_rows,
    measures_of,
    shown_measures,
    split,
)
from trimtab.gates.inputs import Array, GateInputs
from trimtab.policy.gates import Bias, names_in
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict
from trimtab.tasks import RULES

CONFIDENCE = 0.95
SHOWN = 5
"""How many groups that could not be judged are named."""


def judge_bias(inputs: GateInputs, policy: Bias) -> tuple[GateResult, ...]:
    """Judge each sensitive column, or crossed columns. Raises DataError when one is missing."""
    metric = policy.metric_for(inputs.task)
    results = []
    for columns in policy.sensitive:
        for column in names_in(columns):
            if column not in inputs.groups:
                raise DataError(
                    f"gates.bias.sensitive: the training set has no column '{column}'.{nearest(column, inputs.groups)} "
                    "Make it again after a change of the policy: trimtab features, then train"
                )
        results.append(_judge(inputs, policy, metric, names_in(columns)))
    return tuple(results)


class _Problem(NamedTuple):
    """What a measure is computed of: all rows, or one class against the rest. All float64 (rows,), but the scores of
    several classes."""

    name: str
    y: Array
    decision: Array
    scores: Array


@dataclass(frozen=True)
class _Compared:
    """One measure over the groups that have it."""

    measure: str
    name: str
    """With the class, where it is that of one class."""
    table: GroupSums
    judged: list[int]
    left_out: list[int]
    """Groups that are large enough, without labels enough for the measure."""
    value: float
    """Fairlearn's value; NaN with fewer than two groups."""
    gap: Gap | None


def _judge(inputs: GateInputs, policy: Bias, metric: str, columns: tuple[str, ...]) -> GateResult:
    column = " x ".join(columns)
    if (lost := int((~np.isfinite(inputs.main_scores)).sum())) > 0:
        words = f"the model gives no number for {lost} of {len(inputs.y)} rows, so {column} cannot be judged"
        return _result(policy, metric, column, "fail", words, {"column": column})
    if not inputs.labelled and measures_of(metric) != ("selection_rate",):
        words = f"{column}: not judged: {metric} needs labels, and the holdout has none of both kinds"
        return _result(policy, metric, column, "warn", words, {"column": column})
    texts = [_names(inputs, each) for each in columns]
    names, code = np.unique([", ".join(row) for row in zip(*texts, strict=True)], return_inverse=True)
    code = code.ravel()
    sizes = np.bincount(code, minlength=len(names))
    asked = [(measure, problem) for measure in measures_of(metric) for problem in _problems(inputs, measure)]
    found = [_compare(inputs, policy, metric, measure, problem, sizes, code) for measure, problem in asked]
    tables = {
        measure: _table(inputs, measure, problem, code, len(names))
        for measure in shown_measures(RULES[inputs.task])
        for problem in _problems(inputs, measure)
    }
    tables |= {each.name: each.table for each in found}
    details = {
        "column": column,
        "threshold": inputs.threshold,
        "groups": _groups(inputs, names, sizes, tables, found),
    }
    compared = [each for each in found if each.gap is not None]
    left_out = _left_out(found, names, sizes)
    if not compared:
        verdict: Verdict = "fail" if policy.when_not_judged == "fail" else "warn"
        large = int((sizes >= policy.min_group_size).sum())
        words = (
            f"{column}: nothing to compare: {large} of {len(names)} groups have {policy.min_group_size} rows "
            f"(min_group_size){left_out}; cut the column into fewer groups, take a larger holdout, or write "
            "gates.bias.when_not_judged: warn"
        )
        return _result(policy, metric, column, verdict, words, details)
    kind = split(metric)[1]
    low_is_bad = kind in ("ratio", "group_min")
    worst = (min if low_is_bad else max)(compared, key=lambda each: each.value)
    ends = [each.gap for each in compared if each.gap is not None]
    gap = worst.gap
    assert gap is not None
    low = min(each.low for each in ends) if low_is_bad else gap.low
    high = gap.high if low_is_bad else max(each.high for each in ends)
    details["worst"] = {
        "measure": worst.name,
        "lowest": str(names[gap.lowest]),
        "highest": str(names[gap.highest]),
    }
    verdict, words = _verdict(worst.value, low if low_is_bad else high, policy)
    if verdict == "pass" and left_out:
        verdict = "warn"
    pair = " against ".join(
        f"{worst.name} {worst.table.values[group]:.3f} of '{names[group]}' ({sizes[group]} rows)"
        for group in dict.fromkeys((gap.lowest, gap.highest))
    )
    which = {"group_min": "lowest", "group_max": "highest"}.get(kind, "widest")
    reason = (
        f"{metric} over {column} is {worst.value:.3f} ({low:.3f} to {high:.3f} at {CONFIDENCE:.0%}), {words}; "
        f"{which}: {pair}; {len(worst.judged)} of {len(names)} groups are compared{left_out}"
    )
    return _result(policy, metric, column, verdict, reason, details, value=worst.value, low=low, high=high)


def _problems(inputs: GateInputs, measure: str) -> list[_Problem]:
    """Return what a measure is computed of; of a multiclass model each class against the rest, where it is no whole."""
    decision = RULES[inputs.task].decide(inputs.scores, inputs.threshold)
    if not RULES[inputs.task].by_class or measure in OF_CLASSES:
        return [_Problem(measure, inputs.y, decision, inputs.scores)]
    return [
        _Problem(
            f"{measure} of class '{name}'",
            (inputs.y == place).astype(np.float64),
            (decision == place).astype(np.float64),
            inputs.scores[:, place],
        )
        for place, name in enumerate(inputs.classes)
    ]


def _table(inputs: GateInputs, measure: str, problem: _Problem, code: Array, groups: int) -> GroupSums:
    day = np.unique(inputs.clusters, return_inverse=True)[1].ravel()
    if measure in STATISTICS:
        by_scores = measure in OF_SCORES or problem.scores.ndim == 2
        taken = problem.scores if by_scores else problem.decision
        return GroupStatistics.of_metric(measure, problem.y, taken, day, code, groups)
    loss = None
    if measure == "log_loss":
        loss = RULES[inputs.task].loss(problem.y, problem.scores, inputs.threshold)
    return GroupSums.of(measured_rows(measure, problem.y, problem.decision, loss), day, code, groups)


def _compare(
    inputs: GateInputs, policy: Bias, metric: str, measure: str, problem: _Problem, sizes: Array, code: Array
) -> _Compared:
    table = _table(inputs, measure, problem, code, len(sizes))
    large = np.flatnonzero(sizes >= policy.min_group_size)
    needed = policy.min_group_labels if measure in RESTS_ON else 1
    judged = [int(group) for group in large if table.counts[group] >= needed]
    left_out = [int(group) for group in large if table.counts[group] < needed]
    kind = split(metric)[1]
    if len(judged) < (1 if kind.startswith("group") else 2):
        return _Compared(measure, problem.name, table, judged, left_out, np.nan, None)
    if kind.startswith("group"):
        gap = table.extreme(judged, lowest=kind == "group_min", confidence=CONFIDENCE)
    else:
        gap = table.gap(judged, ratio=kind == "ratio", confidence=CONFIDENCE)
    value = _fairlearn(inputs, measure, problem, np.isin(code, judged), code, kind)
    return _Compared(measure, problem.name, table, judged, left_out, gap.value if value is None else value, gap)


def _fairlearn(
    inputs: GateInputs, measure: str, problem: _Problem, kept: Array, code: Array, kind: str
) -> float | None:
    """Return Fairlearn's value for the groups of the rows that are kept; None for scores of several classes."""
    if problem.scores.ndim == 2 and measure == "log_loss":
        return None
    # brings pandas and scikit-learn, which take seconds to import
    from fairlearn import metrics
    from sklearn import metrics as sklearn

    functions: dict[str, Callable[..., float]] = {
        "accuracy": sklearn.accuracy_score,
        "balanced_accuracy": sklearn.balanced_accuracy_score,
        "f1": lambda y_true, y_pred: sklearn.f1_score(y_true, y_pred, zero_division=0),
        "fnr": metrics.false_negative_rate,
        "fpr": metrics.false_positive_rate,
        "log_loss": lambda y_true, y_pred: sklearn.log_loss(y_true, y_pred, labels=[0, 1]),
        "mae": sklearn.mean_absolute_error,
        "mean_error": _mean_error,
        "mse": sklearn.mean_squared_error,
        "precision": lambda y_true, y_pred: sklearn.precision_score(y_true, y_pred, zero_division=0),
        "r2": sklearn.r2_score,
        "rmse": sklearn.root_mean_squared_error,
        "roc_auc": sklearn.roc_auc_score,
        "selection_rate": metrics.selection_rate,
        "tnr": metrics.true_negative_rate,
        "tpr": metrics.true_positive_rate,
        "zero_one_loss": sklearn.zero_one_loss,
    }
    truth, said = problem.y[kept], (problem.scores if measure in OF_SCORES else problem.decision)[kept]
    if RULES[inputs.task].decides:
        truth, said = truth.astype(np.int64), said if measure in OF_SCORES else said.astype(np.int64)
    frame = metrics.MetricFrame(metrics=functions[measure], y_true=truth, y_pred=said, sensitive_features=code[kept])
    if kind == "difference":
        return float(frame.difference())
    if kind == "ratio":
        return float(frame.ratio()) if frame.group_max() > 0 else 1.0  # 0 / 0: all groups fare alike
    return float(frame.group_min() if kind == "group_min" else frame.group_max())


def _mean_error(truth: Array, said: Array) -> float:
    return float(np.mean(np.asarray(said) - np.asarray(truth)))


def _verdict(value: float, end: float, policy: Bias) -> tuple[Verdict, str]:
    """Judge the unfavourable end of the interval."""
    if policy.max is not None:
        if value > policy.max:
            return "fail", f"{value - policy.max:.3f} over the maximum of {policy.max:g}"
        if not end <= policy.max:
            return "fail", f"the upper end is {end - policy.max:.3f} over the maximum of {policy.max:g}"
        return "pass", f"the upper end is {policy.max - end:.3f} inside the maximum of {policy.max:g}"
    limit = policy.min if policy.min is not None else 0.0
    if value < limit:
        return "fail", f"{limit - value:.3f} under the minimum of {limit:g}"
    if not end >= limit:
        return "fail", f"the lower end is {limit - end:.3f} under the minimum of {limit:g}"
    return "pass", f"the lower end is {end - limit:.3f} inside the minimum of {limit:g}"


def _left_out(found: list[_Compared], names: Array, sizes: Array) -> str:
    """Name the large groups that a measure could not be judged for, with the reason."""
    texts = [
        f"{each.name} of '{names[group]}' ({each.table.counts[group]:.0f} {RESTS_ON.get(each.measure, 'such rows')} in "
        f"{sizes[group]} rows)"
        for each in found
        for group in each.left_out
    ]
    if not texts:
        return ""
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return f"; not judged: {', '.join(texts[:SHOWN])}{more}"


def _groups(
    inputs: GateInputs, names: Array, sizes: Array, tables: dict[str, GroupSums], found: list[_Compared]
) -> list[dict[str, Any]]:
    """Return what is known of each group, the largest first."""
    rows = []
    for group in np.argsort(-sizes, kind="stable"):
        own: dict[str, Any] = {"group": str(names[group]), "size": int(sizes[group])}
        if "tpr" in tables:
            own["positives"] = int(tables["tpr"].counts[group])
        for measure, table in tables.items():
            value = float(table.values[group])
            own[measure] = round(value, 6) if np.isfinite(value) else None
        own["judged"] = [each.name for each in found if each.gap is not None and int(group) in each.judged]
        rows.append(own)
    return rows


def _result(
    policy: Bias,
    metric: str,
    column: str,
    verdict: Verdict,
    reason: str,
    details: dict[str, Any],
    *,
    value: float = 0.0,
    low: float | None = None,
    high: float | None = None,
) -> GateResult:
    return GateResult(
        gate=Bias.GATE,
        metric=f"{metric}({column})",
        verdict=verdict,
        value=value,
        low=low,
        high=high,
        threshold=policy.max if policy.max is not None else policy.min,
        reason=reason,
        details=details,
    )


def _names(inputs: GateInputs, column: str) -> Array:
    """Return the group of each row as text; None and NaN are a group of their own."""
    values = inputs.groups[column]
    missing = [value is None or value != value for value in values]  # NaN is the one value unlike itself
    known, place = np.unique(values.astype(str), return_inverse=True)
    names = np.array([mask_number(column, number, name, inputs.personal) for number, name in enumerate(known)])
    return np.where(missing, "(missing)", names[place.ravel()])
