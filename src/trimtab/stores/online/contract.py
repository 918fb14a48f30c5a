"""The contract of the online store: timelines of packed feature values.

For each view version and entity key it keeps values with the time from which they are valid. A read returns the values
that are valid at a given time, so a replay of last year reads last year's values, and a current request the newest.

Guarantees
- `write` is atomic: readers see all of it, including its watermark, or none; and it is on disk when it returns.
- Entity keys are any bytes of any length, also empty; one may begin with another.
- Readers never block and may be other processes.
- A missing value is None. The store does not apply a time-to-live; readers do (it is part of the packed value).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from trimtab.stores.faults import Fault

Entry = tuple[bytes, int, bytes]
"""Entity key, time from which the value is valid (microseconds since the epoch), packed value."""


class Online(Protocol):
    """Timelines of packed values by view version and entity key.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from trimtab.stores.catalog import open_online
    >>> folder = TemporaryDirectory()
    >>> store = open_online(None, Path(folder.name))
    >>> store.write("punctuality@1", [(b"AA", 10, b"old"), (b"AA", 20, b"new")], until=20)
    2
    >>> prefix = store.prefix("punctuality@1")
    >>> store.read([(prefix, b"AA"), (prefix, b"UA")], 15)
    [b'old', None]
    >>> store.close()
    """

    def write(self, view: str, entries: Iterable[Entry], *, until: int, replace: bool = False) -> int:
        """Add values and set the view's watermark.

        Writing the same entry again changes nothing; another value for the same key and time replaces the first.

        Args:
            view: id of the view version.
            entries: the values.
            until: the watermark, microseconds since the epoch; an earlier one than the present one is ignored.
            replace: remove all other entries of the view.

        Returns:
            The number of entries that were added, changed or removed.

        Raises:
            StoreError: the store cannot be written.
        """
        ...

    def read(self, wanted: Sequence[tuple[bytes, bytes]], at: int) -> list[bytes | None]:
        """Return the values that are valid at a time, in one round trip.

        Args:
            wanted: pairs of `prefix(view)` and entity key.
            at: microseconds since the epoch.

        Returns:
            One value a pair, in the same order; None for a pair without a value.
        """
        ...

    def prefix(self, view: str) -> bytes:
        """Return the key prefix of a view version. Callers compute it once."""
        ...

    def watermark(self, view: str) -> int | None:
        """Return the time up to which `view` is complete, or None when nothing was written."""
        ...

    def check(self) -> Sequence[Fault]:
        """Read the whole store and return its faults, without changing anything. Raises StoreError."""
        ...

    def close(self) -> None:
        """Close the store."""
        ...
