"""Writes turns to the prediction log: a prediction and a turn for each version that was asked, and the messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from trimtab.bundle.prompt_spec import NOT_THE_VERSION, TURN_FEATURES, TURN_NUMBERS
from trimtab.clock import to_micros
from trimtab.errors import StoreError
from trimtab.llm.completion import Completion, Usage
from trimtab.llm.redaction.content_rows import content_columns, texts_of
from trimtab.llm.redaction.redactor import Redactor
from trimtab.policy.llm.section_llm import KeptText
from trimtab.serving.chat.chat_turn import Turn, VersionTurn
from trimtab.serving.chat.conversations import turn_number
from trimtab.serving.chat.outbound_masks import OutboundMasks
from trimtab.serving.chat.turn_trace import note_turn
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.telemetry.traces import current
from trimtab.stores.predictions.contract import Predictions

logger = logging.getLogger(__name__)

MAX_INT32 = 2**31 - 1
INLINE_CHARS = 4096
"""Longer turns are redacted in a thread, some 0.1 ms a kilobyte: streams go on meanwhile."""
NOTHING = Usage(input=0, output=0, kind="estimated")


class TurnLog:
    """The log of a worker's turns. Lives on one event loop."""

    def __init__(self, gateway: Gateway, predictions: Predictions, redactor: Redactor, store: KeptText) -> None:
        self._gateway = gateway
        self._predictions = predictions
        self._redactor = redactor
        self._store = store

    def new_id(self, tenant: str) -> str:
        """Return an id of a turn, by which its tenant alone may send feedback."""
        return self._redactor.key.turn_id(tenant)

    def outbound(self) -> OutboundMasks:
        """Return the masks of one answer to a client."""
        return OutboundMasks(self._redactor)

    def keyed(self, text: str) -> str:
        """Return the keyed hash of a text."""
        return self._redactor.key.of_text(text)

    def end_old_segments(self) -> None:
        """End segments that have reached their age, also where no turn comes: compaction deletes text of ended ones."""
        try:
            self._predictions.sync()
        except StoreError as error:
            logger.error("%s", error)

    def hashed(self, kind: str, name: str) -> str:
        """Return the keyed hash of a user or a conversation, which is all that is kept of its name."""
        return self._redactor.key.of_name(kind, name)

    async def write(self, turn: Turn, *, answered: bool) -> None:
        """Log a turn that has ended. answered: its client does not wait for the log. Raises Refused."""
        works = turn.versions
        for work in works:
            self._count(turn, work)
        served = sum(is_served(turn, work) for work in works)
        now = to_micros(self._gateway.clock.now())
        texts = [list(parts_of(work)) for work in works]
        if sum(len(text) for each in texts for _, text in each) <= INLINE_CHARS:
            contents = self._contents(turn, texts, now)
        else:
            contents = await asyncio.to_thread(self._contents, turn, texts, now)
        trace = current.get()
        if trace is not None and turn.purpose == "serve":
            note_turn(trace, turn, texts[-1], self._redactor, self._store.traces)

        def append(cpu_us: int) -> None:
            self._predictions.append_turns(turn_rows(turn, now))
            for columns in contents:
                self._predictions.append_contents(columns)
            if turn.last.prompt.is_direct:
                return  # no version of a prompt answered
            predictions = prediction_rows(turn, now, cpu_us)
            self._predictions.append(predictions)  # last: a reader that finds it finds the other rows, too

        await self._gateway.journal.rows(append, served, answered=answered)

    def _contents(
        self, turn: Turn, texts: Sequence[Sequence[tuple[str, str]]], now: int
    ) -> list[dict[str, Sequence[Any]]]:
        """Return the rows of kind `contents` of each version. What is sent and answered has the same names in masks."""
        columns = (
            content_columns(
                parts,
                self._redactor,
                self._store.messages,
                prediction_id=turn.id,
                model=turn.table.model,
                version=work.variant.bundle.version,
                at=now,
                user=turn.caller.user,
                conversation=turn.caller.conversation,
            )
            for work, parts in zip(turn.versions, texts, strict=True)
        )
        return [each for each in columns if each]

    def _count(self, turn: Turn, work: VersionTurn) -> None:
        metrics, usage, answer = self._gateway.metrics, work.usage or NOTHING, work.completion
        if not work.prompt.is_direct:
            failed = work.error is not None and work.error not in NOT_THE_VERSION
            metrics.count_turn(work.variant, served=is_served(turn, work), latency_us=work.latency_us, failed=failed)
        tokens = {
            "input": usage.input,
            "cached": usage.cached,
            "output": usage.output,
            "reasoning": usage.reasoning,
        }
        first_us = None if answer is None else round(answer.first_token_ms * 1000) or None
        metrics.count_chat(turn.table.model, work.error or "ok", turn.purpose, tokens, work.cost, first_us)


def is_served(turn: Turn, work: VersionTurn) -> bool:
    """Return True if a client got, or was to get, what a version answered."""
    return turn.purpose == "serve" and work is turn.last


def parts_of(work: VersionTurn) -> Iterator[tuple[str, str]]:
    """Yield name and text of each part of a turn: the messages that were sent, then the answer.

    System messages of a prompt are left out: the version says what they are, and they are in no log.
    """
    hidden = () if work.prompt.is_direct else ("system", "developer")
    said = next((call.said for call in reversed(work.calls) if call.said), "")
    return texts_of(work.messages, {}, work.completion, error=said, hidden=hidden)


def prediction_rows(turn: Turn, now: int, cpu_us: int) -> dict[str, Sequence[Any]]:
    """Return the predictions of a turn, one column a field. now: microseconds since 1970."""
    works, rows = turn.versions, len(turn.versions)
    caller = turn.caller
    entities = [("conversation", caller.conversation), ("user", caller.user), ("tenant", caller.tenant)]
    fell_back = len(works) > 1
    return {
        "prediction_id": [turn.id] * rows,
        "model": [turn.table.model] * rows,
        "version": [work.variant.bundle.version for work in works],
        "role": [work.variant.role for work in works],
        "served": [is_served(turn, work) for work in works],
        "route": ["fallback" if fell_back and work is turn.last else turn.route for work in works],
        "revision": [turn.table.revision] * rows,
        "event_time": [turn.at] * rows,
        "logged_at": [now] * rows,
        "entities": [[(name, value) for name, value in entities if value]] * rows,
        "features": [features(turn, work) for work in works],
        "score": [0.0 if work.error is None else None for work in works],
        "confidence": [None] * rows,
        "latency_us": [min(work.latency_us, MAX_INT32) for work in works],
        "cpu_us": [min(cpu_us // rows, MAX_INT32)] * rows,
        "error": [work.error for work in works],
    }


def turn_rows(turn: Turn, now: int) -> dict[str, Sequence[Any]]:
    """Return the rows of kind `turns`, one column a field."""
    works, rows = turn.versions, len(turn.versions)
    usages = [work.usage or NOTHING for work in works]
    answers = [work.completion or Completion(finish_reason="") for work in works]
    return {
        "prediction_id": [turn.id] * rows,
        "model": [turn.table.model] * rows,
        "version": [work.variant.bundle.version for work in works],
        "at": [now] * rows,
        "purpose": [turn.purpose] * rows,
        "endpoint": [work.target.endpoint.name for work in works],
        "upstream_model": [work.target.model for work in works],
        "model_reported": [answer.model or None for answer in answers],
        "input_tokens": [min(usage.input, MAX_INT32) for usage in usages],
        "cached_tokens": [min(usage.cached, MAX_INT32) for usage in usages],
        "cache_write_tokens": [min(usage.cache_write, MAX_INT32) for usage in usages],
        "output_tokens": [min(usage.output, MAX_INT32) for usage in usages],
        "reasoning_tokens": [min(usage.reasoning, MAX_INT32) for usage in usages],
        "usage": [usage.kind for usage in usages],
        "cost_pico": [work.cost for work in works],
        "price_version": [work.price_version for work in works],
        "first_token_us": [round(answer.first_token_ms * 1000) or None for answer in answers],
        "finish_reason": [answer.finish_reason or None for answer in answers],
        "stream": [turn.request.stream] * rows,
        "format_ok": [work.format_ok for work in works],
        "refused": [is_refused(answer) for answer in answers],
        "tool_calls": [len(answer.tool_calls) for answer in answers],
        "cache_hit": [work.cache_hit for work in works],
        "attempts": [work.attempts for work in works],
        "fell_back_from": [work.fell_back_from for work in works],
        "document_ids": [list(work.documents) or None for work in works],
    }


def features(turn: Turn, work: VersionTurn) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the features of a turn, float32 (TURN_FEATURES,), NaN where a number is not known."""
    found = np.full(len(TURN_FEATURES), np.nan, dtype=np.float32)
    usage, answer = work.usage or NOTHING, work.completion
    values: dict[str, float | None] = {
        "input_tokens": usage.input,
        "cost": work.cost / 1e12,
        "turn": turn_number(turn.request.messages),
    }
    if answer is not None:
        spent_ms = answer.latency_ms - answer.first_token_ms
        values |= {
            "output_tokens": usage.output,
            "cached_share": usage.cached / usage.input if usage.input else 0.0,
            "tool_calls": len(answer.tool_calls),
            "documents": len(work.documents),
            "first_token_ms": answer.first_token_ms,
            "ms_per_token": spent_ms / usage.output if turn.request.stream and usage.output else None,
            "refused": is_refused(answer),
            "format_ok": None if work.format_ok is None else work.format_ok,
            "cut": answer.finish_reason == "length",
        }
    for place, name in enumerate(TURN_NUMBERS):
        if values.get(name) is not None:
            found[place] = values[name]
    return found


def is_refused(answer: Completion) -> bool:
    """Return True if the endpoint says that the model refused."""
    return bool(answer.refusal) or answer.finish_reason == "content_filter"
