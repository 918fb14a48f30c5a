"""Answers for programs: typed values as JSON, rows as CSV; and the values of queries."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.responses import StreamingResponse

from trimtab.clock import parse_time
from trimtab.errors import UsageError, nearest

FIRST_YEAR, LAST_YEAR = 1900, 2200
ROWS_A_PART = 500
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Texts that begin so are formulas to spreadsheets, so they get an apostrophe before them."""


def document(value: Any) -> Response:
    """Return a typed value as JSON; times are ISO 8601 in UTC."""
    return Response(msgspec.json.encode(value), media_type="application/json")


def csv_answer(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Return rows as CSV, sent while they are read. None is an empty field, a time ISO 8601 in UTC, a number whole."""
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(_parts(columns, rows), media_type="text/csv; charset=utf-8", headers=headers)


def check_query(request: Request) -> None:
    """Raise UsageError for a value of the query that the route does not take: it would be ignored without a word."""
    known = _parameters(request.scope["route"].dependant)
    for name in request.query_params:
        if name not in known:
            takes = nearest(name, known) if known else " No value is taken here."
            raise UsageError(f"{name}: {request.url.path} takes no such value.{takes}")


def _parameters(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*map(_parameters, dependant.dependencies))


def time_of(name: str, text: str | None) -> datetime | None:
    """Return the time of a parameter of a query; None where it is missing or empty. Raises UsageError."""
    if not text:
        return None
    try:
        found = parse_time(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    if not FIRST_YEAR <= found.year <= LAST_YEAR:  # beyond, a window more or less is no date
        raise UsageError(f"{name}: {text} is not between the years {FIRST_YEAR} and {LAST_YEAR}")
    return found


def _parts(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    buffer = io.StringIO()
    write = csv.writer(buffer, lineterminator="\n").writerow
    write(columns)
    for n, row in enumerate(rows, 1):
        write([_cell(value) for value in row])
        if n % ROWS_A_PART == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
