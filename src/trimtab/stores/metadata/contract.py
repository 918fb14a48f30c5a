"""The contract of the metadata store, which keeps records and never changes or deletes one.

Guarantees
- Safe to share between threads and processes.
- Records never change. Putting a record again under its id does nothing when only `created_at`
  differs, and raises Conflict when anything else does; so a stage that runs twice writes once.
- `put` writes all of its records or none, and they are on disk when it returns: they survive the end of
  the process and the loss of power.
- Times are aware. Values that JSON cannot hold (NaN, infinity) are refused, so every stored record can be read.
- `find` returns records in the order of writing, newest first. A reader sees them in that order as well: once it has
  seen a record, it has seen all of that kind that come before it.
- Records of the kinds in chain.COVERED get an entry in the ledger, a hash chain, in the same transaction. The last
  entry is verified before the next is written; when it does not match, LedgerBroken is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from trimtab.records.record import Record
from trimtab.stores.faults import Fault
from trimtab.stores.metadata.chain import LedgerState

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Between:
    """A condition on a field in KEYS that is a time: from `start` on, and before `end`; None is unbounded."""

    start: datetime | None = None
    end: datetime | None = None


class Metadata(Protocol):
    """Immutable records by kind and id.

    >>> from datetime import UTC, datetime
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from trimtab.records.serving import TokenRevocation
    >>> from trimtab.stores.catalog import open_metadata
    >>> folder = TemporaryDirectory()
    >>> store = open_metadata(None, Path(folder.name))
    >>> now = datetime(2026, 3, 1, tzinfo=UTC)
    >>> store.put(TokenRevocation(id="t/revocation", created_at=now, token="t", reason="lost", by="ann"))
    >>> store.get(TokenRevocation, "t/revocation").reason, store.count(TokenRevocation, token="t")
    ('lost', 1)
    >>> store.close()
    """

    def put(self, *records: Record) -> None:
        """Write records, all or none.

        Args:
            records: records of any kinds.

        Raises:
            Conflict: a record with the same id and other contents is stored.
            LedgerBroken: the last entry of the ledger does not match.
            StoreError: a record cannot be stored, or the database failed.
        """
        ...

    def get(self, kind: type[R], id_: str, /) -> R:
        """Return one record. Raises NotFound."""
        ...

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
        """Return the records of a kind that match.

        Args:
            kind: class of the records.
            limit: most records to return; None for all.
            oldest_first: return them in the order of writing; by default the newest come first.
            before: id of a record of the kind, the last one of the page before: only records that come behind it in the
                order of the result, so those written before it, or with `oldest_first` after it.
            where: values of fields in KEYS; a tuple means any of its values, `Between` a range of times.

        Raises:
            NotFound: no record has the id `before`.
            StoreError: a field is not in KEYS, or a value has the wrong type.
        """
        ...

    def count(self, kind: type[Record], /, **where: object) -> int:
        """Return the number of records that `find` would return."""
        ...

    def positions(self) -> dict[str, int]:
        """Return the position of the newest record of each kind, by the name of the kind; 0 without records.

        It grows with every record of the kind that is written and never else, so a reader whose position is the same
        has seen all of them. One cheap query.
        """
        ...

    def check(self) -> Sequence[Fault]:
        """Read the whole store and return its faults, without changing anything. Raises StoreError."""
        ...

    def verify(self, *, last: int | None = None) -> LedgerState:
        """Verify the ledger (chain.py).

        Args:
            last: number of last entries to verify; None for all.

        Returns:
            The head, and the breaks that were found.

        Raises:
            StoreError: the database or the file of the head cannot be read.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def latest(store: Metadata, kind: type[R], /, **where: Any) -> R | None:
    """Return the newest matching record, or None."""
    found = store.find(kind, limit=1, **where)
    return found[0] if found else None


def newest_until(store: Metadata, kind: type[R], stop: Callable[[R], bool], /, **where: Any) -> list[R]:
    """Return the matching records that were written after the newest one for which `stop` is true, newest first.

    Returns all of them when `stop` is true for none. Reads few more records than it returns.
    """
    limit = 1
    while True:
        found = store.find(kind, limit=limit, **where)
        end = next((n for n, record in enumerate(found) if stop(record)), None)
        if end is not None or len(found) < limit:
            return list(found[:end])
        limit *= 8


def newest_where(store: Metadata, kind: type[R], test: Callable[[R], bool], /, **where: Any) -> R | None:
    """Return the newest matching record for which `test` is true, or None.

    Reads few more records than those that are newer than it.
    """
    limit = 1
    while True:
        found = store.find(kind, limit=limit, **where)
        wanted = next((record for record in found if test(record)), None)
        if wanted is not None or len(found) < limit:
            return wanted
        limit *= 8
