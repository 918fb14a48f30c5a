"""CSV with a header, nearly as pandas.read_csv reads it, without pandas. Called by mlflow, sagemaker and feedback.

The kind of a column says how its texts are read: what pandas takes for missing is a missing number, truth or
moment, while in columns of texts only the empty field is missing ("NA" is a carrier). A column whose kind nobody told
is integers, else numbers, else truths, else texts. Blank lines are passed over; columns of one name are numbered.
Source: pandas/_libs/parsers.pyx and src/parser/tokenizer.c of pandas 2 and 3. Differences are meant: every line has
as many fields as the header, where pandas would shift the columns or fill them up; texts such as "NA" stay; integers
beyond 64 bits beside fractions are numbers here, texts there.
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
_ENDS = re.compile(r"\r\n|\r|\n")
_DIGITS = 4000
"""Longest integer that Python reads without more ado."""


def decode(body: bytes, kinds: Mapping[str, str]) -> InferenceRequest:
    """Read CSV with a header. kinds: of columns; those of kind "text" stay as they are written. Raises Refused."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Refused(400, f"malformed CSV: {error}") from None
    text = text.removeprefix("\ufeff")
    lines, starts = _lines(text)
    if not lines:
        raise Refused(400, "malformed CSV: it is empty; expected a header with column names")
    width = len(lines[0])
    for row, start in zip(lines, starts, strict=True):
        if len(row) != width:
            line = len(_ENDS.findall(text, 0, start)) + 1
            raise Refused(
                400,
                f"malformed CSV: line {line} has {_fields(len(row))}; the header has {width}"
                + ("; does it end in a comma?" if len(row) == width + 1 and not row[-1] else ""),
            )
    rows = lines[1:]
    columns = {name: [row[n] for row in rows] for n, name in enumerate(_names(lines[0]))}
    return InferenceRequest(len(rows), {name: _read(column, kinds.get(name)) for name, column in columns.items()})


def _lines(text: str) -> tuple[list[list[str]], list[int]]:
    """Return the fields of each line that is not blank, and the character at which each line begins."""
    found: list[list[str]] = []
    starts: list[int] = []
    line: list[str] = []
    at, start, written = 0, 0, False
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
                starts.append(start)
            line, start, written = [], at, False
    return found, starts


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


def _read(column: Sequence[str], kind: str | None) -> Sequence[Any]:
    """Return the values of a column."""
    if kind is None:
        return _guessed(column)
    if kind == "text":
        return [_text(text) for text in column]
    return [_value(text, kind) for text in column]


def _text(text: str) -> str | None:
    return text or None


def _value(text: str, kind: str) -> Any:
    """Return a number, truth or moment; what is none of its kind stays text, and is refused where it is used."""
    if text in MISSING:
        return None
    if kind == "boolean" and text in TRUTHS:
        return TRUTHS[text]
    if _is_integer(text):
        return int(text)
    return float(text) if kind != "time" and _NUMBER.match(text) else text


def _is_integer(text: str) -> bool:
    return len(text) <= _DIGITS and _INTEGER.match(text) is not None


def _guessed(column: Sequence[str]) -> Sequence[Any]:
    """Return the values of a column in the first type that all of its texts fit."""
    given = [text for text in column if text not in MISSING]
    if not given:
        return [None] * len(column)
    if len(given) == len(column) and all(map(_INTEGER.match, given)):
        return _integers(given)
    if all(map(_NUMBER.match, given)):
        return [None if text in MISSING else float(text) for text in column]
    if TRUTHS.keys() >= set(given):
        return [None if text in MISSING else TRUTHS[text] for text in column]
    return [_text(text) for text in column]


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _integers(texts: list[str]) -> list[Any]:
    if max(map(len, texts)) > _DIGITS:
        return texts
    values = [int(text) for text in texts]
    low, high = min(values), max(values)
    if low < 0 and 2**63 <= high < 2**64 and low >= -(2**63):  # neither of the two machine types holds both
        return texts
    return values
