"""The texts of a turn, and the rows of kind `contents` that are kept of them.

Kept are what was asked (messages, variables, names), the documents that were found for it, and what came back. System
messages of a prompt are not among them: the bundle has them, and no log may show them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trimtab.llm.completion import Completion
from trimtab.llm.redaction.redactor import Mode, Redactor
from trimtab.stores.predictions.contract import CONTENT_FIELDS

NAME = ".name"
"""End of the part with the name of who wrote a message: names of people have no form, so `masked` keeps their hash."""
PIECE_CHARS = 100_000
"""A longer text is kept in several rows, whose parts end in `#2` and so on: a message of Kafka has a largest size."""

_encode = msgspec.json.Encoder(order="deterministic").encode


def texts_of(
    messages: Sequence[Mapping[str, Any]],
    variables: Mapping[str, str],
    completion: Completion | None,
    *,
    documents: Mapping[str, str] | None = None,
    error: str = "",
    hidden: Collection[str] = (),
) -> Iterator[tuple[str, str]]:
    """Yield part and text of all that is kept of a turn; the contract of the prediction log names the parts.

    messages: in OpenAI's shape. documents: id -> text. error: what an endpoint said of a failure. hidden: roles whose
    messages are the prompt's own, and are kept nowhere.
    """
    for name, value in variables.items():
        yield f"variables.{name}", value
    for place, message in enumerate(messages):
        if message.get("role") not in hidden:
            yield from _of_message(f"messages.{place}", message)
    for name, text in (documents or {}).items():
        yield f"documents.{name}", text
    if completion is not None:
        if completion.text:
            yield "answer", completion.text
        if completion.refusal:
            yield "refusal", completion.refusal
        if completion.tool_calls:
            yield "tool_calls", _text(completion.tool_calls)
    if error:
        yield "error", error


def _of_message(where: str, message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    content = content_text(message.get("content"))
    if content:
        yield f"{where}.{message.get('role', '')}", content
    for field in ("name", "refusal"):
        if message.get(field):
            yield f"{where}.{field}", str(message[field])
    if message.get("tool_calls"):
        yield f"{where}.tool_calls", _text(message["tool_calls"])


def content_text(content: Any) -> str:
    """Return the text of a message's content; parts that are no text, such as images, by their type alone."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = [part if isinstance(part, Mapping) else {"type": "text", "text": str(part)} for part in content]
    return "\n".join(str(part["text"]) if "text" in part else f"[{part.get('type')}]" for part in parts)


def _text(value: Any) -> str:
    return _encode(value).decode()


def content_columns(
    texts: Sequence[tuple[str, str]],
    redactor: Redactor,
    mode: Mode,
    *,
    prediction_id: str,
    model: str,
    version: int,
    at: int,
    user: str | None,
    conversation: str | None,
) -> dict[str, Sequence[Any]]:
    """Return the rows of kind `contents` of a turn, one column a field, redacted once.

    at: microseconds since 1970. user, conversation: keyed hashes.
    """
    masks = redactor.turn()
    rows: list[tuple[Any, ...]] = []
    for part, text in texts:
        kept = masks.keep(text, "hash" if mode == "masked" and part.endswith(NAME) else mode)
        part = masks.shown(part) if part.startswith(("documents.", "variables.")) else part
        for number, start in enumerate(range(0, max(len(kept.text), 1), PIECE_CHARS), 1):
            name = part if number == 1 else f"{part}#{number}"
            piece = kept.text[start : start + PIECE_CHARS]
            rows.append((prediction_id, model, version, at, name, kept.mode, piece, kept.chars, kept.key_id))
    columns = zip(*((*row, user or None, conversation or None) for row in rows), strict=True)
    return dict(zip(CONTENT_FIELDS, map(list, columns), strict=True)) if rows else {}
