"""Chooses among several rows with one key the row that counts at a given time.

A correction is a further row with the same key. The table keeps both rows, so a training set as of a time before the
correction was known does not change.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from trimtab.definitions.sources import Source
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl
else:  # the supervisor of a gateway imports this file, and needs neither
    np, pl = LazyLibrary("numpy"), LazyLibrary("polars")

ROW = "__row"


def current(rows: pl.LazyFrame, source: Source, *, as_of: datetime | None) -> pl.LazyFrame:
    """Return the rows of a source that count at a given time.

    Of the rows of one key that are known by then, the one that became known last counts; of those known at the same
    time, the one ingested last. If none is known yet, the first row of the key counts. A row with a null in its key
    always counts. If the source has no key, all rows count.

    Args:
        rows: the table of the source, in the order of ingestion.
        source: the source; `key` and `known_column` are read from `rows`.
        as_of: the time; None takes all rows that have a `known_column` as known.

    Returns:
        The rows that count, in their order.
    """
    gone = replaced(rows, source, as_of=as_of)
    if not len(gone):
        return rows
    return rows.with_row_index(ROW).filter(~pl.col(ROW).is_in(pl.Series(gone).cast(pl.UInt32).implode())).drop(ROW)


def replaced(rows: pl.LazyFrame, source: Source, *, as_of: datetime | None) -> npt.NDArray[np.int64]:
    """Return the rows that do not count at a given time, because another row with their key does.

    Args:
        rows, source, as_of: as in `current`.

    Returns:
        Row numbers from 0, int64, rising.
    """
    if not source.key:
        return np.empty(0, dtype=np.int64)
    keys = list(source.key)
    frame = rows.select(*dict.fromkeys((*keys, source.known_column))).collect().with_row_index(ROW)
    frame = frame.drop_nulls(keys)
    if frame.height == frame.select(keys).n_unique():
        return np.empty(0, dtype=np.int64)
    known = pl.col(source.known_column)
    is_known = known.is_not_null() if as_of is None else known.is_not_null() & (known <= as_of)
    row = pl.col(ROW).cast(pl.Int64)
    ordered = frame.select(
        *keys,
        ROW,
        _known=is_known,
        _at=pl.when(is_known).then(known),
        _order=pl.when(is_known).then(row).otherwise(-row),
    ).sort("_known", "_at", "_order", nulls_last=False)
    last = ordered.unique(keys, keep="last")[ROW]
    gone = frame.filter(~pl.col(ROW).is_in(last.implode()))[ROW]
    return gone.to_numpy().astype(np.int64)
