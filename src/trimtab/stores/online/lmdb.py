"""The online store in LMDB: memory-mapped timelines that other processes read while one writes.

A key is: view prefix (12 bytes of the SHA-256 of the view version's id), length of the entity key (2 bytes),
entity key, and the time (8 bytes), counted backwards from the last possible one. Because of the length, an entity key
that begins with another one has its own range of keys. Because times count backwards, newer values come first, and the
value that is valid at a time is the first one at or after that key: one seek a read. LMDB allows keys of 511 bytes, so
an entity key longer than 489 bytes is replaced by its SHA-256, under a length that no short key has.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lmdb

from trimtab.errors import StoreError
from trimtab.stores.faults import Fault
from trimtab.stores.online.contract import Entry, Online

MAP_SIZE = 1 << 30
"""Bytes of address space at first, doubled when they are full. The file is only as large as its content."""

DATA = "data.mdb"
WALK = (
    "import lmdb, sys; t = lmdb.open(sys.argv[1], readonly=True, lock=False).begin(); [bytes(v) for _, v in t.cursor()]"
)
"""Program that reads every value of a folder. A missing page ends its process with SIGBUS."""
AGAIN = "trimtab features"
REMEDY = f"Its values can be computed again: trimtab repair, then {AGAIN}"

MAX_READERS = 1024
"""Most threads of all processes that read at once."""

LONGEST_KEY = 511 - 12 - 2 - 8
"""Bytes of the longest entity key that is stored unchanged."""

_LAST = (1 << 63) - 1
_TIME = struct.Struct(">Q").pack
_VALUE = struct.Struct(">q")
_LENGTHS = [struct.pack(">H", length) for length in range(LONGEST_KEY + 1)]
_HASHED = b"\xff\xff"
_WATERMARK = b"\x00"
"""First byte of the key of a view's watermark; prefixes of views never begin with it."""


@dataclass
class _Environment:
    """One open file. LMDB forbids a process to open a file twice, so stores of the same folder share it.

    Reads and changes of the map's size hold `resizing`, because they must not run at the same time; writes hold
    `writing`.
    """

    env: lmdb.Environment
    users: int = 0
    resizing: threading.Lock = field(default_factory=threading.Lock)
    writing: threading.Lock = field(default_factory=threading.Lock)


_OPEN: dict[tuple[int, str], _Environment] = {}
_OPENING = threading.Lock()


class LmdbOnline:
    """Timelines in one LMDB folder; safe to share between threads. Open it after a fork, not before."""

    def __init__(self, folder: Path, *, map_size: int = MAP_SIZE) -> None:
        """Open a folder; it is created when missing. map_size: bytes of address space at first."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = (os.getpid(), str(folder.resolve()))
        with _OPENING:
            if self._name not in _OPEN:
                _OPEN[self._name] = _Environment(_open(folder, map_size))
            self._shared = _OPEN[self._name]
            self._shared.users += 1
        self._env = self._shared.env
        self._resizing = self._shared.resizing
        self._closed = False

    def check(self) -> Sequence[Fault]:
        """Read every value in a process of its own, because reading a missing page ends the process."""
        wrong = _walk(self._folder)
        if wrong is None:
            return []
        return [Fault(text=f"online store {self._folder}: {wrong}", remedy=REMEDY, aside=(self._folder,), again=AGAIN)]

    def prefix(self, view: str) -> bytes:
        """Return the key prefix of a view version. Callers compute it once."""
        digest = hashlib.sha256(view.encode()).digest()[:12]
        return bytes([digest[0] | 0x80]) + digest[1:]

    def read(self, wanted: Sequence[tuple[bytes, bytes]], at: int) -> list[bytes | None]:
        """Return the value that is valid at `at` for each (view prefix, entity key)."""
        time = _TIME(_LAST - at)
        with self._resizing:
            try:
                return self._read(wanted, time)
            except lmdb.MapResizedError:  # another process has enlarged the map
                self._env.set_mapsize(0)
                return self._read(wanted, time)
            except lmdb.Error as error:
                raise self._failed("reading", error) from error

    def write(self, view: str, entries: Iterable[Entry], *, until: int, replace: bool = False) -> int:
        """Add values, or replace all, and set the view's watermark; return how many changed something."""
        prefix = self.prefix(view)
        items = {_timeline(prefix, key) + _TIME(_LAST - at): value for key, at, value in entries}
        ordered = sorted(items.items())
        with self._shared.writing:
            while True:
                try:
                    return self._write(prefix, ordered, until, replace)
                except lmdb.MapFullError:
                    with self._resizing:
                        self._env.set_mapsize(2 * self._env.info()["map_size"])
                except lmdb.MapResizedError:
                    with self._resizing:
                        self._env.set_mapsize(0)
                except lmdb.Error as error:
                    raise self._failed(f"writing view '{view}'", error) from error

    def watermark(self, view: str) -> int | None:
        """Return the time up to which `view` is complete, or None when nothing was written."""
        key = _WATERMARK + self.prefix(view)
        with self._resizing:
            try:
                found = _get(self._env, key)
            except lmdb.MapResizedError:
                self._env.set_mapsize(0)
                found = _get(self._env, key)
            except lmdb.Error as error:
                raise self._failed(f"reading the watermark of '{view}'", error) from error
        return None if found is None else int(_VALUE.unpack(found)[0])

    def close(self) -> None:
        """Close the store. The file is closed with the last store of its folder in this process."""
        with _OPENING:
            if self._closed:
                return
            self._closed = True
            self._shared.users -= 1
            if self._shared.users == 0:
                del _OPEN[self._name]
                self._env.close()

    def _failed(self, what: str, error: lmdb.Error) -> StoreError:
        return StoreError(f"online store {self._name[1]}: {what} failed: {error}")

    def _read(self, wanted: Sequence[tuple[bytes, bytes]], time: bytes) -> list[bytes | None]:
        lengths = _LENGTHS
        with self._env.begin() as transaction:
            cursor = transaction.cursor()
            seek, here, value = cursor.set_range, cursor.key, cursor.value
            try:
                return [
                    value()
                    if seek((line := prefix + lengths[len(key)] + key) + time) and here().startswith(line)
                    else None
                    for prefix, key in wanted
                ]
            except IndexError:  # a key longer than LONGEST_KEY
                lines = [_timeline(prefix, key) for prefix, key in wanted]
                return [value() if seek(line + time) and here().startswith(line) else None for line in lines]

    def _write(self, prefix: bytes, items: Sequence[tuple[bytes, bytes]], until: int, replace: bool) -> int:
        mark = _WATERMARK + prefix
        with self._env.begin(write=True) as transaction:
            cursor = transaction.cursor()
            removed = _remove_others(cursor, prefix, {key for key, _ in items}) if replace else 0
            _, added = cursor.putmulti(items, overwrite=False)
            changed = removed + added
            if added < len(items):
                for key, value in items:
                    if transaction.get(key) != value:
                        transaction.put(key, value)
                        changed += 1
            before = transaction.get(mark)
            if before is None or _VALUE.unpack(before)[0] < until:
                transaction.put(mark, _VALUE.pack(until))
        return int(changed)


def _remove_others(cursor: lmdb.Cursor, prefix: bytes, kept: set[bytes]) -> int:
    """Remove the keys of a view that are not in `kept`; return their number."""
    removed = 0
    found = cursor.set_range(prefix)
    while found and bytes(cursor.key()).startswith(prefix):
        if bytes(cursor.key()) in kept:
            found = cursor.next()
        else:
            cursor.delete()  # moves the cursor to the next key
            removed += 1
            found = bool(cursor.key())
    return removed


def _open(folder: Path, map_size: int) -> lmdb.Environment:
    try:
        env = lmdb.open(str(folder), map_size=map_size, max_readers=MAX_READERS)
        env.reader_check()  # frees the slots of readers whose processes have ended, which would keep old pages
    except lmdb.Error as error:
        raise _unusable(folder, str(error)) from error
    needed, size = (env.info()["last_pgno"] + 1) * env.stat()["psize"], (folder / DATA).stat().st_size
    if size < needed and (wrong := _walk(folder)):  # a sound file may lack freed pages
        env.close()
        raise _unusable(folder, f"it has {size:,} of {needed:,} bytes, and {wrong}")
    return env


def _walk(folder: Path) -> str | None:
    """Read every value in a process of its own; return the error in words, or None."""
    done = subprocess.run([sys.executable, "-c", WALK, str(folder)], capture_output=True, text=True, check=False)
    if not done.returncode:
        return None
    if done.returncode < 0:
        return f"reading it ends the process (signal {-done.returncode})"
    return (done.stderr.strip().splitlines() or ["it cannot be read"])[-1]


def _unusable(folder: Path, wrong: str) -> StoreError:
    return StoreError(f"online store {folder} cannot be opened: {wrong}. {REMEDY}")


def _get(env: lmdb.Environment, key: bytes) -> bytes | None:
    with env.begin() as transaction:
        found = transaction.get(key)
    return None if found is None else bytes(found)


def _timeline(prefix: bytes, key: bytes) -> bytes:
    """Return the common beginning of all keys of one entity's timeline; no other key begins with it."""
    if len(key) <= LONGEST_KEY:
        return prefix + _LENGTHS[len(key)] + key
    return prefix + _HASHED + hashlib.sha256(key).digest()


_: type[Online] = LmdbOnline
