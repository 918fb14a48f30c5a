"""Turns texts into what may be kept of them: as they are, masked, or a keyed hash.

`masked` writes `<EMAIL_1>` in the place of what is found; the same value has the same number within a turn. A text
whose detectors fail is kept as a hash.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from trimtab.llm.redaction.project_key import ProjectKey
from trimtab.llm.redaction.text_detectors import Found, find

Mode = Literal["full", "masked", "hash"]

HELD_BACK = 64
"""Characters of a stream that wait for what follows them."""
LONGEST_HELD = 4096
"""Characters that wait at most, where one secret, such as a private key, goes on and on."""
HIDDEN = "<REDACTED>"

logger = logging.getLogger(__name__)


class Kept(NamedTuple):
    """What is kept of one text. text: of `hash` the HMAC. chars: length of the original."""

    mode: Mode
    text: str
    chars: int
    key_id: str | None = None


class Redactor:
    """The detectors of a policy, and the project's key. Threads may share it.

    kinds, patterns: of `llm.redact`.
    """

    def __init__(self, kinds: Sequence[str], patterns: Sequence[str], key: ProjectKey) -> None:
        self.kinds = tuple(kinds)
        self.key = key
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._warned = False

    def found(self, text: str) -> list[Found]:
        """Return what the detectors find in a text."""
        return find(text, self.kinds, self._patterns)

    def turn(self) -> Masks:
        """Return the masks of a new turn."""
        return Masks(self)

    def failed(self, error: Exception) -> None:
        """Log that a detector has failed, once, without the text, which the error may quote."""
        if not self._warned:
            self._warned = True
            name = type(error).__name__
            logger.error("a detector of llm.redact has failed (%s); texts that it fails on are kept as hashes", name)

    def hashed(self, text: str) -> Kept:
        """Return the hash of a text."""
        return Kept("hash", self.key.of_text(text), len(text), self.key.id)


class Masks:
    """Numbers of what was found in the texts of one turn."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._numbers: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}

    def keep(self, text: str, mode: Mode) -> Kept:
        """Return what may be kept of a text; its hash where a detector fails."""
        if mode == "full":
            return Kept("full", text, len(text))
        if mode == "masked":
            try:
                return Kept("masked", self.masked(text), len(text))
            except Exception as error:  # whatever a pattern of the policy raises: nothing of the text may be kept
                self._redactor.failed(error)
        return self._redactor.hashed(text)

    def shown(self, text: str) -> str:
        """Return a text masked, for messages about errors; HIDDEN where a detector fails."""
        try:
            return self.masked(text)
        except Exception as error:  # as above
            self._redactor.failed(error)
            return HIDDEN

    def masked(self, text: str) -> str:
        """Return a text with what is found replaced. Raises what a detector raises."""
        parts, end = [], 0
        for found in self._redactor.found(text):
            parts += [text[end : found.start], self.name(found.kind, text[found.start : found.end])]
            end = found.end
        return "".join([*parts, text[end:]]) if parts else text

    def name(self, kind: str, value: str) -> str:
        """Return the name that stands for a value, such as <EMAIL_1>."""
        same = value.casefold() if kind == "email" else re.sub(r"[\W_]+", "", value) if kind != "secret" else value
        number = self._numbers.get((kind, same))
        if number is None:
            number = self._numbers[kind, same] = self._counts[kind] = self._counts.get(kind, 0) + 1
        return f"<{kind.upper()}_{number}>"


class StreamMask:
    """Masks a text that comes in pieces: the last HELD_BACK characters wait until what follows them is known.

    A value of up to HELD_BACK characters is never sent in part. Longer ones, such as private keys, wait until they end.
    """

    def __init__(self, masks: Masks, redactor: Redactor) -> None:
        self._masks = masks
        self._redactor = redactor
        self._text = ""
        self._sent = 0
        """Characters at the beginning of the text that have been sent; they are kept for what the rest belongs to."""

    def feed(self, piece: str) -> str:
        """Return what may be sent after another piece has come."""
        self._text += piece
        return self._release(max(self._sent, len(self._text) - HELD_BACK), last=False)

    def end(self) -> str:
        """Return what is left."""
        return self._release(len(self._text), last=True)

    def _release(self, until: int, *, last: bool) -> str:
        if until <= self._sent:
            return ""
        try:
            spans = self._redactor.found(self._text)
        except Exception as error:  # whatever a pattern of the policy raises
            self._redactor.failed(error)
            spans = [Found(self._sent, len(self._text), "hidden")]
        parts: list[str] = []
        for start, end, kind in spans:
            if end <= self._sent:
                continue
            goes_on = end > until or end == len(self._text)
            if not last and goes_on and len(self._text) - start < LONGEST_HELD:
                until = min(until, start)
                break
            if start >= until:
                break
            parts += [self._text[self._sent : max(start, self._sent)], self._masks.name(kind, self._text[start:end])]
            self._sent = end
            until = max(until, end)
        parts.append(self._text[self._sent : until])
        self._sent = max(self._sent, until)
        drop = max(0, self._sent - HELD_BACK)
        self._text, self._sent = self._text[drop:], self._sent - drop
        return "".join(parts)
