"""Reads the spool of a push source (stores/spool.py), and forgets in it what is in the table.

A request with an idempotency key is given once within KEPT of the first one, also when several processes took it. The
keys of requests that are in the table are written to a small database beside the segments, before a segment goes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from trimtab.stores.predictions.embedded.segment_scan import Damages, scan
from trimtab.stores.spool import Pushed, segment_path, segments
from trimtab.units import MICROS

KEPT = MICROS["d"]
"""How long an idempotency key is known, in microseconds."""
KEYS = "keys.db"
_NOTE_KEY = f"""INSERT INTO keys VALUES (?, ?)
    ON CONFLICT (digest) DO UPDATE SET at = excluded.at WHERE excluded.at - at >= {KEPT}"""

_decode = msgspec.msgpack.Decoder(Pushed).decode


class Spool:
    """Reads the spool of one source. One process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._damages = Damages()
        self._given: set[bytes] = set()
        """Digests of the keys that this reader has given and that are not settled yet."""

    def read(self, ends: Mapping[int, int]) -> Iterator[tuple[int, int, Pushed]]:
        """Yield number of the segment, offset behind the request, and the request, of those that are not read yet.

        A request that repeats the key of an earlier one is given without rows.

        Args:
            ends: for each segment that was read from, where the requests that were given end.
        """
        with self._keys() as keys:
            for number, size in segments(self._folder):
                start = ends.get(number, 0)
                if size <= start:
                    continue
                for append in scan(segment_path(self._folder, number), "", self._damages, start):
                    request = _decode(append.body)
                    if request.key is not None:
                        digest = _digest(request.key)
                        if self._is_known(keys, digest, request.at):
                            request = Pushed(request.at, request.key, [])
                        self._given.add(digest)
                    yield number, append.end, request

    def settle(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Forget the requests that are in the table, and return the ends of the segments that are left.

        Their keys are written first, so that a process that ends in between does no harm.

        Args:
            ends: for each segment, where the requests that are in the table end.
        """
        left = {number: ends[number] for number, _ in segments(self._folder) if number in ends}
        if not left:
            return left
        with self._keys() as keys:
            noted = dict(keys.execute("SELECT segment, ending FROM noted"))
            new: list[tuple[bytes, int]] = []
            for number, end in left.items():
                since = noted.get(number, 0)
                if since >= end:
                    continue
                for append in scan(segment_path(self._folder, number), "", Damages(quiet=True), since):
                    request = _decode(append.body)
                    if append.end <= end and request.key is not None:
                        new.append((_digest(request.key), request.at))
            with keys:
                keys.executemany(_NOTE_KEY, new)
                keys.executemany("INSERT OR REPLACE INTO noted VALUES (?, ?)", left.items())
                if new:
                    keys.execute("DELETE FROM keys WHERE at < ?", (max(at for _, at in new) - KEPT,))
                self._given.difference_update(digest for digest, _ in new)
            self._remove_drafts()
            gone = [number for number, end in left.items() if self._remove(number, end)]
            with keys:
                keys.executemany("DELETE FROM noted WHERE segment = ?", [(number,) for number in gone])
        return {number: end for number, end in left.items() if number not in gone}

    def waiting(self, ends: Mapping[int, int]) -> int:
        """Return how many bytes are not read yet."""
        return sum(max(0, size - ends.get(number, 0)) for number, size in segments(self._folder))

    def _remove(self, number: int, end: int) -> bool:
        """Remove a segment that has ended and is read; one with a damaged range is put aside."""
        path = segment_path(self._folder, number)
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return False  # its writer is there
            if next(scan(path, "", self._damages, end), None) is not None:
                return False
            if self._damages.has(path):
                path.rename(path.with_suffix(".damaged"))
            else:
                path.unlink()
        return True

    def _remove_drafts(self) -> None:
        """Remove the first names of segments whose writer was killed when they had their final one."""
        for path in self._folder.glob(".*-*"):
            with suppress(OSError), path.open("rb") as file:
                if os.fstat(file.fileno()).st_nlink > 1:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    path.unlink()

    def _is_known(self, keys: sqlite3.Connection, digest: bytes, at: int) -> bool:
        if digest in self._given:
            return True
        found = keys.execute("SELECT at FROM keys WHERE digest = ?", (digest,)).fetchone()
        return found is not None and at - found[0] < KEPT

    def _keys(self) -> closing[sqlite3.Connection]:
        self._folder.mkdir(parents=True, exist_ok=True)
        found = sqlite3.connect(self._folder / KEYS)
        found.execute("PRAGMA synchronous = FULL")
        found.execute("CREATE TABLE IF NOT EXISTS keys (digest BLOB PRIMARY KEY, at INTEGER) WITHOUT ROWID")
        found.execute("CREATE TABLE IF NOT EXISTS noted (segment INTEGER PRIMARY KEY, ending INTEGER)")
        return closing(found)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()[:16]
