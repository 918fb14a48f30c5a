"""The contract of the metadata store: an append-only book of records.

Guarantees
- Safe to share between threads and processes.
- Records never change. Putting a record again under its id does nothing when only `created_at`
  differs, and raises Conflict when anything else does; so a stage that runs twice writes once.
- `put` writes all of its records or none, and they are on disk when it returns: they survive the death of
  the process and the loss of power.
- Times are aware; what JSON cannot hold (NaN, infinity) is refused, so what was put can be read back.
- `find` returns records in the order they were written, newest first.
- Records of the kinds in chain.COVERED get an entry in the ledger, a hash chain, in the same transaction. The last
  entry is verified before the next is written; when it does not hold, LedgerBroken is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from trimtab.records.record import Record
from trimtab.stores.faults import Fault
from trimtab.stores.metadata.chain import LedgerState

R = TypeVar("R", bound=Record)


class Metadata(Protocol):
    """A book of immutable records."""

    def put(self, *records: Record) -> None:
        """Write records, all or none. Raises Conflict, LedgerBroken."""
        ...

    def get(self, kind: type[R], id_: str, /) -> R:
        """Return one record. Raises NotFound."""
        ...

    def find(
        self, kind: type[R], /, *, limit: int | None = None, oldest_first: bool = False, **where: object
    ) -> Sequence[R]:
        """Return records whose KEYS fields equal `where`; a tuple value means any of them.

        Raises StoreError for a field that is not in KEYS or a value of the wrong type.
        """
        ...

    def count(self, kind: type[Record], /, **where: object) -> int:
        """Return how many records `find` would return."""
        ...

    def check(self) -> Sequence[Fault]:
        """Read all that the store holds, and return what is wrong with it; nothing is changed. Raises StoreError."""
        ...

    def verify(self, *, last: int | None = None) -> LedgerState:
        """Verify the ledger (chain.py), all of it or its last entries. Raises StoreError."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


def latest(store: Metadata, kind: type[R], /, **where: Any) -> R | None:
    """Return the newest matching record, or None."""
    found = store.find(kind, limit=1, **where)
    return found[0] if found else None


def newest_until(store: Metadata, kind: type[R], stop: Callable[[R], bool], /, **where: Any) -> list[R]:
    """Return the matching records written after the newest one for which `stop` is true, newest first; all without one.

    Reads few more records than it returns.
    """
    limit = 1
    while True:
        found = store.find(kind, limit=limit, **where)
        end = next((n for n, record in enumerate(found) if stop(record)), None)
        if end is not None or len(found) < limit:
            return list(found[:end])
        limit *= 8


def newest_where(store: Metadata, kind: type[R], test: Callable[[R], bool], /, **where: Any) -> R | None:
    """Return the newest matching record for which `test` is true, or None. Reads few more records than lie before."""
    limit = 1
    while True:
        found = store.find(kind, limit=limit, **where)
        wanted = next((record for record in found if test(record)), None)
        if wanted is not None or len(found) < limit:
            return wanted
        limit *= 8
