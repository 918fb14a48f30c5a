"""Answers that evaluations have bought, so that one that was interrupted goes on, and a new evaluator costs nothing.

A file holds the answers of one version of a prompt, or the verdicts of one version of a judge: JSON lines that are only
ever added. Of several lines with one key the last counts; a line that a dying process cut off is passed over. A file
without a young answer is deleted when it is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

KEEP_S = 86_400.0
"""Older answers do not count: the model behind an endpoint changes, and both versions are to be asked in one stretch of
time."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer of a version of a prompt to an item.

    error: why the endpoint refused the request, such as a context that is too long; such an answer fails every
    evaluator. at: seconds since 1970.
    """

    text: str = ""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    refusal: str | None = None
    finish_reason: str = "stop"
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    usage: str = "reported"
    cost_pico: int = 0
    first_token_ms: float = 0.0
    latency_ms: float = 0.0
    attempts: int = 1
    document_ids: Sequence[str] = ()
    error: str = ""
    at: float = 0.0


class _Line(msgspec.Struct, frozen=True):
    key: str
    answer: Answer


class AnswerCache:
    """The answers of one version of a prompt.

    Args:
        folder: where the files are.
        name: of the version: a hash.
        now: seconds since 1970.
        read: whether answers of earlier evaluations count; new ones are kept either way.
    """

    def __init__(self, folder: Path, name: str, *, now: Callable[[], float], read: bool = True) -> None:
        self._path = folder / f"{name}.jsonl"
        self._now = now
        self._known = self._load() if read else {}

    def get(self, key: str) -> Answer | None:
        """Return the answer with a key, if it is young enough."""
        return self._known.get(key)

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; it is on disk when this returns."""
        self._known[key] = answer
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = b"\n" + msgspec.json.encode(_Line(key, answer)) + b"\n"  # the first end closes a line that was cut off
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def _load(self) -> dict[str, Answer]:
        if not self._path.is_file():
            return {}
        oldest = self._now() - KEEP_S
        found = dict[str, Answer]()
        for line in self._path.read_bytes().split(b"\n"):
            try:
                kept = msgspec.json.decode(line, type=_Line) if line else None
            except msgspec.DecodeError:
                continue
            if kept is not None and kept.answer.at >= oldest:
                found[kept.key] = kept.answer
        if not found:
            self._path.unlink(missing_ok=True)
        return found
