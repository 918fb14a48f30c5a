"""The ledger: a hash chain over the records of decisions and of the rules behind them.

Each entry holds the SHA-256 of one record as it is stored, and the hash of the entry before it. A verification finds
records that were changed, removed, or written without an entry. It finds missing newest entries by the head: the number
and hash of the last entry, which is also kept in a file outside the database and printed by `trimtab status`.
The functions take entries and bodies as arguments, so they work for every backend.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from trimtab.clock import to_micros
from trimtab.errors import StoreError
from trimtab.records.control import (
    Decision,
    Freeze,
    LedgerAcceptance,
    LedgerEntry,
    PolicyVersion,
    Resolution,
    RetrainRequest,
    Suspicion,
    SuspicionEnd,
)
from trimtab.records.data import QuarantineEnd
from trimtab.records.gate_reports import GateReport
from trimtab.records.kinds import RECORDS
from trimtab.records.llm import TextErasure
from trimtab.records.promotions import PromotionAnswer, PromotionRequest
from trimtab.records.record import Record
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle

log = logging.getLogger(__name__)

COVERED: tuple[type[Record], ...] = (
    PolicyVersion,
    GateReport,
    Bundle,
    Revision,
    Suspicion,
    SuspicionEnd,
    RetrainRequest,
    Freeze,
    Decision,
    Resolution,
    QuarantineEnd,
    TextErasure,
    PromotionRequest,
    PromotionAnswer,
    LedgerAcceptance,
)
"""Kinds of records that get an entry, in the order in which records of one put are entered."""
ALWAYS_TAKEN: frozenset[type[Record]] = frozenset({Revision, LedgerAcceptance})
"""Kinds that are written to a broken ledger, too: a rollback must not wait, and accepting a break is a record."""
GENESIS = "0" * 64
"""previous_hash of entry 1."""
REMEDY = "See trimtab ledger verify; restore the record from a backup, or accept the break: trimtab ledger accept"


class LedgerBroken(StoreError):
    """The newest entry of the ledger does not match its record or its hash. No record of a decision is written."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Number and hash of the last entry."""

    number: int
    hash: str


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of a verification. key: identifies it, so that a later verification finds it under the same key."""

    key: str
    text: str


class LedgerState(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a verification."""

    head: Head | None
    """None for a ledger without entries."""
    breaks: tuple[Break, ...]
    """Breaks that no person has accepted, oldest first."""
    accepted: tuple[Break, ...]
    """Breaks that a person has accepted."""


Bodies = Callable[[type[Record], Sequence[str]], Mapping[str, str]]
"""Takes a kind and ids; returns the stored bodies of these records by id."""


def digest(body: str) -> str:
    """Return the SHA-256 of a record as it is stored."""
    return hashlib.sha256(body.encode()).hexdigest()


def entry(number: int, kind: str, record: str, created_at: object, body: str, previous: str) -> LedgerEntry:
    """Return the entry of a record that follows the entry with the hash `previous`."""
    made = LedgerEntry(
        id=f"ledger/{number}",
        created_at=created_at,  # type: ignore[arg-type]  # the record's own
        number=number,
        kind=kind,
        record=record,
        digest=digest(body),
        previous_hash=previous,
        hash="",
    )
    return msgspec.structs.replace(made, hash=hash_of(made))


def hash_of(one: LedgerEntry) -> str:
    """Return the SHA-256 over an entry's fields, one a line."""
    fields = (one.number, one.kind, one.record, one.digest, to_micros(one.created_at), one.previous_hash)
    return hashlib.sha256("\n".join(map(str, fields)).encode()).hexdigest()


def following(
    last: LedgerEntry | None, new: Iterable[tuple[type[Record], str, str]], bodies: Bodies
) -> list[LedgerEntry]:
    """Return the entries of new records, after checking the last entry and its record.

    new: kind, id and body of each. Raises LedgerBroken, unless all records are of ALWAYS_TAKEN.
    """
    found = [one for one in new if one[0] in COVERED]
    found.sort(key=lambda one: COVERED.index(one[0]))
    if last is not None and any(kind not in ALWAYS_TAKEN for kind, _, _ in found):
        for one in _breaks_of([last], bodies):
            raise LedgerBroken(f"{one.text}. Nothing was written. {REMEDY}")
    made: list[LedgerEntry] = []
    number, previous = (last.number, last.hash) if last else (0, GENESIS)
    for kind, id_, body in found:
        created_at = msgspec.json.decode(body, type=Record).created_at
        made.append(entry(number + 1, kind.KIND, id_, created_at, body, previous))
        number, previous = made[-1].number, made[-1].hash
    return made


def verify(
    entries: Sequence[LedgerEntry],
    bodies: Bodies,
    *,
    ids: Callable[[type[Record]], Iterable[str]] | None,
    noted: Head | None,
    acceptances: Iterable[LedgerAcceptance],
) -> LedgerState:
    """Check entries, oldest first, against one another, against their records and against a head noted in a file.

    ids: returns the ids of all records of a kind, to find those without an entry; None when `entries` are only the
    last ones.
    """
    found = [*_links(entries, whole=ids is not None), *_breaks_of(entries, bodies)]
    found += _head_breaks(entries, noted)
    if ids is not None:
        found += _without_entry(entries, ids)
    known = {key for acceptance in acceptances for key in acceptance.breaks}
    head = Head(number=entries[-1].number, hash=entries[-1].hash) if entries else None
    return LedgerState(
        head=head,
        breaks=tuple(one for one in found if one.key not in known),
        accepted=tuple(one for one in found if one.key in known),
    )


def _links(entries: Sequence[LedgerEntry], *, whole: bool) -> Iterator[Break]:
    """Yield a break for each number or previous hash that does not continue the entry before."""
    if not entries:
        return
    number, previous = (0, GENESIS) if whole else (entries[0].number - 1, entries[0].previous_hash)
    for one in entries:
        if one.number != number + 1:
            text = f"the ledger is broken before entry {one.number}: entry {number + 1} is missing"
            yield Break(key=f"{one.id}/missing", text=text)
        elif one.previous_hash != previous:
            text = (
                f"the ledger is broken at entry {one.number} ({one.kind} '{one.record}'): it follows "
                f"{one.previous_hash[:12]}, but the entry before it has the hash {previous[:12]}"
            )
            yield Break(key=f"{one.id}/link", text=text)
        number, previous = one.number, one.hash


def _breaks_of(entries: Sequence[LedgerEntry], bodies: Bodies) -> Iterator[Break]:
    """Yield a break for each entry or record that was changed, and for each record that was removed."""
    wanted: dict[type[Record], list[str]] = {}
    for one in entries:
        if one.kind in RECORDS:
            wanted.setdefault(RECORDS[one.kind], []).append(one.record)
    stored = {kind.KIND: bodies(kind, ids) for kind, ids in wanted.items()}
    for one in entries:
        what = f"the ledger does not hold at entry {one.number}: "
        body = stored.get(one.kind, {}).get(one.record)
        if hash_of(one) != one.hash:
            text = f"{what}the entry of {one.kind} '{one.record}' was changed"
        elif body is None:
            text = f"{what}{one.kind} '{one.record}' was removed"
        elif digest(body) != one.digest:
            text = f"{what}{one.kind} '{one.record}' was changed"
        else:
            continue
        yield Break(key=f"{one.id}/record", text=text)


def _head_breaks(entries: Sequence[LedgerEntry], noted: Head | None) -> Iterator[Break]:
    last = entries[-1].number if entries else 0
    if noted is None:
        return
    if noted.number > last:
        text = (
            f"the ledger ends at entry {last}, but entry {noted.number} ({noted.hash[:12]}) had been written: the "
            "newest entries were cut off, or an older copy of the database was put in its place"
        )
        yield Break(key=f"head/{noted.number}/{noted.hash}", text=text)
    elif any(one.number == noted.number and one.hash != noted.hash for one in entries):
        text = f"entry {noted.number} of the ledger was replaced: its hash was {noted.hash[:12]}"
        yield Break(key=f"head/{noted.number}/{noted.hash}", text=text)


def _without_entry(entries: Sequence[LedgerEntry], ids: Callable[[type[Record]], Iterable[str]]) -> Iterator[Break]:
    entered = {(one.kind, one.record) for one in entries}
    for kind in COVERED:
        for id_ in ids(kind):
            if (kind.KIND, id_) not in entered:
                text = f"{kind.KIND} '{id_}' was written to the database without an entry in the ledger"
                yield Break(key=f"beside/{kind.KIND}/{id_}", text=text)


def read_head(path: Path | None) -> Head | None:
    """Return the head in a file, or None. Raises StoreError when the file cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Head) if path else None
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    except OSError as error:
        raise StoreError(f"the head of the ledger cannot be read: {error}") from error


def note_head(path: Path | None, head: Head, *, anew: bool = False) -> None:
    """Write the head to a file, atomically. anew: even when the file holds a later one.

    The records are committed before, so an error of the file is logged and not raised.
    """
    if path is None:
        return
    try:
        before = read_head(path)
        if before is not None and before.number >= head.number and not anew:
            return
        path.parent.mkdir(parents=True, exist_ok=True)  # the database may be elsewhere
        draft = path.with_name(f".{path.name}.{head.hash[:8]}")
        draft.write_bytes(msgspec.json.encode(head) + b"\n")
        draft.replace(path)
    except (OSError, StoreError) as error:
        log.warning("the head of the ledger, entry %d (%s), was not noted: %s", head.number, head.hash[:12], error)
