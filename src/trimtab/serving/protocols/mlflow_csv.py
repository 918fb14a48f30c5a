"""CSV as pandas.read_csv reads it, without pandas. Called by mlflow.

A column is integers, else numbers, else truths, else texts; what pandas takes for missing is None; blank lines
are passed over; columns of one name are numbered; a first line of data that is longer than the header has row
labels before it, which are dropped. One difference is meant: integers beyond 64 bits beside fractions are numbers
here, texts there. Source: pandas/_libs/parsers.pyx and src/parser/tokenizer.c of pandas 2 and 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.serving.requests import InferenceRequest, Refused

MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
TRUTHS = {
    **dict.fromkeys(("True", "TRUE", "true"), True),
    **dict.fromkeys(("False", "FALSE", "false"), False),
}
_FIELD = re.compile(r'(?:"((?:[^"]|"")*+)("?)([^,\r\n]*)|([^,\r\n]*))(,|\r\n|\r|\n|\Z)')
_SPACE = r"[ \t\n\v\f\r]*"
_INTEGER = re.compile(rf"{_SPACE}[+-]?[0-9]+{_SPACE}\Z")
_NUMBER = re.compile(
    rf"(?:{_SPACE}[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?{_SPACE}|[+-]?inf(?:inity)?)\Z", re.IGNORECASE
)
_DIGITS = 4000
"""Longest integer that Python reads without more ado."""


def decode(body: bytes, kinds: Mapping[str, str]) -> InferenceRequest:
    """Read CSV with a header. kinds: of columns; those of kind "text" stay as they are written. Raises Refused."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Refused(400, f"malformed CSV: {error}") from None
    lines = _lines(text.removeprefix("\ufeff"))
    if not lines:
        raise Refused(400, "malformed CSV: it is empty; expected a header with column names")
    header, rows = _names(lines[0]), lines[1:]
    width = max(len(header), len(rows[0])) if rows else len(header)
    for index, row in enumerate(rows):
        if len(row) > width:
            raise Refused(400, f"malformed CSV: row {index} has {len(row)} values; expected {width}")
        row += [""] * (width - len(row))
    labels = width - len(header)
    columns = {name: [row[labels + n] for row in rows] for n, name in enumerate(header)}
    return InferenceRequest(
        len(rows), {name: _texts(own) if kinds.get(name) == "text" else _typed(own) for name, own in columns.items()}
    )


def _lines(text: str) -> list[list[str]]:
    """Return the fields of each line that is not blank."""
    found: list[list[str]] = []
    line: list[str] = []
    at, written = 0, False
    while at < len(text):
        match = _FIELD.match(text, at)
        if match is None:  # cannot be: every text has a field at its start
            raise Refused(400, f"malformed CSV at character {at}")
        quoted, closed, rest, plain, end = match.groups()
        if quoted is None:
            line.append(plain)
            written = written or bool(line[1:]) or bool(plain.strip(" \t"))
        else:
            if not closed:
                raise Refused(400, f"malformed CSV: the quote at character {at} is not closed")
            line.append(quoted.replace('""', '"') + rest)
            written = True
        at = match.end()
        if end == ",":
            written = True
            if at == len(text):
                line.append("")
        if end != "," or at == len(text):
            if written:
                found.append(line)
            line, written = [], False
    return found


def _names(header: Sequence[str]) -> list[str]:
    """Return different names: of several that are the same, all but the first are numbered."""
    names = [name or f"Unnamed: {n}" for n, name in enumerate(header)]
    order = [n for n, name in enumerate(header) if name] + [n for n, name in enumerate(header) if not name]
    counts: dict[str, int] = {}
    for n in order:
        name = old = names[n]
        count = counts.get(name, 0)
        while count > 0:
            counts[old] = count + 1
            name = f"{old}.{count}"
            count = count + 1 if name in names else counts.get(name, 0)
        names[n] = name
        counts[name] = count + 1
    return names


def _texts(column: Sequence[str]) -> list[str | None]:
    return [None if text in MISSING else text for text in column]


def _typed(column: Sequence[str]) -> list[Any]:
    """Return the values of a column in the first type that all of its texts fit."""
    texts = _texts(column)
    given = [text for text in texts if text is not None]
    if not given:
        return texts
    if len(given) == len(texts) and all(map(_INTEGER.match, given)):
        return _integers(given)
    if all(map(_NUMBER.match, given)):
        return [None if text is None else float(text) for text in texts]
    if TRUTHS.keys() >= set(given):
        return [None if text is None else TRUTHS[text] for text in texts]
    return texts


def _integers(texts: list[str]) -> list[Any]:
    if max(map(len, texts)) > _DIGITS:
        return texts
    values = [int(text) for text in texts]
    low, high = min(values), max(values)
    if low < 0 and 2**63 <= high < 2**64 and low >= -(2**63):  # neither of the two machine types holds both
        return texts
    return values
