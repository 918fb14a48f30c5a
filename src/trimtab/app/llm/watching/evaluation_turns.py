"""The answers of an evaluation as turns, which the reference of monitoring is made of."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.app.project.workspace import Workspace
from trimtab.llm.evaluate.answer_cache import Answer
from trimtab.llm.evaluate.answer_marks import PICO
from trimtab.llm.evaluate.results import CANDIDATE, Evaluation, ItemResult
from trimtab.llm.redaction.project_key import project_key
from trimtab.llm.redaction.redactor import Redactor
from trimtab.monitoring.prompts.turn_reference import ReferenceTurn
from trimtab.monitoring.prompts.turn_texts import TurnText


def evaluation_turns(workspace: Workspace, evaluation: Evaluation) -> list[ReferenceTurn]:
    """Return the first answer of the candidate to each item, its texts as the policy keeps them."""
    llm = workspace.project.policy.llm
    redactor = Redactor(llm.redact.detect, llm.redact.patterns, project_key(workspace.root, llm.store.key))

    def kept(text: str) -> str:
        return text if llm.store.messages == "full" else redactor.turn().shown(text)

    hashed = llm.store.messages == "hash"
    return [
        ReferenceTurn(
            numbers=_numbers(answer, format_ok=item.format_ok[CANDIDATE][0]),
            text=TurnText(reported=answer.model or None, hashed=True) if hashed else _text(item, answer, kept),
        )
        for item in evaluation.items
        if not (answer := item.answers[CANDIDATE][0]).error
    ]


def _numbers(answer: Answer, *, format_ok: bool) -> dict[str, float]:
    pace = max(answer.latency_ms - answer.first_token_ms, 0.0) / max(answer.output_tokens, 1)
    return {
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "turn": 1.0,
        "tool_calls": len(answer.tool_calls),
        "documents": len(answer.document_ids),
        "first_token_ms": answer.first_token_ms,
        "ms_per_token": pace,
        "cost": answer.cost_pico * PICO,
        "refused": float(answer.refusal is not None or answer.finish_reason == "content_filter"),
        "format_ok": float(format_ok),
        "cut": float(answer.finish_reason == "length"),
    }


def _text(item: ItemResult, answer: Answer, kept: Callable[[str], str]) -> TurnText:
    return TurnText(question=kept(item.question), answer=kept(answer.text), reported=answer.model or None)
