"""Records of a simulated world, in memory: the metadata store without disk, and without the ledger over all records.

The decisions of one model keep their own chain (control/ledger.py). Not shared between threads.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from typing import Any

import msgspec

from trimtab.errors import Conflict, StoreError, nearest
from trimtab.records.kinds import RECORDS
from trimtab.records.record import Record
from trimtab.stores.faults import Fault
from trimtab.stores.metadata.chain import LedgerState
from trimtab.stores.metadata.contract import Between, Metadata, R
from trimtab.stores.metadata.rows import check_kind, conditions, not_found

Index = dict[tuple[Any, ...], list[int]]


class _Kind:
    """The records of one kind in the order of writing, and an index for each group of keys that was searched by."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.places: dict[str, int] = {}
        self._indexes: dict[tuple[str, ...], Index] = {}

    def add(self, record: Record) -> None:
        place = len(self.records)
        self.records.append(record)
        self.places[record.id] = place
        for keys, index in self._indexes.items():
            index[_values(record, keys)].append(place)

    def index(self, keys: tuple[str, ...]) -> Index:
        if keys not in self._indexes:
            made: Index = defaultdict(list)
            for place, record in enumerate(self.records):
                made[_values(record, keys)].append(place)
            self._indexes[keys] = made
        return self._indexes[keys]


class MemoryMetadata:
    """The metadata store of one simulated world."""

    def __init__(self) -> None:
        self._kinds: defaultdict[type[Record], _Kind] = defaultdict(_Kind)

    def put(self, *records: Record) -> None:
        """Write records, all or none. Raises Conflict."""
        new: dict[tuple[type[Record], str], Record] = {}
        for record in records:
            check_kind(type(record))
            kind = self._kinds[type(record)]
            place = kind.places.get(record.id)
            known = new.get((type(record), record.id)) if place is None else kind.records[place]
            if known is None:
                new[type(record), record.id] = record
            elif known != msgspec.structs.replace(record, created_at=known.created_at):
                raise Conflict(f"{record.KIND} '{record.id}' is already written with other contents")
        for record in new.values():
            self._kinds[type(record)].add(record)

    def get(self, kind: type[R], id_: str, /) -> R:
        """Return one record. Raises NotFound."""
        place = self._place(kind, id_)
        found: R = self._kinds[kind].records[place]
        return found

    def find(
        self,
        kind: type[R],
        /,
        *,
        limit: int | None = None,
        oldest_first: bool = False,
        before: str | None = None,
        **where: object,
    ) -> Sequence[R]:
        """Return the records whose KEYS fields match `where`, from behind the record `before` on."""
        held = self._kinds[kind]
        places = self._places(kind, where)
        if before is not None:
            last = self._place(kind, before)
            places = places[bisect_right(places, last) :] if oldest_first else places[: bisect_left(places, last)]
        ordered = places if oldest_first else places[::-1]
        return [held.records[place] for place in ordered[:limit]]

    def count(self, kind: type[Record], /, **where: object) -> int:
        """Return how many records `find` would return."""
        return len(self._places(kind, where))

    def positions(self) -> dict[str, int]:
        """Return the number of records of each kind."""
        return {name: len(self._kinds[kind].records) for name, kind in RECORDS.items()}

    def check(self) -> Sequence[Fault]:
        """Return no fault: there is no file."""
        return []

    def verify(self, *, last: int | None = None) -> LedgerState:
        """Return an empty ledger: a simulated world has none over all records."""
        return LedgerState(head=None, breaks=(), accepted=())

    def close(self) -> None:
        """Do nothing."""

    def _place(self, kind: type[Record], id_: str) -> int:
        check_kind(kind)
        places = self._kinds[kind].places
        if id_ not in places:
            raise not_found(kind, id_, list(places)[-200:])
        return places[id_]

    def _places(self, kind: type[Record], where: dict[str, object]) -> Sequence[int]:
        check_kind(kind)
        held = self._kinds[kind]
        if not where:
            return range(len(held.records))
        for key in where:
            if key not in kind.KEYS:
                raise StoreError(f"{kind.KIND} records cannot be searched by '{key}'.{nearest(key, kind.KEYS)}")
        ranges = {key: value for key, value in where.items() if isinstance(value, Between)}
        if ranges:
            conditions(kind, ranges)  # raises for a field that is no time
            others = self._places(kind, {key: value for key, value in where.items() if key not in ranges})
            return [place for place in others if _is_in(held.records[place], ranges)]
        keys = tuple(sorted(where))
        index = held.index(keys)
        options = [value if isinstance(value, tuple) else (value,) for value in (where[key] for key in keys)]
        found = [index[values] for values in dict.fromkeys(product(*options)) if values in index]
        return found[0] if len(found) == 1 else sorted(place for places in found for place in places)


def _values(record: Record, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(getattr(record, key) for key in keys)


def _is_in(record: Record, ranges: dict[str, Between]) -> bool:
    return all(
        (one.start is None or getattr(record, key) >= one.start) and (one.end is None or getattr(record, key) < one.end)
        for key, one in ranges.items()
    )


_: type[Metadata] = MemoryMetadata
