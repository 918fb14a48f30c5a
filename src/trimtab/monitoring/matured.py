"""Judges a matured window: metrics, concept drift, money, and the paired comparison with the champion."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from trimtab.errors import ImpactFailed
from trimtab.metric_catalog import BY_TASK, METRICS, PAIR, Task, compared_metrics, with_metric
from trimtab.monitoring import mistakes
from trimtab.monitoring.detection.segments import SegmentStep, segment_excess
from trimtab.monitoring.detectors import VersionDetectors
from trimtab.monitoring.estimates import estimate_errors
from trimtab.monitoring.prediction_rows import Scored
from trimtab.monitoring.reference import Reference
from trimtab.monitoring.row_money import RowMoney, prices
from trimtab.monitoring.window_records import VersionWindow
from trimtab.policy.decide import Impact
from trimtab.records.monitoring import ANSWER_MONEY, ANSWERS_PRICED, IMPACT, LEARNT, MONEY_GAIN, Signal, WindowReport
from trimtab.records.record import Record
from trimtab.stats.intervals import row_interval
from trimtab.stats.metrics import metric_value
from trimtab.tasks import RULES

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

EXCESS: Mapping[Task, str] = {
    "binary": "mean of Brier - p (1 - p)",
    "multiclass": "mean of log loss - entropy",
    "regression": "mean of squared error - its expectation",
    "anomaly": "share of wrong decisions - its expectation",
    "chat": "share of bad turns - its expectation",
}
"""What the concept signal of a task measures."""
UNKNOWN_CLASSES = "unknown classes"
"""Subject of the signal of labels of classes that a version does not know."""
UNPROVEN = "unproven labels"
"""Subject of the signal of labels that count as no harm."""
MOST_NAMED = 5


def judge_matured(
    window: VersionWindow,
    scored: Scored,
    label: Floats,
    closed: WindowReport,
    *,
    reference: Reference | None,
    detectors: VersionDetectors | None,
    policy: Impact,
    days: float,
    paired: Mapping[str, float],
    metric: str | None = None,
    own: RowMoney | None = None,
    unknown: Mapping[str, int] | None = None,
    no_harm: str = "",
) -> list[Record]:
    """Return the records of a version's matured window.

    label: of each row of `scored`, NaN where it has none. days: of traffic in the window. paired: the result of
    `paired_gains` for a challenger. metric: computed in addition to the summary of the task. own: the project's impact
    function on the rows of `scored`; where it fails, a signal says so in place of the money. unknown: labels by class,
    of classes that the version does not know. no_harm: why the labels show no harm, such as those of a judge that was
    not compared with people; empty when they do.
    """
    labelled = int(np.isfinite(label).sum())
    metrics = {**closed.metrics, **paired}
    signals: list[Signal] = []
    known = np.isfinite(label) & np.isfinite(scored.score)
    if reference is not None and known.any():
        y, score = label[known], scored.scores[known]
        metrics |= quality(y, score, task=reference.task, threshold=reference.threshold, metric=metric)
        metrics |= loss_bounds(y, score, task=reference.task, threshold=reference.threshold, metric=metric)
        made = mistakes.mean_mistakes(
            y, score, task=reference.task, threshold=reference.threshold, classes=reference.classes
        )
        metrics |= {f"{kind}_mean": value for kind, value in made.items()}
        categories = {name: values[known] for name, values in scored.categories.items()}
        signals = _signals(window, y, score, categories, reference, None if no_harm else detectors)
        costs, money = prices(policy, reference.task, own.function if own else None), list[Signal]()
        if no_harm:
            costs, signals = {}, [_informing(window, y, no_harm)]
        priced, lost = np.ones(len(y), dtype=bool), None
        try:
            if own is not None:
                lost = own.rows(known).lost(y, score)
                priced = np.isfinite(lost)
                made[own.function.kind] = float(lost[priced].mean())
                own = own.rows(known).rows(priced)
            expected = _expected(score[priced], reference, costs, own)
            if expected is None and detectors is not None and detectors.learns("excess"):
                expected = _of_own_windows(signals, costs)
            money = _money(window, made, score[priced], scored.rows / days, reference, policy.currency, costs, expected)
        except ImpactFailed as error:
            log.error("%s: money lost is not known: %s", window.id, error)
            money = [_failed(window, error, len(y))]
        else:
            money = [_left_out(signal, len(y) - int(priced.sum())) for signal in money]
            if costs:
                metrics["money_lost"] = mistakes.money(made, costs) * int(priced.sum())
                metrics |= _of_answers(scored, known, priced, y, lost, reference, costs)
        metrics |= estimate_errors(metrics, coverage=int(priced.sum()) / scored.rows)
        signals += money
        if unknown:
            metrics["unknown_class"] = sum(unknown.values()) / labelled
            signals.append(_unknown(window, unknown, labelled))
    return [window.report("matured", scored, metrics, labelled=labelled), *signals]


def _of_answers(
    scored: Scored,
    known: npt.NDArray[np.bool_],
    priced: npt.NDArray[np.bool_],
    y: Floats,
    lost: Floats | None,
    reference: Reference,
    costs: mistakes.Costs,
) -> dict[str, float]:
    """Return the money lost on rows that were served, and their number; nothing where none has a label.

    known: rows of `scored` with label and score. priced, y, lost: of the known rows; lost: by the project's function.
    """
    answers = priced if scored.answered is None else priced & scored.answered[known]
    if (scored.answered is None and scored.served < scored.rows) or not answers.any():
        return {}
    if lost is not None:
        total = float(lost[answers].sum())
    else:
        made = mistakes.mean_mistakes(
            y[answers],
            scored.scores[known][answers],
            task=reference.task,
            threshold=reference.threshold,
            classes=reference.classes,
        )
        total = mistakes.money(made, costs) * int(answers.sum())
    return {ANSWER_MONEY: total, ANSWERS_PRICED: float(answers.sum())}


def quality(y: Floats, score: Floats, *, task: Task, threshold: float, metric: str | None = None) -> dict[str, float]:
    """Return the label-based metrics of a window; NaN where its rows do not define one.

    metric: computed in addition to the summary of the task, when it is for the task.
    """
    names = with_metric(BY_TASK[task].summary, metric, task)
    return {name: metric_value(name, y, score, threshold=threshold) for name in names}


def loss_bounds(
    y: Floats, score: Floats, *, task: Task, threshold: float, metric: str | None = None
) -> dict[str, float]:
    """Return METRIC_low and METRIC_high of the task's headline and of `metric`: their interval over the window's rows.

    The confidence is that of `stats.intervals.row_interval`. NaN where the window shows none, such as of few rows.
    """
    names = with_metric(BY_TASK[task].summary[:1], metric, task)
    found = {name: row_interval(name, y, score, threshold=threshold) for name in names}
    ends = ((name, one.low, one.high) for name, one in found.items())
    return {key: end for name, low, high in ends for key, end in ((f"{name}_low", low), (f"{name}_high", high))}


def paired_gains(
    champion: Scored,
    challenger: Scored,
    label: Floats,
    *,
    champion_label: Floats | None = None,
    task: Task,
    threshold: float,
    champion_threshold: float | None = None,
    metric: str,
    costs: mistakes.Costs | None = None,
    own: RowMoney | None = None,
    classes: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> dict[str, float]:
    """Return how much better the challenger was, on the rows that both scored and that have a label.

    label: of each row of the challenger. champion_label: of each row of the champion, where it differs: both may know
    other classes, which `classes` names, the challenger's first. champion_threshold: of the champion, where it is not
    the challenger's; the level of a quantile is always that of the challenger. `paired_METRIC_gain` is positive when
    the challenger is better, in the metric's unit; for a mean of losses it is the mean of the paired differences.
    `paired_rows` are the rows, and `paired_version` the champion's version. With costs, `paired_money_gain` is the
    money a prediction that the challenger's mistakes cost less. own: the project's impact function on the challenger's
    rows; there is no such gain where it fails, and rows of classes that either version does not know are left out.
    """
    found = pc.index_in(challenger.ids, value_set=champion.ids)
    place = found.fill_null(0).to_numpy().astype(np.int64)
    scored = found.is_valid().to_numpy(zero_copy_only=False) & np.isfinite(champion.score[place])
    known = np.isfinite(label) & np.isfinite(challenger.score) & scored
    if champion_label is not None:
        known &= np.isfinite(champion_label[place])
    gains = {"paired_rows": float(known.sum()), "paired_version": float(champion.version)}
    if not known.any():
        return gains
    other = threshold if champion_threshold is None else RULES[task].threshold_beside(threshold, champion_threshold)
    sides = (
        (label, challenger.scores, threshold),
        (label if champion_label is None else champion_label[place], champion.scores[place], other),
    )
    for name in compared_metrics(task, metric):
        values = (metric_value(name, y[known], score[known], threshold=limit) for y, score, limit in sides)
        gains[gain_name(name)] = METRICS[name].gain(*values)
    priced = known
    if own is not None and RULES[task].by_class:
        priced = known & np.all([y >= 0 for y, _, _ in sides], axis=0)
    if costs and priced.any():
        money = [own and replace(own.rows(priced), classes=names) for names in classes]
        with suppress(ImpactFailed):  # the window's own signal says so
            mine, champions = (
                mistakes.money(
                    mistakes.mean_mistakes(
                        y[priced], score[priced], task=task, threshold=limit, own=of_rows, classes=names
                    ),
                    costs,
                )
                for (y, score, limit), names, of_rows in zip(sides, classes, money, strict=True)
            )
            gains[MONEY_GAIN] = champions - mine
    return gains


def gain_name(metric: str) -> str:
    """Return the name of a metric's paired gain in WindowReport.metrics."""
    return f"paired_{metric}_gain"


def _signals(
    window: VersionWindow,
    y: Floats,
    score: Floats,
    categories: Mapping[str, npt.NDArray[np.float32]],
    reference: Reference,
    detectors: VersionDetectors | None,
) -> list[Signal]:
    if detectors is None:
        return []
    excess = reference.expectation.excess(y, score)
    value = float(excess.mean())
    statistic, step = EXCESS[reference.task], detectors.excess(value, len(y))
    if step is None:
        if not detectors.learns("excess"):
            return []
        return [window.signal("concept", statistic=statistic, value=value, rows=len(y), reason=LEARNT)]
    found = window.upward(
        "concept", step, statistic=statistic, value=value, rows=len(y), reference_windows=detectors.label_windows
    )
    segments = segment_excess(categories, excess, reference.schemes) if len(detectors.segments) else {}
    found = msgspec.structs.replace(found, effect={**found.effect, **detectors.segments.effect(segments)})
    worst = detectors.segments.step(segments)
    return [found] if worst is None else [found, _segment(window, worst, statistic)]


def _segment(window: VersionWindow, worst: SegmentStep, statistic: str) -> Signal:
    """Return the signal of the segment whose mistakes are most surely more than expected."""
    step = worst.step
    return window.signal(
        "concept",
        subject=worst.name,
        statistic=f"{statistic}, of a segment",
        value=step.value,
        p=worst.p if step.tested else None,
        p_seq=worst.p_seq,
        effect={"expected": step.expected, "rise_sd": step.rise_sd, "segments": float(worst.searched)},
        rows=step.n,
        reference_windows=step.m,
        carriers=(worst.name,),
        reason=f"{step.reason}; p-values are corrected for {worst.searched} segments",
    )


def _money(
    window: VersionWindow,
    made: mistakes.Made,
    score: Floats,
    rows_a_day: float,
    reference: Reference,
    currency: str,
    costs: mistakes.Costs,
    expected: float | None,
) -> list[Signal]:
    """Return money lost a day beyond what is expected for these inputs, at this window's traffic; none without prices.

    expected: a prediction; None: not known.
    """
    if not costs or expected is None:
        return []
    labels = len(score)
    lost = mistakes.money(made, costs)
    beyond = (lost - expected) * rows_a_day
    return [
        window.signal(
            "kpi",
            statistic=f"{currency} a day lost by mistakes, beyond what is expected",
            value=beyond,
            effect={"per_prediction": lost, "expected_per_prediction": expected, "per_day": lost * rows_a_day},
            rows=labels,
            reference_windows=sum(w is not None for w in reference.labelled),
            reason=(
                f"{lost:.3g} {currency} a prediction where {expected:.3g} is expected for these inputs, "
                f"at {rows_a_day:,.0f} predictions a day"
            ),
        )
    ]


def _informing(window: VersionWindow, y: Floats, why: str) -> Signal:
    """Return the signal of labels that inform, and count as no harm."""
    return window.signal(
        "quality",
        subject=UNPROVEN,
        statistic="share of bad turns, by labels that count as no harm",
        value=float(y.mean()),
        rows=len(y),
        reason=why,
    )


def _left_out(signal: Signal, rows: int) -> Signal:
    """Return the signal of money with the number of rows that it does not count."""
    if not rows:
        return signal
    said = f"{signal.reason}; {rows:,} labels of classes that the version does not know are left out"
    return msgspec.structs.replace(signal, reason=said)


def _unknown(window: VersionWindow, unknown: Mapping[str, int], labelled: int) -> Signal:
    """Return which classes the labels of a window have that the version does not know."""
    rows = sum(unknown.values())
    named = sorted(unknown, key=lambda name: (-unknown[name], name))
    shown = ", ".join(f"{name} ({unknown[name]:,})" for name in named[:MOST_NAMED])
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return window.signal(
        "quality",
        subject=UNKNOWN_CLASSES,
        statistic="share of labels of a class that the version does not know",
        value=rows / labelled,
        rows=labelled,
        carriers=tuple(named[:MOST_NAMED]),
        reason=f"{rows:,} of {labelled:,} labels are of a class that the version does not know: {shown}{more}",
    )


def _failed(window: VersionWindow, error: ImpactFailed, rows: int) -> Signal:
    """Return the signal that the project's impact function failed."""
    return window.signal(
        "error",
        subject=IMPACT,
        statistic="1: the impact function failed",
        value=1.0,
        rows=rows,
        reason=f"what mistakes cost is not known: {error}",
    )


def _of_own_windows(signals: Sequence[Signal], costs: mistakes.Costs) -> float | None:
    """Return the money a turn that the first windows of a version of a prompt lost; None as long as they last."""
    concept = next((s for s in signals if s.subject == "all" and "expected" in s.effect), None)
    return None if concept is None else mistakes.money({"bad_turn": concept.effect["expected"]}, costs)


def _expected(score: Floats, reference: Reference, costs: mistakes.Costs, own: RowMoney | None) -> float | None:
    """Return the money a prediction that is expected to be lost on rows with such scores; None where it is not known.

    It is what the model expects of the scores that it gave, and what it lost beyond that in the reference. Hard rows,
    such as those of a stormy day, cost more by expectation. References of earlier releases do not know it: what was
    lost in them is expected then. Raises ImpactFailed.
    """
    if not costs:
        return None
    usual = reference.money_beyond(costs)
    if usual is None:
        return reference.money(costs)
    paired = reference.classes if any(PAIR in kind for kind in costs) else ()
    expected = reference.expectation.mistakes(score, threshold=reference.threshold, own=own, classes=paired)
    return mistakes.money(expected, costs) + usual
