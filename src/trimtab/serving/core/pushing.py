"""Takes pushed rows of sources: checks them against the declared columns, and writes them to the source's spool.

A thread flushes the disk: while it flushes one group of requests, the next one gathers. Scoring never waits for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from trimtab import timestamps
from trimtab.clock import from_micros
from trimtab.errors import nearest
from trimtab.serving.core.feedback import BadLabels, Wrong
from trimtab.serving.requests import Refused, shown
from trimtab.serving.thread_batcher import ThreadBatcher
from trimtab.serving.worker_options import PushedSource
from trimtab.stores.spool import Pushed, SpoolFull, SpoolWriter

MOST_WAITING = 64 * 2**20
"""Bytes of rows of one worker that wait for the disk; more requests are refused until they are written."""
RETRY_AFTER_S = 1
REMEMBERED = 10_000
"""Idempotency keys that a worker remembers, to answer a repeated request as a repetition."""
EXACT = 2**53
"""Whole numbers up to this one are exact in float64."""
LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**63 - 1
LARGEST = sys.float_info.max
"""What JSON's Infinity is read as; no value of a row, and neither is anything beyond."""
_EXPECTED = {
    "text": "text",
    "integer": "a whole number of at most 64 bits",
    "number": "a number, and whole ones of at most 2^53",
    "boolean": "true or false",
    "time": "ISO 8601 text or microseconds since 1970 as an integer",
}

_encode = msgspec.json.Encoder().encode


class BadRows(BadLabels):
    """Some rows of a request are wrong, so none is taken."""


class Rows(NamedTuple):
    """The checked rows of one request, each as JSON."""

    rows: list[bytes]
    digest: bytes


class _Waiting(NamedTuple):
    source: str
    request: Pushed
    size: int
    done: asyncio.Future[None]


def check_rows(source: PushedSource, rows: Sequence[Any]) -> Rows:
    """Return the rows of a request for the spool. Raises BadRows, which names the first wrong values."""
    wrong: list[Wrong] = []
    found: list[bytes] = []
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            found.append(_encode(_checked(source, index, row, wrong)))
        else:
            expected = "expected an object with the columns of the source"
            wrong.append(Wrong(index, "", f"rows[{index}] is {shown(row)}; {expected}"))
    if wrong:
        raise BadRows(wrong)
    return Rows(found, hashlib.sha256(b"\n".join(found)).digest())


def _checked(source: PushedSource, index: int, row: dict[str, Any], wrong: list[Wrong]) -> dict[str, Any]:
    """Return a row as the spool has it, with times as ISO 8601 text; add what is wrong with it to `wrong`."""
    columns = source.columns
    for name in row:
        if name not in columns:
            hint = nearest(str(name)[:60], columns)
            wrong.append(Wrong(index, str(name), f"rows[{index}] has an unknown column {shown(name)}.{hint}"))
    found: dict[str, Any] = {}
    for name, kind in columns.items():
        value = row.get(name)
        good = None if value is None else _READ[kind](value)
        if good is None and (value is not None or name in source.required):
            hint = timestamps.hint(value) if kind == "time" else ""
            reason = f"rows[{index}].{name} is {shown(value)}; expected {_EXPECTED[kind]}{hint}"
            wrong.append(Wrong(index, name, reason))
        found[name] = good
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and LEAST_INTEGER <= value <= MOST_INTEGER else None


def _number(value: Any) -> float | None:
    if type(value) is int:
        return value if abs(value) <= EXACT else None
    return value if isinstance(value, float) and abs(value) < LARGEST else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _time(value: Any) -> str | None:
    micros = timestamps.micros(value)
    return None if micros is None else from_micros(micros).isoformat()


_READ: Mapping[str, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "time": _time,
}
"""Type of a column -> function that returns a value as the spool has it, or None if it is none of the type."""


class Pushes:
    """Writes the rows of one worker to the spools. Lives on one event loop; the disk is written by a thread."""

    def __init__(self, sources: Sequence[PushedSource]) -> None:
        self.sources: Mapping[str, PushedSource] = {each.name: each for each in sources}
        self._writers = {each.name: SpoolWriter(Path(each.folder), most_bytes=each.most_bytes) for each in sources}
        self._thread = ThreadBatcher("push", take=self._take, run=self._write, ended=self._written)
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._failed: dict[str, Refused] = {}
        """By source, what the thread could not write."""
        self._keys: dict[tuple[str, str], bytes] = {}

    async def keep(self, source: str, rows: Rows, key: str | None, at: int) -> bool:
        """Return when rows are on disk: True, or False when the request is the repetition of one that is.

        key: the client's for this request; at: when it came, in microseconds since 1970. Raises Refused: 422 when the
        key was used for other rows, 429 when too many rows wait, 503 when the disk fails.
        """
        if key is not None:
            before = self._keys.get((source, key))
            if before is not None and before != rows.digest:
                raise Refused(422, f"the Idempotency-Key {shown(key)} was used for other rows; expected a new one")
            if before is not None:
                return False
        size = sum(map(len, rows.rows))
        if self._bytes + size > MOST_WAITING:
            raise Refused(429, "too many rows wait for the disk; send again later", retry_after=RETRY_AFTER_S)
        loop = self._thread.loop = self._thread.loop or asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append(_Waiting(source, Pushed(at, key, rows.rows), size, done))
        self._bytes += size
        self._thread.soon()
        await asyncio.shield(done)  # the rows are written, whether the client waits or not
        if key is not None:
            self._keys[source, key] = rows.digest
            while len(self._keys) > REMEMBERED:
                del self._keys[next(iter(self._keys))]
        return True

    def close(self) -> None:
        """Write what waits, and end the segments."""
        self._thread.wait()
        self._thread.begin()
        self._thread.wait()
        self._thread.close(wait=True)
        for writer in self._writers.values():
            writer.close()

    def _take(self) -> tuple[list[_Waiting], bool] | None:
        taken, self._waiting = self._waiting, []
        return (taken, False) if taken else None

    def _write(self, taken: list[_Waiting]) -> None:
        """Write a group; runs in the thread."""
        by_source: defaultdict[str, list[Pushed]] = defaultdict(list)
        for each in taken:
            by_source[each.source].append(each.request)
        self._failed = {}
        for source, requests in by_source.items():
            try:
                self._writers[source].append(requests)
            except SpoolFull as error:
                self._failed[source] = Refused(429, f"source '{source}': {error}", retry_after=int(error.after_s))
            except OSError as error:
                reason = f"source '{source}': the rows could not be written: {error}"
                self._failed[source] = Refused(503, reason, retry_after=RETRY_AFTER_S)

    def _written(self, taken: list[_Waiting], error: BaseException | None) -> None:
        for each in taken:
            self._bytes -= each.size
            failed = error or self._failed.get(each.source)
            if each.done.done() or each.done.get_loop().is_closed():
                continue
            if failed is None:
                each.done.set_result(None)
            else:
                each.done.set_exception(failed)
        if self._waiting:
            self._thread.soon()
