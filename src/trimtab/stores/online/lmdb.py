"""The online store in LMDB: memory-mapped timelines that other processes read while one writes.

A key is: view prefix (12 bytes of the SHA-256 of the view version's id), length of the entity key (2 bytes),
entity key, and the time (8 bytes), counted backwards from the last possible one. Because of the length, an entity key
that begins with another one has its own range of keys. Because times count backwards, newer values come first, and the
value that is valid at a time is the first one at or after that key: one seek a read. LMDB allows keys of 511 bytes, so
an entity key longer than 489 bytes is replaced by its SHA-256, under a length that no short key has.

Other keys begin with a byte that no view prefix begins with: watermarks, ids of view versions, and state. A reader has
a snapshot of its own, so it never waits for a writer. Long removals commit after each REMOVED_AT_ONCE entries, so they
keep no other writer waiting.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

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

REMOVED_AT_ONCE = 20_000
"""Entries that one transaction of `drop` or `expire` visits."""

_LAST = (1 << 63) - 1
_TIME = struct.Struct(">Q").pack
_VALUE = struct.Struct(">q")
_LENGTHS = [struct.pack(">H", length) for length in range(LONGEST_KEY + 1)]
_HASHED = b"\xff\xff"
_WATERMARK = b"\x00"
"""First byte of the key of a view's watermark; prefixes of views never begin with it."""
_NAME = b"\x01"
"""First byte of the key of a view version's id."""
_STATE = b"\x02"
"""First byte of the keys of a view's state."""

_Found = TypeVar("_Found")


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

    def read_each(self, wanted: Sequence[tuple[bytes, bytes]], at: Sequence[int]) -> list[bytes | None]:
        """Return for each (view prefix, entity key) the value that is valid at a time of its own."""
        lines = [_timeline(prefix, key) for prefix, key in wanted]
        places = [(line, line + _TIME(_LAST - moment)) for line, moment in zip(lines, at, strict=True)]

        def values(transaction: lmdb.Transaction) -> list[bytes | None]:
            cursor = transaction.cursor()
            seek, here, value = cursor.set_range, cursor.key, cursor.value
            return [
                bytes(value()) if seek(place) and bytes(here()).startswith(line) else None for line, place in places
            ]

        return self._reading(values)

    def write(
        self,
        view: str,
        entries: Iterable[Entry],
        *,
        until: int,
        replace: bool = False,
        since: Mapping[bytes, int] | None = None,
        state: Mapping[bytes, bytes | None] | None = None,
    ) -> int:
        """Add values, or replace all, and set the view's watermark; return how many changed something."""
        prefix = self.prefix(view)
        items: dict[bytes, bytes] = {}
        last, line = None, b""
        for key, at, value in entries:
            if key is not last:
                last, line = key, _timeline(prefix, key)
            items[line + _TIME(_LAST - at)] = value
        change = _Change(
            prefix,
            view.encode(),
            sorted(items.items()),
            {_timeline(prefix, key): _TIME(_LAST - at) for key, at in (since or {}).items()},
            sorted((_state_key(prefix, key), value) for key, value in (state or {}).items()),
            until,
            replace,
        )
        return self._writing(f"writing view '{view}'", change.write)

    def watermark(self, view: str) -> int | None:
        """Return the time up to which `view` is complete, or None when nothing was written."""
        (found,) = self._values([_WATERMARK + self.prefix(view)])
        return None if found is None else int(_VALUE.unpack(found)[0])

    def state(self, view: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the state of a view under each key, None where there is none."""
        prefix = self.prefix(view)
        return self._values([_state_key(prefix, key) for key in keys])

    @contextmanager
    def turn(self, view: str) -> Iterator[None]:
        """Hold the lock file of a view."""
        with (self._folder / f"turn-{self.prefix(view).hex()}").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def views(self) -> Sequence[str]:
        """Return the ids of the view versions that the store holds, sorted."""

        def names(transaction: lmdb.Transaction) -> list[str]:
            cursor, found = transaction.cursor(), []
            more = cursor.set_range(_NAME)
            while more and cursor.key()[:1] == _NAME:
                found.append(bytes(cursor.value()).decode())
                more = cursor.next()
            return sorted(found)

        return self._reading(names)

    def drop(self, view: str) -> int:
        """Remove a view version; its id goes last, so an interrupted removal can be repeated."""
        prefix = self.prefix(view)
        removed, doing = 0, f"removing view '{view}'"
        with self.turn(view):
            self._writing(doing, lambda transaction: transaction.delete(_WATERMARK + prefix))
            for first in (_STATE + prefix, prefix):
                while step := self._writing(doing, partial(_remove_range, first=first)):
                    removed += step if first == prefix else 0
            self._writing(doing, lambda transaction: transaction.delete(_NAME + prefix))
        return removed

    def expire(self, view: str, before: int) -> int:
        """Remove the entries of a view that no read at or after `before` returns."""
        prefix, time = self.prefix(view), _TIME(_LAST - before)
        place: bytes | None = prefix
        removed = 0
        while place is not None:
            expire = partial(_expire, prefix=prefix, place=place, time=time)
            place, step = self._writing(f"expiring view '{view}'", expire)
            removed += step
        return removed

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

    def _values(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, None for none."""

        def values(transaction: lmdb.Transaction) -> list[bytes | None]:
            return [None if (found := transaction.get(key)) is None else bytes(found) for key in keys]

        return self._reading(values)

    def _reading(self, read: Callable[[lmdb.Transaction], _Found]) -> _Found:
        """Return what `read` returns for a snapshot."""
        with self._resizing:
            try:
                with self._env.begin() as transaction:
                    return read(transaction)
            except lmdb.MapResizedError:
                self._env.set_mapsize(0)
                with self._env.begin() as transaction:
                    return read(transaction)
            except lmdb.Error as error:
                raise self._failed("reading", error) from error

    def _writing(self, doing: str, write: Callable[[lmdb.Transaction], _Found]) -> _Found:
        """Return what `write` returns, in a transaction that is repeated with a larger map when the map is full."""
        with self._shared.writing:
            while True:
                try:
                    with self._env.begin(write=True) as transaction:
                        return write(transaction)
                except lmdb.MapFullError:
                    with self._resizing:
                        self._env.set_mapsize(2 * self._env.info()["map_size"])
                except lmdb.MapResizedError:
                    with self._resizing:
                        self._env.set_mapsize(0)
                except lmdb.Error as error:
                    raise self._failed(doing, error) from error


@dataclass(frozen=True)
class _Change:
    """What one write changes.

    items: entries, sorted by key. since: by timeline the packed time at or after which other entries are removed.
    state: sorted by key; None removes.
    """

    prefix: bytes
    name: bytes
    items: list[tuple[bytes, bytes]]
    since: dict[bytes, bytes]
    state: list[tuple[bytes, bytes | None]]
    until: int
    replace: bool

    def write(self, transaction: lmdb.Transaction) -> int:
        """Write everything; return the number of entries that were added, changed or removed."""
        cursor, changed = transaction.cursor(), 0
        items = self.items
        if self.replace:
            changed += _remove_others(cursor, self.prefix, {key for key, _ in items})
            _remove_others(cursor, _STATE + self.prefix, {key for key, _ in self.state})
        elif self.since:
            wanted = dict(items)
            for line, time in self.since.items():
                changed += _remove_since(cursor, line, time, wanted)
            new = [item for item in wanted.items() if item[0][-8:] <= self.since.get(item[0][:-8], b"")]
            cursor.putmulti(new)  # what is as it was has left `wanted`
            changed += len(new)
            items = [item for item in wanted.items() if item[0][-8:] > self.since.get(item[0][:-8], b"")]
        _, added = cursor.putmulti(items, overwrite=False)
        changed += added
        if added < len(items):
            for key, value in items:
                if transaction.get(key) != value:
                    transaction.put(key, value)
                    changed += 1
        cursor.putmulti([(key, value) for key, value in self.state if value is not None])
        for key, kept in self.state:
            if kept is None:
                transaction.delete(key)
        mark = _WATERMARK + self.prefix
        before = transaction.get(mark)
        if before is None:
            transaction.put(_NAME + self.prefix, self.name)
        if before is None or _VALUE.unpack(before)[0] < self.until:
            transaction.put(mark, _VALUE.pack(self.until))
        return int(changed)


def _remove_since(cursor: lmdb.Cursor, line: bytes, time: bytes, wanted: dict[bytes, bytes]) -> int:
    """Remove the entries of a timeline up to key `line + time` that are not wanted; return their number.

    Entries that are wanted as they are leave `wanted`.
    """
    removed, end = 0, line + time
    more = cursor.set_range(line)
    while more and (key := bytes(cursor.key())) <= end and key.startswith(line):
        if key not in wanted:
            cursor.delete()
            removed += 1
            more = bool(cursor.key())
            continue
        if wanted[key] == cursor.value():
            del wanted[key]
        more = cursor.next()
    return removed


def _remove_range(transaction: lmdb.Transaction, first: bytes) -> int:
    """Remove up to REMOVED_AT_ONCE keys that begin with `first`; return their number."""
    cursor, removed = transaction.cursor(), 0
    more = cursor.set_range(first)
    while more and removed < REMOVED_AT_ONCE and bytes(cursor.key()).startswith(first):
        cursor.delete()
        removed += 1
        more = bool(cursor.key())
    return removed


def _expire(transaction: lmdb.Transaction, prefix: bytes, place: bytes, time: bytes) -> tuple[bytes | None, int]:
    """Remove entries from key `place` on that are older than the newest one at or before `time` of their timeline.

    Returns the key to continue at, None at the end of the view; and how many entries were removed.
    """
    cursor, removed, visited = transaction.cursor(), 0, 0
    line = b""
    more = cursor.set_range(place)
    while more and (key := bytes(cursor.key())).startswith(prefix):
        visited += 1
        if key[:-8] != line:  # the newest entry of another timeline: seek the one that holds at the time
            if visited > REMOVED_AT_ONCE:
                return key, removed
            line = key[:-8]
            more = cursor.set_range(line + time)
            if more and cursor.key()[:-8] == line:
                more = cursor.next()
            continue
        cursor.delete()
        removed += 1
        more = bool(cursor.key())
    return None, removed


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
    except lmdb.LockError as error:
        raise StoreError(
            f"online store {folder} cannot be opened: {error}. A process of another container has the number of this "
            f"one ({os.getpid()}) and has it open; let both see the same processes (Docker: --pid, Kubernetes: "
            "shareProcessNamespace)"
        ) from error
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


def _state_key(prefix: bytes, key: bytes) -> bytes:
    """Return the key of a view's state; a long one is replaced by its SHA-256."""
    return _STATE + prefix + (key if len(key) <= LONGEST_KEY else hashlib.sha256(key).digest())


def _timeline(prefix: bytes, key: bytes) -> bytes:
    """Return the common beginning of all keys of one entity's timeline; no other key begins with it."""
    if len(key) <= LONGEST_KEY:
        return prefix + _LENGTHS[len(key)] + key
    return prefix + _HASHED + hashlib.sha256(key).digest()


_: type[Online] = LmdbOnline
