"""What an evaluation is to compare, what its items can show, and what it is expected to cost, before money is spent."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from trimtab.app.project.project import POLICY
from trimtab.app.project.workspace import Workspace
from trimtab.errors import PolicyError
from trimtab.llm.evaluate.buying import bound_tokens, bytes_of
from trimtab.llm.evaluate.runner import BYTES_PER_TOKEN, Runner
from trimtab.llm.money.spend_scopes import PICO
from trimtab.llm.money.turn_cost import CostMeter, cost_bound
from trimtab.policy.reader import line_of
from trimtab.records.gate_reports import GateReport
from trimtab.stats.paired.smallest_effects import POWER, smallest_effect_scores
from trimtab.stores.metadata.contract import Metadata
from trimtab.units import plural

DIFFERING = 0.1
"""Share of items on which two versions differ, where no comparison says more. One of nearly equal texts does not."""
WIDEST = 0.15
"""Largest margin of `auto`."""
NOT_WORSE_BY = "llm.gates.quality.not_worse_by"


def spread_before(metadata: Metadata, prompt: str, quality: str) -> float:
    """Return the standard deviation of paired differences to plan by: that of the last comparison, if it is larger.

    Only one that passed counts. A version that was refused differs from the champion, and would widen the margin until
    it passes.
    """
    spread = math.sqrt(DIFFERING)
    for report in metadata.find(GateReport, model=prompt):
        for result in report.results:
            passed = (result.gate, result.metric, result.verdict) == ("quality", quality, "pass")
            if passed and (found := result.details.get("spread")):
                return max(spread, float(found))
    return spread


def tolerated_loss(workspace: Workspace, *, units: int, spread: float) -> tuple[float, float]:
    """Return the margin of the quality gate, and the smallest change that so many items or clusters can show.

    Raises PolicyError for a fixed margin that they cannot show.
    """
    llm = workspace.project.policy.llm
    shown = smallest_effect_scores(units, spread, confidence=llm.evaluate.confidence)
    fixed = llm.gates.quality.not_worse_by
    if fixed is None:
        return min(shown, WIDEST), shown
    if fixed < shown:
        where = workspace.project.folder / POLICY
        needed = f"{math.ceil(units * (shown / fixed) ** 2):,} would" if fixed > 0 else "no number of them would"
        raise PolicyError(
            f"{where}:{line_of(where, NOT_WORSE_BY)}: {NOT_WORSE_BY}: {fixed:.1%} cannot be shown with "
            f"{plural(units, 'item')}, which show {100 * shown:.1f} points; {needed}. "
            "Leave it out to allow what they show"
        )
    return fixed, shown


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What an evaluation is expected to buy.

    answers, verdicts: that are not in the cache. cost: in the currency. most: if all answers have their longest length,
    and repeats their largest number. measured: whether `cost` rests on answers of earlier evaluations.
    """

    answers: int
    verdicts: int
    cost: float
    most: float
    measured: bool


def expected_cost(workspace: Workspace, runner: Runner, lengths: float) -> Expected:
    """Return what an evaluation will buy. lengths: mean output tokens of the prompt before; NaN where it is not known.

    Raises DataError for a model without a price.
    """
    at, meter = workspace.now(), CostMeter()
    counts, total, most = Counter[str](), 0, 0
    for purpose, target, body in runner.purchases():
        tokens = bound_tokens(body)
        received = tokens[1] if math.isnan(lengths) or purpose == "judge" else min(lengths, tokens[1])
        cost = meter.turn(target, at, None, sent=bytes_of(body), received=int(received * BYTES_PER_TOKEN)).cost
        bound = cost_bound(target, at, *tokens)
        counts[purpose] += 1
        total, most = total + min(cost, bound), most + bound
    if len(runner.sides) > 1 and runner.course.max_repeats > runner.course.repeats:
        bought = runner.purchases(runner.course.max_repeats)
        most = sum(cost_bound(target, at, *bound_tokens(body)) for _, target, body in bought)
    return Expected(
        answers=counts["eval"],
        verdicts=counts["judge"],
        cost=total / PICO,
        most=most / PICO,
        measured=not math.isnan(lengths),
    )


def plan_lines(
    runner: Runner, expected: Expected, *, currency: str, shown: float, cap: float, confidence: float
) -> list[str]:
    """Return what is said before money is spent."""
    sides = " against ".join(side.side.name for side in runner.sides)
    sets = ", ".join(part.items.name for part in runner.parts)
    buys = plural(expected.answers, "answer") + (
        f" and {plural(expected.verdicts, 'verdict')}" if expected.verdicts else ""
    )
    by = "" if expected.measured else " if every answer has its longest length"
    lines = [
        f"{runner.prompt}: {sides} on {plural(runner.size, 'item')} of {sets}",
        f"to buy: {buys}, about {expected.cost:.4g} {currency}{by}; at most {min(expected.most, cap):.4g} {currency}",
    ]
    if len(runner.sides) > 1:
        lines.append(
            f"the items can show a change of {100 * shown:.1f} points, with a probability of {POWER:.0%} "
            f"(confidence {confidence:.0%})"
        )
    repeated = sum(part.items.repeated for part in runner.parts)
    if repeated:
        lines.append(f"{plural(repeated, 'row')} left out: equal to an earlier one")
    return lines
