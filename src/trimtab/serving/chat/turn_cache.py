"""Answers to the very same request, in the memory of a worker. Off by default (`llm.cache`).

Exact only: the key is a keyed hash of the version, the revision, everything that is sent, and the token where answers
are not shared. Only answers at temperature 0 are kept that ended by themselves, fit the prompt and call no tool.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from trimtab.llm.completion import Completion, Usage
from trimtab.policy.llm.section_llm import AnswerCache
from trimtab.serving.chat.chat_turn import Turn, VersionTurn
from trimtab.serving.chat.event_relay import DONE, chunk
from trimtab.serving.chat.stream_relay import told
from trimtab.units import MICROS

MOST_ANSWERS, MOST_BYTES = 10_000, 64 * 2**20
"""What a worker keeps at most; the longest unused answers go first."""

_encode = msgspec.json.Encoder().encode


class KeptAnswer(NamedTuple):
    """An answer that was bought."""

    text: str
    model: str
    usage: Usage | None
    at: float
    """By time.monotonic."""


class TurnCache:
    """The answers of a worker. Lives on one event loop. hashed: makes the keyed hash of a text."""

    def __init__(self, rules: AnswerCache, hashed: Callable[[str], str]) -> None:
        self._rules = rules
        self._hashed = hashed
        self._keep_s = rules.keep / MICROS["s"]
        self._answers: OrderedDict[str, KeptAnswer] = OrderedDict()
        self._bytes = 0

    def key(self, turn: Turn, work: VersionTurn) -> str | None:
        """Return the key of a turn; None where its answer is not to be cached."""
        if not self._rules.enabled or work.body.get("temperature") != 0 or work.answers != 1:
            return None
        who = turn.caller.token if self._rules.scope == "token" else ""
        target, bundle = work.prompt.prompt.target, work.variant.bundle
        parts = (bundle.id, bundle.digest, turn.table.revision, target.endpoint.name, target.model, who, work.body)
        return self._hashed(
            _encode(
                parts,
            ).decode()
        )

    def find(self, key: str | None) -> KeptAnswer | None:
        """Return the answer of a key; None when there is none, or it is too old."""
        found = None if key is None else self._answers.get(key)
        if found is None or key is None:
            return None
        if time.monotonic() - found.at > self._keep_s:
            self._drop(key)
            return None
        self._answers.move_to_end(key)
        return found

    def put(self, key: str | None, work: VersionTurn, answer: Completion) -> None:
        """Keep an answer, if it is one to keep."""
        whole = answer.finish_reason == "stop" and not answer.tool_calls and not answer.refusal
        if key is None or not whole or work.error is not None or work.format_ok is False or key in self._answers:
            return
        self._answers[key] = KeptAnswer(answer.text, answer.model, answer.usage, time.monotonic())
        self._bytes += len(answer.text)
        while len(self._answers) > MOST_ANSWERS or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: str) -> None:
        self._bytes -= len(self._answers.pop(key).text)


def completion_of(found: KeptAnswer) -> Completion:
    """Return an answer that costs nothing and has read no tokens."""
    return Completion(text=found.text, model=found.model, usage=Usage(input=0, output=0))


def whole_body(turn: Turn, found: KeptAnswer) -> bytes:
    """Return the body of an answer from the cache."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": found.text, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    body: dict[str, Any] = {
        "id": turn.id,
        "object": "chat.completion",
        "created": turn.at // 1_000_000,
        "model": found.model,
        "choices": [choice],
    }
    if found.usage is not None:
        body["usage"] = told(found.usage)
    return _encode(body)


def events(turn: Turn, found: KeptAnswer) -> list[bytes]:
    """Return the events of an answer from the cache."""
    created = turn.at // 1_000_000
    deltas = [({"role": "assistant", "content": ""}, None), ({"content": found.text}, None), ({}, "stop")]
    parts = [
        chunk(turn.id, found.model, created, [{"index": 0, "delta": delta, "finish_reason": reason}])
        for delta, reason in deltas
    ]
    if turn.request.with_usage and found.usage is not None:
        parts.append(chunk(turn.id, found.model, created, [], told(found.usage)))
    return [*parts, DONE]
