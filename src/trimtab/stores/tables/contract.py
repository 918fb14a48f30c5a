"""The contract of the table store: versioned, append-only tables.

Guarantees
- A version is immutable and complete: readers never see a part of an append or of a replacement.
- `append` with a batch id that is already in the table adds nothing and returns the version that holds
  it, also after a crash between writing the table and writing its record.
- Appends of several processes to one table do not lose rows.
- An append is on disk when it returns, and its version stays readable until a vacuum that does not keep it.
- Timestamps are UTC microseconds.
- The state of an append is in the table if and only if its rows are.
- A scan returns rows in the order in which they were appended.
- A compaction makes a version with the same rows in the same order; a scan of the version before it reads its files. It
  may be killed anywhere, and run at the same time as appends. So may a vacuum, which removes nothing of a kept version.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from trimtab.stores.faults import Fault

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

ANY_STATE = "*"
"""Of `append`: rows are appended whatever the state of the table is."""


@dataclass(frozen=True)
class Compacted:
    """Result of a compaction. version: the one that it made, None if there was nothing to merge."""

    files_before: int
    files_after: int
    version: int | None


@dataclass(frozen=True)
class Vacuumed:
    """Result of a vacuum: the files that it removed, and their bytes."""

    files: int
    bytes_: int


class Tables(Protocol):
    """Versioned tables by name.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import pyarrow as pa
    >>> from trimtab.stores.catalog import open_tables
    >>> folder = TemporaryDirectory()
    >>> tables = open_tables(None, Path(folder.name))
    >>> tables.append("flights", pa.table({"delay": [4, 7]}), batch="monday")
    0
    >>> tables.append("flights", pa.table({"delay": [4, 7]}), batch="monday")
    0
    >>> tables.append("flights", pa.table({"delay": [9]}), batch="tuesday")
    1
    >>> tables.scan("flights", version=0).collect()["delay"].to_list()
    [4, 7]
    """

    def append(
        self,
        name: str,
        data: pa.Table,
        *,
        batch: str,
        add_columns: bool = False,
        state: str | None = None,
        after: str | None = ANY_STATE,
    ) -> int:
        """Append rows as one new version and return its number. The first append creates the table.

        A column changes its type only to a wider one that holds all its values unchanged (int32 -> int64, int64 ->
        double, date -> timestamp, no values yet -> any). All rows have the wider type from this version on; earlier
        versions keep theirs.

        Args:
            name: letters, digits, "_" and "-".
            data: the rows.
            batch: id of the rows; with the id in the table already, nothing is written.
            add_columns: allow new and missing columns; rows have null in the columns that they lack.
            state: where the rows ended at their origin, such as offsets. It becomes visible together with the rows,
                also when there are none.
            after: the state that the table must have, None for none: of two processes that append what comes after one
                state, one is refused. The batch id is not kept then, so that a stream of many small appends does not
                make the table's log longer with each.

        Returns:
            The version that holds the batch.

        Raises:
            DataError: columns differ and `add_columns` is off, or a column has a type that does not fit.
            Conflict: writers on other machines kept committing first, or the state is not `after`.
        """
        ...

    def replace(self, name: str, data: pa.Table, *, batch: str) -> int:
        """Replace all rows of a table in one new version and return its number; the columns may differ.

        Earlier versions stay readable.

        Args:
            name: letters, digits, "_" and "-".
            data: the rows.
            batch: id of the rows; with the id in the table already, nothing is written.
        """
        ...

    def batch_version(self, name: str, batch: str) -> int | None:
        """Return the version that holds `batch`, or None."""
        ...

    def state(self, name: str) -> str | None:
        """Return the state of the newest append that was given one, or None."""
        ...

    def scan(self, name: str, *, version: int | None = None) -> pl.LazyFrame:
        """Return the rows of one version (None: the newest), lazily. Raises NotFound."""
        ...

    def schema(self, name: str, *, version: int | None = None) -> dict[str, str] | None:
        """Return column -> Arrow type of one version (None: the newest), or None when there is no such table."""
        ...

    def version(self, name: str) -> int | None:
        """Return the newest version, or None when there is no such table."""
        ...

    def compact(self, name: str, *, now: datetime, least: int = 2) -> Compacted:
        """Merge neighbouring small files of a table, as a new version of the same rows in the same order.

        Args:
            name: the table.
            now: time of the version.
            least: fewest neighbouring small files that are merged.

        Raises:
            NotFound: there is no such table.
        """
        ...

    def vacuum(self, name: str, *, keep: Collection[int], since: datetime) -> Vacuumed:
        """Remove the files that only versions have which need not be kept; scanning those raises NotFound from then on.

        Args:
            name: the table.
            keep: versions that stay readable; the newest does in any case.
            since: versions that were the newest at this time or later stay readable, too.

        Raises:
            NotFound: there is no such table.
        """
        ...

    def readable(self, name: str) -> Sequence[int]:
        """Return the versions that no vacuum has removed, in order. Raises NotFound."""
        ...

    def check(self) -> Sequence[Fault]:
        """Read the whole store and return its faults, without changing anything. Raises StoreError."""
        ...

    def names(self) -> Sequence[str]:
        """Return the names of all tables, sorted."""
        ...
