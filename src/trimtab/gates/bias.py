"""The bias gate: how far groups of each sensitive column lie apart, by Fairlearn's metrics.

Each rate is compared over the groups that have it, and the unfavourable end of the interval decides. What cannot be
judged is reported: a large group without a rate is a warning that names it, and a column with nothing to compare fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.errors import DataError, nearest
from trimtab.gates.groups import RESTS_ON, Gap, GroupSums, all_measures, measured_rows, measures_of
from trimtab.gates.inputs import Array, GateInputs
from trimtab.policy.gates import Bias
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict
from trimtab.tasks import RULES

CONFIDENCE = 0.95
SHOWN = 5
"""How many groups that could not be judged are named."""


def judge_bias(inputs: GateInputs, policy: Bias) -> tuple[GateResult, ...]:
    """Judge each sensitive column. Raises DataError when one is missing."""
    metric = policy.metric_for(inputs.task)
    results = []
    for column in policy.sensitive:
        if column not in inputs.groups:
            raise DataError(
                f"gates.bias.sensitive: the training set has no column '{column}'.{nearest(column, inputs.groups)} "
                "Make it again after a change of the policy: trimtab features, then train"
            )
        results.append(_judge(inputs, policy, metric, column))
    return tuple(results)


@dataclass(frozen=True)
class _Compared:
    """One measure over the groups that have it."""

    measure: str
    table: GroupSums
    judged: list[int]
    left_out: list[int]
    """Groups that are large enough, without labels enough for the measure."""
    value: float
    """Fairlearn's value; NaN with fewer than two groups."""
    gap: Gap | None


def _judge(inputs: GateInputs, policy: Bias, metric: str, column: str) -> GateResult:
    if (lost := int((~np.isfinite(inputs.main_scores)).sum())) > 0:
        words = f"the model gives no number for {lost} of {len(inputs.y)} rows, so {column} cannot be judged"
        return _result(policy, metric, column, "fail", words, {"column": column})
    names, code = np.unique(_names(inputs.groups[column]), return_inverse=True)
    code = code.ravel()
    sizes = np.bincount(code, minlength=len(names))
    tables = _tables(inputs, code, len(names))
    found = [_compare(inputs, policy, metric, each, tables[each], sizes, code) for each in measures_of(metric)]
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
    ratio = metric.endswith("_ratio")
    worst = (min if ratio else max)(compared, key=lambda each: each.value)
    ends = [each.gap for each in compared if each.gap is not None]
    gap = worst.gap
    assert gap is not None
    low = min(each.low for each in ends) if ratio else gap.low
    high = gap.high if ratio else max(each.high for each in ends)
    details["worst"] = {
        "measure": worst.measure,
        "lowest": str(names[gap.lowest]),
        "highest": str(names[gap.highest]),
    }
    verdict, words = _verdict(worst.value, low if ratio else high, policy)
    if verdict == "pass" and left_out:
        verdict = "warn"
    pair = " against ".join(
        f"{worst.measure} {worst.table.values[group]:.3f} of '{names[group]}' ({sizes[group]} rows)"
        for group in (gap.lowest, gap.highest)
    )
    reason = (
        f"{metric} over {column} is {worst.value:.3f} ({low:.3f} to {high:.3f} at {CONFIDENCE:.0%}), {words}; "
        f"widest: {pair}; {len(worst.judged)} of {len(names)} groups are compared{left_out}"
    )
    return _result(policy, metric, column, verdict, reason, details, value=worst.value, low=low, high=high)


def _tables(inputs: GateInputs, code: Array, groups: int) -> dict[str, GroupSums]:
    day = np.unique(inputs.clusters, return_inverse=True)[1].ravel()
    decision = RULES[inputs.task].decide(inputs.scores, inputs.threshold)
    return {
        measure: GroupSums.of(measured_rows(measure, inputs.y, decision), day, code, groups)
        for measure in all_measures(inputs.task)
    }


def _compare(
    inputs: GateInputs, policy: Bias, metric: str, measure: str, table: GroupSums, sizes: Array, code: Array
) -> _Compared:
    large = np.flatnonzero(sizes >= policy.min_group_size)
    needed = policy.min_group_labels if measure in RESTS_ON else 1
    judged = [int(group) for group in large if table.counts[group] >= needed]
    left_out = [int(group) for group in large if table.counts[group] < needed]
    if len(judged) < 2:
        return _Compared(measure, table, judged, left_out, np.nan, None)
    ratio = metric.endswith("_ratio")
    value = _fairlearn(inputs, measure, np.isin(code, judged), code, ratio=ratio)
    return _Compared(measure, table, judged, left_out, value, table.gap(judged, ratio=ratio, confidence=CONFIDENCE))


def _fairlearn(inputs: GateInputs, measure: str, kept: Array, code: Array, *, ratio: bool) -> float:
    """Return Fairlearn's difference or ratio of a measure between the groups of the rows that are kept."""
    # brings pandas and scikit-learn, which take seconds to import
    from fairlearn import metrics
    from sklearn.metrics import accuracy_score, mean_absolute_error, root_mean_squared_error

    functions: dict[str, Callable[[Array, Array], float]] = {
        "accuracy": accuracy_score,
        "selection_rate": metrics.selection_rate,
        "tpr": metrics.true_positive_rate,
        "fpr": metrics.false_positive_rate,
        "mean_error": _mean_error,
        "mae": mean_absolute_error,
        "rmse": root_mean_squared_error,
    }
    rules = RULES[inputs.task]
    truth, said = inputs.y[kept], rules.decide(inputs.scores[kept], inputs.threshold)
    if rules.decides:
        truth, said = truth.astype(np.int64), said.astype(np.int64)
    frame = metrics.MetricFrame(metrics=functions[measure], y_true=truth, y_pred=said, sensitive_features=code[kept])
    if not ratio:
        return float(frame.difference())
    return float(frame.ratio()) if frame.group_max() > 0 else 1.0  # 0 / 0: all groups fare alike


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
        f"{each.measure} of '{names[group]}' ({each.table.counts[group]:.0f} {RESTS_ON[each.measure]} in "
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
        own["judged"] = [each.measure for each in found if each.gap is not None and int(group) in each.judged]
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


def _names(values: Array) -> Array:
    """Return the group of each row as text; None and NaN are a group of their own."""
    missing = [value is None or value != value for value in values]  # NaN is the one value unlike itself
    return np.where(missing, "(missing)", values.astype(str))
