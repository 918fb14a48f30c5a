"""Labels that come later: their wire form and what they must hold. Called by asgi and gateway."""

from __future__ import annotations

import sys
from typing import Any, Literal

import msgspec

from trimtab.clock import parse_time, to_micros
from trimtab.serving.requests import MAX_ID, Refused

LARGEST = sys.float_info.max


class Label(msgspec.Struct):
    """The outcome of one prediction. known_at: microseconds since the epoch, None for now."""

    index: int
    id: str
    label: float
    known_at: int | None

    def check(self, task: Literal["binary", "regression"]) -> None:
        """Raise Refused when the label is none of the task's."""
        if task == "binary" and self.label not in (0.0, 1.0):
            raise _bad(self.index, "label", self.label, "0 or 1")


class _Item(msgspec.Struct):
    id: Any = None
    label: Any = None
    known_at: Any = None


class _Body(_Item):
    labels: list[_Item] | None = None


_decoder = msgspec.json.Decoder(_Body)


def decode(body: bytes) -> list[Label]:
    """Read {"id", "label", "known_at"?} or {"labels": [...]}. Raises Refused naming the index and the field."""
    try:
        found = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(400, f"malformed feedback: {error}") from None
    items = [found] if found.labels is None else found.labels
    if not items:
        raise Refused(400, "labels is empty; expected at least one")
    return [_label(index, item) for index, item in enumerate(items)]


def _label(index: int, item: _Item) -> Label:
    if not isinstance(item.id, str) or not 1 <= len(item.id) <= MAX_ID + 20:
        raise _bad(index, "id", item.id, "the id of a prediction")
    if not isinstance(item.label, int | float) or not -LARGEST <= item.label <= LARGEST:
        raise _bad(index, "label", item.label, "a number")
    known_at = item.known_at
    if isinstance(known_at, str):
        try:
            known_at = to_micros(parse_time(known_at))
        except (ValueError, OverflowError):
            known_at = item.known_at
    if known_at is not None and (isinstance(known_at, bool) or not isinstance(known_at, int) or abs(known_at) >= 2**62):
        raise _bad(index, "known_at", item.known_at, "ISO 8601 text or microseconds since 1970 as an integer")
    return Label(index, item.id, float(item.label), known_at)


def _bad(index: int, field: str, value: object, expected: str) -> Refused:
    return Refused(400, f"labels[{index}].{field} is {value!r:.60}; expected {expected}")
