"""Words and tokens of texts, as the loopback provider counts them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_PIECE = re.compile(r"\s?[^\W_]{1,8}|\s?[^\w\s]|\s+|_")
PER_MESSAGE = 4
"""Tokens of a message beside its text."""
_STOP = """
a about after again all also am an and any are as at be because been before but by can could did do does for from had
has have he her here him his how i if in into is it its just me more my no not now of on only or our out over please she
so some such than that the their them then there they this to too up us very was we were what when where which who why
will with would you your
"""
STOP_WORDS = frozenset(_STOP.split())


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without stop words, plurals cut."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def pieces_of(text: str) -> list[str]:
    """Cut a text into the tokens of the loopback models: at most eight letters, or one sign, with a space before."""
    return _PIECE.findall(text)


def tokens_of(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = ()) -> int:
    """Return how many input tokens messages and tools are."""
    count = len(pieces_of(msgspec.json.encode(tools).decode())) if tools else 0
    for message in messages:
        count += PER_MESSAGE + len(pieces_of(text_of(message)))
        if message.get("tool_calls"):
            count += len(pieces_of(msgspec.json.encode(message["tool_calls"]).decode()))
    return count


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, whose content may be a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def draw(*of: object) -> float:
    """Return a number from 0 to below 1 that depends on the arguments alone."""
    return int.from_bytes(_digest(of)[:8], "big") / 2**64


def pick(options: Sequence[str], *of: object) -> str:
    """Return one of the options, drawn by the arguments."""
    return options[int(draw(*of) * len(options))]


def _digest(of: Iterable[object]) -> bytes:
    return hashlib.blake2b(
        "\x1f".join(str(each) for each in of).encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()


def vector_of(text: str, dimensions: int) -> list[float]:
    """Return the embedding of a text, of length 1: its words and pairs of neighbours, hashed to signed places.

    Texts with words in common are near one another (hashing trick: Weinberger et al. 2009, arXiv 0902.2206).
    """
    words = words_of(text)
    vector = [0.0] * dimensions
    for term, weight in [*((word, 1.0) for word in words), *((f"{a} {b}", 0.5) for a, b in pairwise(words))]:
        digest = _digest([term])
        vector[int.from_bytes(digest[:4], "big") % dimensions] += weight if digest[4] & 1 else -weight
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector] if length else [1.0, *([0.0] * (dimensions - 1))]
