"""CSV with a header, nearly as pandas.read_csv reads it, without pandas.

The kind of a column says how its texts are read: what pandas takes for missing is a missing number, truth or
time, while in columns of texts only the empty field is missing ("NA" is a carrier). A column of unknown type
is integers, else numbers, else truths, else texts. Blank lines are passed over; columns of one name are numbered.
Source: pandas/_libs/parsers.pyx and src/parser/tokenizer.c of pandas 2 and 3. Differences are meant: every line has
as many fields as the header, where pandas would shift the columns or fill them up; texts such as "NA" stay; integers
beyond 64 bits next to fractions are numbers here, texts there.

More than FEW lines are split by pyarrow, which is ten times as fast, and columns of plain numbers are converted by it.
What it does not read, or might read in another way, goes the slow way, which also words all errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from trimtab.serving.requests import MOST_COLUMNS, InferenceRequest, Refused

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
FEW = 64
"""Lines up to which reading without pyarrow is as fast."""
AT_ONCE = 16_384
"""Values that one call converts to Python objects, which holds the GIL meanwhile."""
_PLAIN_INTEGER = "^-?[0-9]{1,18}$"
_PLAIN_NUMBER = r"^-?(?:[0-9]{1,18}\.[0-9]*|\.[0-9]+|[0-9]{1,18}(?:\.[0-9]*)?[eE][+-]?[0-9]{1,2})$"
"""Texts that pyarrow and Python parse alike."""
_DIGITS = 4000
"""Longest integer, in digits, that Python converts by default."""


def decode(body: bytes, kinds: Mapping[str, str], most_rows: int | None = None) -> InferenceRequest:
    """Read CSV with a header. kinds: of columns; those of kind "text", "decimal" and "date" stay as they are written.

    most_rows: more are not read. Raises Refused (413 for too many rows or columns).
    """
    if body.count(b"\n") > FEW:
        found = _by_pyarrow(body, kinds, most_rows)
        if found is not None:
            return found
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Refused(400, f"malformed CSV: {error}") from None
    text = text.removeprefix("\ufeff")
    lines, starts = _lines(text, most_rows)
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


def _check_size(width: int, rows: int, most_rows: int | None) -> None:
    if width > MOST_COLUMNS:
        raise Refused(413, f"the CSV has more than {MOST_COLUMNS} columns, which is the most that is read")
    if most_rows is not None and rows > most_rows:
        raise Refused(413, f"the CSV has more than {most_rows} rows; send them in several requests")


def _lines(text: str, most_rows: int | None = None) -> tuple[list[list[str]], list[int]]:
    """Return the fields of each line that is not blank, and the character at which each line begins.

    Raises Refused (413 when a line has too many fields, or when there are more lines than may be).
    """
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
        if len(line) > MOST_COLUMNS:
            _check_size(len(line), 0, most_rows)
        if end != "," or at == len(text):
            if written:
                found.append(line)
                starts.append(start)
                _check_size(0, len(found) - 1, most_rows)
            line, start, written = [], at, False
    return found, starts


def _names(header: Sequence[str]) -> list[str]:
    """Return different names: of several that are the same, all but the first are numbered."""
    names = [name or f"Unnamed: {n}" for n, name in enumerate(header)]
    order = [n for n, name in enumerate(header) if name] + [n for n, name in enumerate(header) if not name]
    counts: dict[str, int] = {}
    taken = set(names)
    for n in order:
        name = old = names[n]
        count = counts.get(name, 0)
        while count > 0:
            counts[old] = count + 1
            name = f"{old}.{count}"
            count = count + 1 if name in taken else counts.get(name, 0)
        names[n] = name
        taken.add(name)
        counts[name] = count + 1
    return names


def _by_pyarrow(body: bytes, kinds: Mapping[str, str], most_rows: int | None) -> InferenceRequest | None:
    """Read CSV by pyarrow; None when it is to be read without. Raises Refused (413)."""
    try:
        pa, csv = import_module("pyarrow"), import_module("pyarrow.csv")
    except ImportError:
        return None
    body = body.removeprefix(b"\xef\xbb\xbf")
    first = body.lstrip(b"\r\n").partition(b"\n")[0]
    width = first.count(b",") + 1
    _check_size(width if b'"' not in first else 0, 0, most_rows)
    if b'"' in first or b"\r" in first[:-1] or not first.strip() or width == 1:
        return None
    places = [f"f{n}" for n in range(width)]
    try:
        table = csv.read_csv(
            pa.BufferReader(body),
            read_options=csv.ReadOptions(use_threads=False, autogenerate_column_names=True),
            parse_options=csv.ParseOptions(newlines_in_values=b'"' in body),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(places, pa.string())),
        )
    except pa.ArrowInvalid:
        return None
    rows = table.num_rows - 1
    _check_size(width, rows, most_rows)
    columns = {}
    for name, place in zip(_names([table[place][0].as_py() for place in places]), places, strict=True):
        columns[name] = _convert(table[place].slice(1).combine_chunks(), kinds.get(name))
    return InferenceRequest(rows, columns)


def _convert(column: Any, kind: str | None) -> Sequence[Any]:
    """Return the values of a pyarrow column of texts, as `_read` does."""
    pa, pc = import_module("pyarrow"), import_module("pyarrow.compute")
    if kind not in ("text", "decimal", "date") and len(column):
        missing = pc.is_in(column, value_set=pa.array(sorted(MISSING)))
        whole = pc.match_substring_regex(column, _PLAIN_INTEGER)
        some = pc.any(missing).as_py()
        if pc.all(pc.or_(missing, whole)).as_py():
            given = pc.if_else(missing, None, column) if some else column
            return _listed(given.cast(pa.float64() if some and kind is None else pa.int64()))
        if kind != "time" and (kind is None or not pc.any(whole).as_py()):
            number = pc.or_(whole, pc.match_substring_regex(column, _PLAIN_NUMBER))
            if pc.all(pc.or_(missing, number)).as_py():
                return _listed((pc.if_else(missing, None, column) if some else column).cast(pa.float64()))
    return _read(_listed(column), kind)


def _listed(column: Any) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(column), AT_ONCE):
        found += column.slice(start, AT_ONCE).to_pylist()
    return found


def _read(column: Sequence[str], kind: str | None) -> Sequence[Any]:
    """Return the values of a column."""
    if kind is None:
        return _guessed(column)
    if kind == "text":
        return [_text(text) for text in column]
    if kind in ("decimal", "date"):  # read where the features are made, exactly
        return [None if text in MISSING else text for text in column]
    return [_value(text, kind) for text in column]


def _text(text: str) -> str | None:
    return text or None


def _value(text: str, kind: str) -> Any:
    """Return a number, boolean or time; a text that is none stays text, and is refused where it is used."""
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
