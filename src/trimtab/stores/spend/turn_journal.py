"""The journal of one owner: each call before it is made, and its cost when it ended, as lines of JSON.

A line is in the system's page cache when `write` returns, so it survives the death of the process. After a loss of
power the last lines may be missing; what the owner leased beyond them counts as spent (llm/money/lease_recovery.py).

ROOT/spend/OWNER.lock is locked while the owner lives. OWNER-N.jsonl are its segments; each begins with the calls that
were open when it began, so that older ones can be removed.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from trimtab.errors import StoreError
from trimtab.stores.spend.contract import SpendKey

FOLDER = "spend"
SEGMENT_BYTES = 4 * 2**20
BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Differs after each start of the machine; where there is none, a start is not noticed."""


class Opened(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A call that is about to be made. bound: what it holds of each row."""

    id: str
    at: int
    purpose: str
    bound: int
    keys: tuple[SpendKey, ...]


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A call that ended. kind: of its usage; empty: it cost nothing and does not count."""

    id: str
    cost: int
    kind: str
    input: int
    output: int


class Begun(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """First line of a segment."""

    boot: str


Line = Opened | Ended | Begun
encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Line)


class Placed(NamedTuple):
    """A line, and the place behind it."""

    line: Line
    place: tuple[int, int]


def boot() -> str:
    """Return what differs after each start of the machine; empty where the system does not say."""
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


class TurnJournal:
    """The journal that this process writes. Its caller lets one thread at a time write."""

    def __init__(self, root: Path) -> None:
        """Begin a journal with a new owner. Raises StoreError."""
        self._folder = root / FOLDER
        self.owner = f"{os.getpid()}-{uuid.uuid4().hex[:16]}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft = self._folder / f".{self.owner}"
            self._lock = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            draft.rename(self._folder / f"{self.owner}.lock")  # locked before another process can see it
            self._segment, self._size, self._file = 0, 0, -1
            self.rotate(())
        except OSError as error:
            raise StoreError(f"{self._folder}: {error}") from error

    @property
    def place(self) -> tuple[int, int]:
        """Segment and offset behind the last line."""
        return self._segment, self._size

    @property
    def full(self) -> bool:
        """Whether `rotate` should begin another segment."""
        return self._size >= SEGMENT_BYTES

    def write(self, line: Opened | Ended) -> None:
        """Append a line. Raises StoreError; then the call must not be made."""
        data = encode(line) + b"\n"
        try:
            done = os.write(self._file, data)
        except OSError as error:
            raise StoreError(f"{self._folder}: {error}") from error
        if done < len(data):  # the disk is full; what was written is no line
            os.ftruncate(self._file, self._size)
            raise StoreError(f"{self._folder}: the disk is full")
        self._size += done

    def rotate(self, open_calls: Iterable[Opened]) -> None:
        """Begin another segment with the calls that are open. Raises StoreError."""
        data = b"".join(encode(line) + b"\n" for line in (Begun(boot()), *open_calls))
        path = self._folder / f"{self.owner}-{self._segment + 1}.jsonl"
        try:
            path.write_bytes(data)
            file = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise StoreError(f"{path}: {error}") from error
        if self._file >= 0:
            os.close(self._file)
        self._segment, self._size, self._file = self._segment + 1, len(data), file

    def forget(self, before: int) -> None:
        """Remove the segments before one."""
        for number, path in segments(self._folder, self.owner):
            if number < before:
                path.unlink(missing_ok=True)

    def close(self, *, remove: bool) -> None:
        """Let go of the files. remove: all of it is booked."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        if remove:
            remove_journal(self._folder.parent, self.owner)
        os.close(self._lock)


def segments(folder: Path, owner: str) -> list[tuple[int, Path]]:
    """Return the segments of an owner by number."""
    found = []
    for path in folder.glob(f"{owner}-*.jsonl"):
        with suppress(ValueError):
            found.append((int(path.stem.removeprefix(f"{owner}-")), path))
    return sorted(found)


def read_journal(root: Path, owner: str, *, start: int = 0) -> Iterator[Placed]:
    """Yield the lines of an owner from a segment on. The last one of a segment is left out when it is torn."""
    for number, path in segments(root / FOLDER, owner):
        if number < start:
            continue
        offset = 0
        for raw in path.read_bytes().splitlines(keepends=True):
            offset += len(raw)
            try:
                line = _decoder.decode(raw)
            except msgspec.DecodeError:
                break
            yield Placed(line, (number, offset))


def dead_owners(root: Path) -> Iterator[str]:
    """Yield the owners whose process is gone. While one is in use, its lock is held, so no other process yields it."""
    for path in sorted((root / FOLDER).glob("*.lock")):
        try:
            lock = os.open(path, os.O_WRONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            if path.exists():  # another process may have ended it while this one waited
                yield path.stem
        finally:
            os.close(lock)


def is_here(root: Path, owner: str) -> bool:
    """Return True if the journal of an owner lies on this machine."""
    return (root / FOLDER / f"{owner}.lock").exists()


def remove_journal(root: Path, owner: str) -> None:
    """Remove the files of an owner, its lock last."""
    for _, path in segments(root / FOLDER, owner):
        path.unlink(missing_ok=True)
    (root / FOLDER / f"{owner}.lock").unlink(missing_ok=True)
