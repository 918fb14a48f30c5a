"""The reference of a version's monitoring, made of its answers in an evaluation."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.app.project.workspace import Workspace
from trimtab.llm.evaluate.answer_cache import Answer
from trimtab.llm.evaluate.answer_marks import PICO
from trimtab.llm.evaluate.results import CANDIDATE, Evaluation, ItemResult
from trimtab.llm.redaction.project_key import project_key
from trimtab.llm.redaction.redactor import Redactor
from trimtab.metric_catalog import CHAT
from trimtab.monitoring.prompts.turn_reference import ReferenceTurn, TurnReference, build_turn_reference
from trimtab.monitoring.prompts.turn_texts import NOTHING, TurnText
from trimtab.monitoring.row_money import prices


def evaluation_reference(workspace: Workspace, evaluation: Evaluation) -> TurnReference:
    """Return the reference of the candidate: the first answer to each item, its texts as the policy keeps them."""
    policy = workspace.project.policy
    redactor = Redactor(
        policy.llm.redact.detect,
        policy.llm.redact.patterns,
        project_key(workspace.root, policy.llm.store.key),
    )

    def kept(text: str) -> str:
        return text if policy.llm.store.messages == "full" else redactor.turn().shown(text)

    hashed = policy.llm.store.messages == "hash"
    turns = [
        ReferenceTurn(
            numbers=_numbers(answer, format_ok=item.format_ok[CANDIDATE][0]),
            text=NOTHING if hashed else _text(item, answer, kept),
        )
        for item in evaluation.items
        if not (answer := item.answers[CANDIDATE][0]).error
    ]
    return build_turn_reference(turns, window=policy.decide.window, costs=prices(policy.impact, CHAT, None))


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
