"""Absolute limits: format, safety, time to the first token, cost of a turn.

A limit is kept when the end of the interval keeps it. Where only the value does, the gate warns: more items would say
more. Where the value does not, it refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.gates.prompts.prompt_inputs import PromptInputs, result
from trimtab.lazy_library import LazyLibrary
from trimtab.llm.evaluate.answer_marks import PICO
from trimtab.llm.evaluate.results import CANDIDATE, ItemResult
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict
from trimtab.stats.paired.clustered import clustered_mean
from trimtab.stats.paired.pass_rates import clopper_pearson_upper
from trimtab.units import MICROS, plural

if TYPE_CHECKING:
    from scipy import special
else:
    special = LazyLibrary("scipy.special")

MILLISECOND = MICROS["s"] / 1000


def judge_format(inputs: PromptInputs) -> tuple[GateResult, ...]:
    """Hold the share of answers that fit the output schema, and of each evaluator of format, against `format.min`."""
    evaluation, limit = inputs.evaluation, inputs.gates.format.min
    found = []
    if evaluation.facts.has_schema:
        wrong = [[not ok for ok in item.format_ok[CANDIDATE][: evaluation.facts.repeats]] for item in evaluation.items]
        found.append(_share(inputs, "format", "schema", evaluation.items, wrong, 1 - limit, "do not fit the schema"))
    by = _by_evaluators(inputs, "format", 1 - limit, "are of the wrong form")
    same = [each.details["bad"] for each in found]  # `json_schema` says what the schema says
    return (*found, *(each for each in by if each.details["bad"] not in same or each.metric != "json_schema"))


def judge_safety(inputs: PromptInputs) -> tuple[GateResult, ...]:
    """Hold the share of answers that each evaluator of safety objects to against `safety.max`."""
    return _by_evaluators(inputs, "safety", inputs.gates.safety.max, "are objected to")


def judge_first_token(inputs: PromptInputs) -> tuple[GateResult, ...]:
    """Hold the 95th percentile of the time to the first token against `first_token.p95`; its bounds are order
    statistics (Conover, Practical nonparametric statistics, 1999, 3.2)."""
    limit = inputs.gates.first_token.p95 / MILLISECOND
    times = np.sort([a.first_token_ms for _, a in inputs.evaluation.answers(CANDIDATE) if not a.error])
    if not len(times):
        return (result("first_token", "p95_ms", "fail", "no answer came", threshold=limit),)
    n, confidence = len(times), inputs.rules.confidence
    value = float(times[math.ceil(0.95 * n) - 1])
    below, above = (_order(n, confidence, upper=upper) for upper in (False, True))
    low = float(times[below - 1]) if below else None
    high = float(times[above - 1]) if above <= n else None
    verdict: Verdict = "fail" if value > limit else "pass" if high is not None and high <= limit else "warn"
    reason = f"95 % of {plural(n, 'answer')} began within {value:,.0f} ms"
    reason += f" (at most {high:,.0f} ms)" if high is not None else ", too few answers for an upper bound"
    details = {"n": n, "repeats": inputs.evaluation.facts.repeats, "confidence": confidence}
    return (
        result(
            "first_token",
            "p95_ms",
            verdict,
            f"{reason}; allowed {limit:,.0f} ms",
            value=value,
            bounds=(low, high),
            threshold=limit,
            details=details,
        ),
    )


def judge_cost(inputs: PromptInputs) -> tuple[GateResult, ...]:
    """Hold the mean cost of a turn against `cost.per_turn`."""
    limit, evaluation = inputs.gates.cost.per_turn, inputs.evaluation
    answers = list(evaluation.answers(CANDIDATE))
    costs = [answer.cost_pico * PICO for _, answer in answers]
    found = clustered_mean(costs, [item.cluster for item, _ in answers], inputs.rules.confidence)
    high = None if math.isnan(found.high) else found.high
    kept = high is not None and high <= limit
    verdict: Verdict = "fail" if found.value > limit else "pass" if kept else "warn"
    guessed = sum(answer.usage != "reported" for _, answer in answers)
    reason = f"a turn costs {found.value:.6g}" + (f" (at most {high:.6g})" if high is not None else "")
    reason += f"; allowed {limit:g}" + (f"; {guessed} of {len(answers)} by estimated tokens" if guessed else "")
    details = {"n": len(answers), "repeats": evaluation.facts.repeats, "confidence": inputs.rules.confidence}
    bounds = (max(found.low, 0.0), high) if high is not None else (None, None)
    return (
        result("cost", "per_turn", verdict, reason, value=found.value, bounds=bounds, threshold=limit, details=details),
    )


def _by_evaluators(inputs: PromptInputs, gate: str, limit: float, words: str) -> tuple[GateResult, ...]:
    evaluation = inputs.evaluation
    found = []
    for judging in evaluation.facts.evaluators:
        if judging.gate == gate:
            scores = np.nan_to_num(evaluation.scores(judging.name, CANDIDATE), nan=0.0)
            items = evaluation.judged(judging.name)
            found.append(_share(inputs, gate, judging.name, items, 1 - scores, limit, words))
    return tuple(found)


def _share(
    inputs: PromptInputs,
    gate: str,
    metric: str,
    items: Sequence[ItemResult],
    bad: Any,
    limit: float,
    words: str,
) -> GateResult:
    """Hold a share of bad answers against its largest value.

    bad: from 0 to 1, (items, repeats). The exact bounds count clusters, and round against the candidate, so that
    repeats and items of one cluster are not taken for independent ones.
    """
    shares = np.asarray(bad, dtype=np.float64).mean(axis=1)
    value, units = float(shares.mean()), len({item.cluster for item in items})
    confidence = inputs.rules.confidence
    count = min(math.ceil(value * units - 1e-9), units)
    high = clopper_pearson_upper(count, units, confidence)
    low = 1 - clopper_pearson_upper(units - math.floor(value * units + 1e-9), units, confidence)
    verdict: Verdict = "fail" if value > limit + 1e-12 else "pass" if high <= limit else "warn"
    reason = f"{metric}: {value:.1%} of the answers to {plural(len(items), 'item')} {words} (at most {high:.1%})"
    reason += f"; allowed {limit:.1%}"
    if verdict == "warn" and limit > 0:
        what = "item" if units == len(items) else "cluster"
        reason += f"; {plural(needed(limit, confidence), what)} without one would show it"
    details: Mapping[str, Any] = {
        "n": len(items),
        "clusters": units,
        "repeats": inputs.evaluation.facts.repeats,
        "confidence": confidence,
        "bad": [item.id for item, share in zip(items, shares, strict=True) if share > 0][:100],
    }
    return result(gate, metric, verdict, reason, value=value, bounds=(low, high), threshold=limit, details=details)


def needed(limit: float, confidence: float) -> int:
    """Return how many items without a bad answer show that at most a share of `limit` is bad."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - limit)) if 0 < limit < 1 else 0


def _order(n: int, confidence: float, *, upper: bool) -> int:
    """Return which of n sorted values bounds their 95th percentile, from 1; 0 or n + 1 where none does."""
    if upper:
        return math.ceil(float(special.bdtrik(confidence, n, 0.95))) + 1
    return math.floor(float(special.bdtrik(1 - confidence, n, 0.95)))
