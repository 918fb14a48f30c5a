"""Gates of parts: no tag is worse, and no single item fails too often."""

from __future__ import annotations

import numpy as np

from trimtab.gates.prompts.paired_items import paired
from trimtab.gates.prompts.prompt_inputs import PromptInputs, change, result
from trimtab.llm.evaluate.results import CANDIDATE
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict
from trimtab.stats.tail import holm
from trimtab.units import plural

SHOWN = 5
"""How many tags or items a reason names."""


def judge_tags(inputs: PromptInputs) -> tuple[GateResult, ...]:
    """Refuse when the candidate is shown to be worse in a tag; over all tags by Holm (1979)."""
    if inputs.champion is None:
        return ()
    rule, name = inputs.gates.tags, inputs.evaluation.facts.quality
    both = paired(inputs.evaluation, name)
    values = sorted({tag for item in both.items for tag in item.tags.items()})
    found = {tag: both.among(np.array([item.tags.get(tag[0]) == tag[1] for item in both.items])) for tag in values}
    judged = [tag for tag, part in found.items() if len(part.items) >= rule.min_items and part.enough_clusters]
    if not values:
        return ()
    adjusted = dict(zip(judged, holm([found[tag].p_worse() for tag in judged]), strict=True)) if judged else {}
    worse = [tag for tag in judged if adjusted[tag] < rule.worse_at]
    details = {
        "tags": [
            {
                "tag": f"{column}={value}",
                "n": len(part.items),
                "difference": float(part.d.mean()),
                "p": float(adjusted[column, value]) if (column, value) in adjusted else None,
            }
            for (column, value), part in found.items()
        ]
    }
    shown = f"{len(judged)} of {plural(len(values), 'tag')} have {rule.min_items} items or more"
    reason = f"{shown}; in none of them it is worse (level {rule.worse_at:g}, Holm)"
    if worse:
        named = [
            f"{column} {value} ({change(float(found[column, value].d.mean()), both.kind, unit=True)} on "
            f"{plural(len(found[column, value].items), 'item')}, p {adjusted[column, value]:.2g})"
            for column, value in worse[:SHOWN]
        ]
        reason = f"worse in {', '.join(named)}" + (f" and {len(worse) - SHOWN} more" if len(worse) > SHOWN else "")
    verdict: Verdict = "fail" if worse else "pass"
    if worse and (why := inputs.informs.get(name)):
        verdict, reason = "warn", f"{reason}. It informs and refuses nothing: {why}"
    return (
        result(
            "tags",
            name,
            verdict,
            reason,
            value=float(min(adjusted.values(), default=1.0)),
            threshold=rule.worse_at,
            details=details,
        ),
    )


def judge_items(inputs: PromptInputs) -> tuple[GateResult, ...]:
    """Refuse when an item passes fewer of its repeats than `item_pass`."""
    limit, evaluation = inputs.gates.item_pass, inputs.evaluation
    if limit is None:
        return ()
    name = evaluation.facts.quality
    means = np.nan_to_num(evaluation.scores(name, CANDIDATE), nan=0.0).mean(axis=1)
    items = evaluation.judged(name)
    failed = [(item, mean) for item, mean in zip(items, means, strict=True) if mean < limit - 1e-12]
    reason = f"each of {plural(len(items), 'item')} passes {limit:.0%} of its answers"
    if failed:
        named = ", ".join(f"{item.place} ({mean:.0%})" for item, mean in failed[:SHOWN])
        more = f" and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
        reason = f"{len(failed)} of {plural(len(items), 'item')} pass less than {limit:.0%}: {named}{more}"
    verdict: Verdict = "fail" if failed else "pass"
    if failed and (why := inputs.informs.get(name)):
        verdict, reason = "warn", f"{reason}. It informs and refuses nothing: {why}"
    return (
        result(
            "item_pass",
            name,
            verdict,
            reason,
            value=float(means.min(initial=1.0)),
            threshold=limit,
            details=inputs.details(name, failed=[item.id for item, _ in failed]),
        ),
    )
