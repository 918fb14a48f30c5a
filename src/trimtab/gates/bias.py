"""The bias gate: Fairlearn's metrics over each sensitive column, at the bundle's threshold. Called by run.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.errors import DataError, StageError, nearest
from trimtab.gates.inputs import Array, GateInputs
from trimtab.gates.spread import rates_of, spread
from trimtab.policy import Bias
from trimtab.records import GateResult, Verdict
from trimtab.stats import Interval, bootstrap

if TYPE_CHECKING:
    import pandas as pd

GATE = "bias"
CONFIDENCE = 0.95
RESAMPLES = 300
NEEDED_LABELS = {"selection_rate": (), "tpr": ("positives",), "fpr": ("negatives",)}


def judge_bias(inputs: GateInputs, policy: Bias) -> tuple[GateResult, ...]:
    """Judge each sensitive column. Raises DataError when one is missing, StageError for a regression."""
    if inputs.task != "binary":
        raise StageError(
            f"gates.bias: {policy.metric_for(inputs.task)} compares yes and no, and the model gives a {inputs.task}; "
            "remove gates.bias"
        )
    results = []
    for column in policy.sensitive:
        if column not in inputs.groups:
            raise DataError(
                f"gates.bias.sensitive: the dataset has no column '{column}'.{nearest(column, inputs.groups)}"
            )
        results.append(_judge(inputs, policy, column))
    return tuple(results)


def _judge(inputs: GateInputs, policy: Bias, column: str) -> GateResult:
    # brings pandas and scikit-learn, which take seconds to import
    import fairlearn.metrics

    names = _names(inputs.groups[column])
    said = (inputs.scores >= inputs.threshold).astype(np.int64)
    truth = inputs.y.astype(np.int64)
    table = _by_group(truth, said, names)
    judged = _judged(table, policy)
    details = {"column": column, "threshold": inputs.threshold, "groups": _plain(table, judged)}
    if len(judged) < 2:
        return _too_few(policy, column, len(judged), details)
    kept = np.isin(names, judged)
    value = float(
        getattr(fairlearn.metrics, policy.metric_for("binary"))(truth[kept], said[kept], sensitive_features=names[kept])
    )
    rate, lowest, highest = _worst_pair(table.loc[judged], policy.metric_for("binary"))
    details["worst"] = {"rate": rate, "lowest": lowest, "highest": highest}
    pair = " against ".join(
        f"{rate} {float(table[rate][name]):.3f} of '{name}' ({int(table['size'][name])} rows)"
        for name in (lowest, highest)
    )
    verdict, threshold, by = _verdict(value, policy)
    interval = _interval(inputs, policy, truth[kept], said[kept], names[kept], kept)
    told = np.isfinite(interval.low)
    shown = f" ({interval.low:.3f} to {interval.high:.3f} at {CONFIDENCE:.0%})" if told else ""
    return GateResult(
        gate=GATE,
        metric=f"{policy.metric_for('binary')}({column})",
        verdict=verdict,
        value=value,
        low=interval.low if told else None,
        high=interval.high if told else None,
        threshold=threshold,
        reason=f"{policy.metric_for('binary')} over {column} is {value:.3f}{shown}, {by}; widest: {pair}; "
        f"{len(judged)} of {len(table)} groups are large enough to be judged",
        details=details,
    )


def _interval(inputs: GateInputs, policy: Bias, truth: Array, said: Array, names: Array, kept: Array) -> Interval:
    """Return the figure's interval over whole days. A widest gap only grows by chance, so it sits a little high."""
    found, code = np.unique(names, return_inverse=True)
    figure = spread(policy.metric_for("binary"), len(found))
    return bootstrap(
        lambda rows: figure(truth[rows], said[rows], code[rows]),
        len(truth),
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        seed=inputs.seed,
        clusters=inputs.clusters[kept],
    )


def _by_group(truth: Array, said: Array, names: Array) -> pd.DataFrame:
    """Return size, positives, negatives, selection_rate, tpr and fpr of each group."""
    from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate

    metrics = {
        "size": count,
        "positives": _positives,
        "selection_rate": selection_rate,
        "tpr": true_positive_rate,
        "fpr": false_positive_rate,
    }
    frame = MetricFrame(metrics=metrics, y_true=truth, y_pred=said, sensitive_features=names)
    table: pd.DataFrame = frame.by_group.astype(float).sort_values("size", ascending=False)
    table["negatives"] = table["size"] - table["positives"]
    return table


def _positives(truth: Array, said: Array) -> int:
    return int(np.asarray(truth).sum())


def _judged(table: pd.DataFrame, policy: Bias) -> list[str]:
    """Return the groups that are large enough and have the labels that the metric's rates rest on."""
    enough = table["size"] >= policy.min_group_size
    for rate in rates_of(policy.metric_for("binary")):
        for needed in NEEDED_LABELS[rate]:
            enough &= table[needed] > 0
    return [str(name) for name in table.index[enough]]


def _worst_pair(table: pd.DataFrame, metric: str) -> tuple[str, str, str]:
    """Return the rate that makes the figure, and the groups where it is lowest and highest."""

    def spread(rate: str) -> float:
        low, high = float(table[rate].min()), float(table[rate].max())
        if metric.endswith("_ratio"):
            return -(low / high) if high > 0 else -1.0
        return high - low

    rate = max(rates_of(metric), key=spread)
    return rate, str(table[rate].idxmin()), str(table[rate].idxmax())


def _verdict(value: float, policy: Bias) -> tuple[Verdict, float | None, str]:
    if policy.max is not None and value > policy.max:
        return "fail", policy.max, f"{value - policy.max:.3f} over the maximum of {policy.max:g}"
    if policy.min is not None and value < policy.min:
        return "fail", policy.min, f"{policy.min - value:.3f} under the minimum of {policy.min:g}"
    if policy.max is not None:
        return "pass", policy.max, f"{policy.max - value:.3f} inside the maximum of {policy.max:g}"
    limit = policy.min if policy.min is not None else 0.0
    return "pass", limit, f"{value - limit:.3f} inside the minimum of {limit:g}"


def _too_few(policy: Bias, column: str, judged: int, details: dict[str, Any]) -> GateResult:
    return GateResult(
        gate=GATE,
        metric=f"{policy.metric_for('binary')}({column})",
        verdict="warn",
        value=0.0,
        low=None,
        high=None,
        threshold=policy.max if policy.max is not None else policy.min,
        reason=f"{column}: {judged} of {len(details['groups'])} groups have {policy.min_group_size} rows and the "
        "labels that the metric rests on; fewer than two, so there is nothing to compare",
        details=details,
    )


def _plain(table: pd.DataFrame, judged: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "group": str(name),
            "size": int(row["size"]),
            "positives": int(row["positives"]),
            **{rate: round(float(row[rate]), 6) for rate in ("selection_rate", "tpr", "fpr")},
            "judged": str(name) in judged,
        }
        for name, row in table.iterrows()
    ]


def _names(values: Array) -> Array:
    """Return the group of each row as text; None and NaN are a group of their own."""
    missing = [value is None or value != value for value in values]  # NaN is the one value unlike itself
    return np.where(missing, "(missing)", values.astype(str))
