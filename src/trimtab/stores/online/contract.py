"""The contract of the online store: timelines of packed feature values.

For each view version and entity key it keeps values with the time from which they are valid. A read returns the values
that are valid at a given time, so a replay of last year reads last year's values, and a current request the newest.

Guarantees
- `write` is atomic: readers see all of it, including its watermark, or none; and it is on disk when it returns.
- Entity keys are any bytes of any length, also empty; one may begin with another.
- Readers never block and may be other processes.
- `write` also stores the state of the process that computes the values, such as its position in a table, so both are
  never apart.
- A missing value is None. The store does not apply a time-to-live; readers do (it is part of the packed value).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
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
        """Add values and set the view's watermark.

        Writing the same entry again changes nothing; another value for the same key and time replaces the first.

        Args:
            view: id of the view version.
            entries: the values.
            until: the watermark, microseconds since the epoch; an earlier one than the present one is ignored.
            replace: remove all other entries and all other state of the view.
            since: by entity key a time, microseconds; other entries of the entity at or after it are removed.
            state: values of the view that are no timelines, by key; None removes a key.

        Returns:
            The number of entries that were added, changed or removed; state is not counted.

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

    def read_each(self, wanted: Sequence[tuple[bytes, bytes]], at: Sequence[int]) -> list[bytes | None]:
        """Return for each pair the value that is valid at a time of its own; as `read` otherwise.

        Args:
            wanted: pairs of `prefix(view)` and entity key.
            at: microseconds since the epoch, one a pair.
        """
        ...

    def prefix(self, view: str) -> bytes:
        """Return the key prefix of a view version. Callers compute it once."""
        ...

    def watermark(self, view: str) -> int | None:
        """Return the time up to which `view` is complete, or None when nothing was written."""
        ...

    def state(self, view: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the state of a view under each key, None where there is none; all from one moment."""
        ...

    def turn(self, view: str) -> AbstractContextManager[None]:
        """Wait until no other thread or process is in the turn of this view, and hold it.

        Who computes a view's next values from its state holds its turn from reading to writing. The turn ends with its
        process.
        """
        ...

    def views(self) -> Sequence[str]:
        """Return the ids of the view versions that the store holds, sorted."""
        ...

    def drop(self, view: str) -> int:
        """Remove a view version with its watermark and state; return how many values it had. Readers never wait."""
        ...

    def expire(self, view: str, before: int) -> int:
        """Remove the entries that no read at or after `before` (microseconds) returns; return their number."""
        ...

    def check(self) -> Sequence[Fault]:
        """Read the whole store and return its faults, without changing anything. Raises StoreError."""
        ...

    def close(self) -> None:
        """Close the store."""
        ...
