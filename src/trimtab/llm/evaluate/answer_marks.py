"""Evaluators and judges over answers: turns are made of them, and what is said of each becomes a mark."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.definitions.llm.evaluators import Evaluator, Item, Turn
from trimtab.errors import DefinitionError
from trimtab.llm.evaluate.answer_cache import Answer
from trimtab.llm.evaluate.results import Mark
from trimtab.places import of_error

PICO = 1e-12

Parse = Callable[[Answer], tuple[Any, bool]]
"""Returns what an answer is by the output schema, and whether it fits."""


def turn_of(
    answer: Answer, messages: Sequence[Mapping[str, Any]], parsed: Any, *, format_ok: bool, **more: Any
) -> Turn:
    """Return an answer as evaluators get it. more: further arguments of Turn."""
    return Turn(
        messages=messages,
        text=answer.text,
        tool_calls=answer.tool_calls,
        refusal=answer.refusal,
        finish_reason=answer.finish_reason,
        parsed=parsed,
        format_ok=format_ok,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        cost=answer.cost_pico * PICO,
        first_token_ms=answer.first_token_ms,
        latency_ms=answer.latency_ms,
        document_ids=answer.document_ids,
        **more,
    )


def mark_of(evaluator: Evaluator, turn: Turn, item: Item, *, place: str, project: Path) -> tuple[Mark, bool]:
    """Return what an evaluator says of a turn, and whether it said pass or fail rather than a score.

    Raises DefinitionError when the evaluator raises, or returns no verdict that is allowed; it names the item.
    """
    try:
        score = evaluator.score(turn, item)
    except DefinitionError as error:
        raise DefinitionError(f"{error} (item of {place})") from None
    except Exception as error:  # code of the project may raise anything
        where = of_error(error, project)
        own = f"{where[0].relative_to(project).as_posix()}:{where[1]}: " if where else ""
        said = traceback.format_exception_only(error)[-1].strip()
        raise DefinitionError(f"{own}evaluator '{evaluator.name}' failed on the item of {place}: {said}") from error
    return Mark(None if score.value is None else float(score.value), score.reason), isinstance(score.value, bool)
