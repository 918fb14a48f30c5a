"""The gates of prompts in their order. A gate is one function here and one section of `llm.gates` in the policy."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.gates.prompts.absolute_limits import judge_cost, judge_first_token, judge_format, judge_safety
from trimtab.gates.prompts.answer_quality import judge_quality
from trimtab.gates.prompts.prompt_inputs import PromptInputs
from trimtab.gates.prompts.tags_and_items import judge_items, judge_tags
from trimtab.records.gate_reports import GateResult

PROMPT_GATES: tuple[Callable[[PromptInputs], tuple[GateResult, ...]], ...] = (
    judge_quality,
    judge_format,
    judge_safety,
    judge_first_token,
    judge_cost,
    judge_tags,
    judge_items,
)


def evaluate_prompt(inputs: PromptInputs) -> tuple[GateResult, ...]:
    """Return the results of all gates. Each must pass at its own level, so that none is corrected for the others
    (Berger 1982)."""
    return tuple(result for gate in PROMPT_GATES for result in gate(inputs))
