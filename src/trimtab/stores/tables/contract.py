"""The contract of the table store: versioned, append-only tables.

Guarantees
- A version is immutable and complete: readers never see half an append, or half a replacement.
- `append` with a batch id that is already in the table adds nothing and returns the version that holds
  it, also after a crash between writing and recording.
- Appends of several processes to one table do not lose rows.
- An append is on disk when it returns, and its version stays readable for ever.
- Timestamps are UTC microseconds.
- A scan returns rows in the order in which they were appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from trimtab.stores.faults import Fault

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


class Tables(Protocol):
    """Versioned tables by name."""

    def append(self, name: str, data: pa.Table, *, batch: str, add_columns: bool = False) -> int:
        """Append rows as one new version and return it; `batch` identifies them.

        Creates the table on first use. Raises DataError when columns differ and `add_columns` is off; when it
        is on, rows have null in the columns that they lack. A column changes its type only to a wider one that holds
        all its values unchanged (int32 -> int64, int64 -> double, date -> timestamp, no values yet -> any); all rows
        have it from this version on, earlier versions keep theirs. Raises DataError for any other change.
        """
        ...

    def replace(self, name: str, data: pa.Table, *, batch: str) -> int:
        """Make `data` all the rows of a table in one new version and return it; its columns may be others.

        Earlier versions stay readable. `batch` identifies the rows: with it in the table already, nothing is done.
        """
        ...

    def batch_version(self, name: str, batch: str) -> int | None:
        """Return the version that holds `batch`, or None."""
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

    def check(self) -> Sequence[Fault]:
        """Read all that the store holds, and return what is wrong with it; nothing is changed. Raises StoreError."""
        ...

    def names(self) -> Sequence[str]:
        """Return the names of all tables, sorted."""
        ...
