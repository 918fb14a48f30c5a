"""Of several rows with one key, which one counts at a moment: the key of a source, read from a table that only grows.

A correction is a row like any other. The table keeps both, so that a training set of a moment before the correction
was known is the same as ever, and nobody rewrites what a model once saw.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from trimtab.sources import FileSource

ROW = "__row"


def current(rows: pl.LazyFrame, source: FileSource, *, as_of: datetime | None) -> pl.LazyFrame:
    """Return the rows of a source that count at `as_of` (None: in the end), in their order.

    Of the rows of one key that are known by then, the one that became known last counts, of those the one taken in
    last. Where none is known yet, it is the first. A row with a null in its key stands for itself. Without a key all
    rows count.
    """
    gone = replaced(rows, source, as_of=as_of)
    if not len(gone):
        return rows
    return rows.with_row_index(ROW).filter(~pl.col(ROW).is_in(pl.Series(gone).cast(pl.UInt32).implode())).drop(ROW)


def replaced(rows: pl.LazyFrame, source: FileSource, *, as_of: datetime | None) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows, from 0, that do not count at `as_of`, because another row of their key does."""
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
