"""Requests that a local model answers, and the end of an answer. It loads no model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=1)]


class StreamOptions(msgspec.Struct, kw_only=True):
    """Options of a stream."""

    include_usage: bool = False


class LocalRequest(msgspec.Struct, kw_only=True):
    """Body of a chat completion. Other fields, such as tools and response_format, are passed over."""

    model: str
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    max_completion_tokens: _Count | None = None
    max_tokens: _Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    seed: int | None = None
    n: Literal[1] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end the answer, and are not part of it."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or ()
        return tuple(text for text in given if text)

    @property
    def most_tokens(self) -> int | None:
        """Most tokens of the answer; None: what fits."""
        return self.max_completion_tokens or self.max_tokens


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """End of an answer. finish_reason: stop or length. Tokens are those of the model's own tokenizer."""

    finish_reason: str
    input_tokens: int
    output_tokens: int


class NoSuchModel(Exception):
    """A request for a model that is not served."""


def before_stop(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """Give the text of the pieces up to the first of the texts that end it.

    As much of the end is held back as may be the beginning of such a text.
    """
    held = ""
    for piece in pieces:
        held += piece
        ends = [at for stop in stops if (at := held.find(stop)) >= 0]
        if ends:
            if held[: min(ends)]:
                yield held[: min(ends)]
            return
        keep = max((_overlap(held, stop) for stop in stops), default=0)
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if held:
        yield held


def _overlap(text: str, stop: str) -> int:
    """Return how many letters at the end of a text are the beginning of another one."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
