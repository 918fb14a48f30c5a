"""The quality gate: the evaluator that decides says that the candidate is not worse than the champion."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from trimtab.gates.prompts.paired_items import Paired, paired
from trimtab.gates.prompts.prompt_inputs import PromptInputs, amount, change, level, result
from trimtab.llm.evaluate.results import CANDIDATE
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict
from trimtab.stats.intervals import Interval
from trimtab.stats.paired.clustered import MIN_CLUSTERS
from trimtab.stats.paired.pass_rates import clopper_pearson_upper, one_sided
from trimtab.units import plural

GATE = "quality"
BROKEN = 0.5
"""An item that loses so much of its score is broken."""


def judge_quality(inputs: PromptInputs) -> tuple[GateResult, ...]:
    """Compare with the champion by every evaluator of quality; the one that decides may refuse."""
    if inputs.champion is None:
        return tuple(_alone(inputs))
    found = []
    for judging in inputs.evaluation.facts.evaluators:
        if judging.gate != GATE:
            continue
        both = paired(inputs.evaluation, judging.name)
        if judging.name == inputs.evaluation.facts.quality:
            found.append(_decides(inputs, judging.name, both))
            if both.kind == "score":
                found.append(_broken(inputs, judging.name, both))
        else:
            found.append(_informs(inputs, judging.name, both))
    return tuple(found)


def _alone(inputs: PromptInputs) -> Iterator[GateResult]:
    """Yield what a first version reaches; only too few items refuse it."""
    evaluation, rules = inputs.evaluation, inputs.rules
    for judging in evaluation.facts.evaluators:
        if judging.gate != GATE:
            continue
        value = float(np.nan_to_num(evaluation.scores(judging.name, CANDIDATE), nan=0.0).mean())
        items = len(evaluation.judged(judging.name))
        few = judging.name == evaluation.facts.quality and items < rules.min_items
        said = f"{judging.name}: {level(value, judging.kind)} on {plural(items, 'item')}"
        reason = f"{said}; " + (
            f"{inputs.same_as} is the same" if inputs.same_as else "nothing serves yet to compare it with"
        )
        if few:
            reason = _too_few(said, rules.min_items)
        reason += _corrected(inputs, judging.name)
        verdict: Verdict = "fail" if few else "pass"
        if why := inputs.informs.get(judging.name):
            reason += f". It informs and refuses nothing: {why}"
            verdict = "warn" if judging.name == evaluation.facts.quality else verdict
        yield result(GATE, judging.name, verdict, reason, value=value, details=inputs.details(judging.name))


def _decides(inputs: PromptInputs, name: str, both: Paired) -> GateResult:
    margin, rules = inputs.margin, inputs.rules
    if not both.items:
        return result(GATE, name, "fail", f"{name}: the judge gave no verdict on any item of {inputs.champion}")
    bounds = both.bounds(rules.confidence)
    reason = _said(inputs, name, both, bounds)
    verdict: Verdict = "pass"
    if len(both.items) < rules.min_items:
        verdict, reason = "fail", _too_few(reason, rules.min_items)
    elif not both.enough_clusters:
        verdict = "fail"
        reason += f"; {plural(both.units, 'cluster')}: with fewer than {MIN_CLUSTERS} no difference is shown"
    elif bounds.low > -margin:
        reason += f"; not worse by {amount(margin, both.kind)} or more"
    else:
        verdict = "fail"
        worse = "it is worse" if bounds.high < 0 else "that it is not worse is not shown"
        reason += f"; {worse}: the lower bound is to be above {change(-margin, both.kind, unit=True)}"
    if why := inputs.informs.get(name):
        verdict, reason = "warn", f"{reason}. It informs and refuses nothing: {why}"
    return result(
        GATE,
        name,
        verdict,
        reason,
        value=bounds.value,
        bounds=_finite(bounds),
        threshold=-margin,
        details=inputs.details(
            name,
            discordant=list(both.discordant),
            p=both.p_better(),
            spread=_spread(both, bounds, rules.confidence),
            smallest_effect=inputs.evaluation.facts.smallest_effect,
            no_verdict=list(both.no_verdict),
            candidate=float(both.candidate.mean()),
            champion=float(both.champion.mean()),
        ),
    )


def _informs(inputs: PromptInputs, name: str, both: Paired) -> GateResult:
    """Return the comparison by an evaluator that does not decide: a warning where it shows a loss."""
    if not both.items:
        return result(GATE, name, "warn", f"{name}: the judge gave no verdict on any item of {inputs.champion}")
    bounds = both.bounds(inputs.rules.confidence)
    worse = both.enough_clusters and bounds.high < 0
    reason = _said(inputs, name, both, bounds)
    if why := inputs.informs.get(name):
        reason += f". It informs and refuses nothing: {why}"
    return result(
        GATE,
        name,
        "warn" if worse else "pass",
        reason,
        value=bounds.value,
        bounds=_finite(bounds),
        details=inputs.details(name, discordant=list(both.discordant), no_verdict=list(both.no_verdict)),
    )


def _broken(inputs: PromptInputs, name: str, both: Paired) -> GateResult:
    """Hold the share of items that lose half a point or more against its limit, which a mean hides."""
    limit, n = inputs.gates.quality.max_broken, len(both.items)
    if not n:
        return result(GATE, "max_broken", "fail", "no item has verdicts on both sides", threshold=limit)
    lost = [item for item, d in zip(both.items, both.d, strict=True) if d <= -BROKEN]
    units = len({item.cluster for item in lost}), both.units
    high = clopper_pearson_upper(*units, confidence=inputs.rules.confidence)
    verdict: Verdict = "pass" if high <= limit else "fail"
    reason = f"{len(lost)} of {plural(n, 'item')} lose {BROKEN:g} or more: at most {high:.1%}, allowed {limit:.1%}"
    if why := inputs.informs.get(name):
        verdict, reason = ("warn" if verdict == "fail" else verdict), f"{reason}. It informs alone: {why}"
    return result(
        GATE,
        "max_broken",
        verdict,
        reason,
        value=len(lost) / n,
        bounds=(0.0, high),
        threshold=limit,
        details=inputs.details(name, broken=[item.id for item in lost]),
    )


def _said(inputs: PromptInputs, name: str, both: Paired, bounds: Interval) -> str:
    kind = both.kind
    values = level(float(both.candidate.mean()), kind), level(float(both.champion.mean()), kind)
    items = plural(len(both.items), "item") + (f" in {plural(both.units, 'cluster')}" if both.is_clustered else "")
    low, high = _finite(bounds)
    between = "" if low is None or high is None else f" ({change(low, kind)} to {change(high, kind)})"
    missing = f"; no verdict on {both.no_verdict[0]} and {both.no_verdict[1]} answers" if any(both.no_verdict) else ""
    return (
        f"{name}: {values[0]} against {values[1]} of {inputs.champion} on {items}, "
        f"{change(bounds.value, kind, unit=True)}{between}{missing}{_corrected(inputs, name)}"
    )


def _corrected(inputs: PromptInputs, name: str) -> str:
    found = inputs.corrected.get(name)
    return f"; {found}" if found else ""


def _too_few(said: str, least: int) -> str:
    return f"{said}; too few items: llm.evaluate.min_items is {least}"


def _finite(bounds: Interval) -> tuple[float | None, float | None]:
    return (None, None) if math.isnan(bounds.low) else (bounds.low, bounds.high)


def _spread(both: Paired, bounds: Interval, confidence: float) -> float | None:
    """Return the standard deviation of the differences of clusters, by which the next evaluation plans."""
    if math.isnan(bounds.low):
        return None
    return (bounds.high - bounds.low) / 2 / one_sided(confidence) * math.sqrt(both.units)
