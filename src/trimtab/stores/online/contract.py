"""The contract of the online store: timelines of packed feature values.

For each view version and entity key it keeps values with the moment from which they hold. A read asks
what held at a moment, so a replay of last year reads last year's values, and a request of now the newest.

Guarantees
- `write` is atomic: readers see all of it, its watermark included, or none; and it is on disk when it returns.
- Entity keys are any bytes of any length, empty ones included; one may begin with another.
- Readers never block and may be other processes.
- A missing row is None; time-to-live is the reader's business (it is part of the packed value).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from trimtab.stores.faults import Fault

Entry = tuple[bytes, int, bytes]
"""Entity key, moment from which the value holds (microseconds since the epoch), packed value."""


class Online(Protocol):
    """Timelines of packed values by view version and entity key."""

    def write(self, view: str, entries: Iterable[Entry], *, until: int, replace: bool = False) -> int:
        """Add values and set the view's watermark to `until` (microseconds); return how many changed something.

        replace: the entries are all that the view has from then on; others of it are removed.

        Writing the same entry again changes nothing; another value for the same key and moment replaces the
        first. A watermark never goes back.
        """
        ...

    def read(self, wanted: Sequence[tuple[bytes, bytes]], at: int) -> list[bytes | None]:
        """Return the value that held at `at` for each (view prefix, entity key), in one round trip.

        The prefix comes from `prefix(view)`.
        """
        ...

    def prefix(self, view: str) -> bytes:
        """Return the key prefix of a view version, to be computed once."""
        ...

    def watermark(self, view: str) -> int | None:
        """Return the moment up to which `view` is complete, or None when nothing was written."""
        ...

    def check(self) -> Sequence[Fault]:
        """Read all that the store holds, and return what is wrong with it; nothing is changed. Raises StoreError."""
        ...

    def close(self) -> None:
        """Close the store."""
        ...
