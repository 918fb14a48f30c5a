"""Reads some columns of a file in blocks, as many rows as fit into little memory at a time. Called by outcomes.

What `reading` does with a whole file is done with each block, but for CSV: types are not told by what a column holds,
so all but moments stay text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.exceptions import PolarsError

from trimtab.data.reading import normalised
from trimtab.errors import DataError

BLOCK_ROWS = 50_000
READ_BYTES = 2**20


def blocks_of(path: Path, names: Sequence[str], *, times: Collection[str]) -> Iterator[pl.DataFrame]:
    """Yield some columns of a Parquet or CSV file. times: those of moments, which become UTC microseconds.

    Raises DataError naming the file, and the row, column and value where one is at fault.
    """
    blocks = _of_csv(path, names) if path.suffix == ".csv" else _of_parquet(path, names)
    first = 1
    for block in blocks:
        columns = {
            name: _column(column, name in times, first, f"{path}: column '{name}'")
            for name, column in zip(block.column_names, block.columns, strict=True)
        }
        frame = pl.from_arrow(pa.table(columns))
        assert isinstance(frame, pl.DataFrame)
        yield frame
        first += frame.height


def in_blocks(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield rows in their order."""
    yield from rows.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True, engine="streaming")


def _column(column: pa.ChunkedArray, is_time: bool, first: int, place: str) -> pa.ChunkedArray:
    return normalised(column, place=place, is_time=is_time, wanted=None, first=first)


def _of_csv(path: Path, names: Sequence[str]) -> Iterator[pa.Table]:
    try:
        texts = pl.scan_csv(path, infer_schema=False)
        twice = [name.rsplit("_duplicated_", 1)[0] for name in texts.collect_schema() if "_duplicated_" in name]
        if twice:
            raise DataError(f"{path}: the column '{twice[0]}' is there twice")
        for block in in_blocks(texts):  # all columns: a line with one too many is seen so
            yield block.select(names).to_arrow().cast(pa.schema([(name, pa.string()) for name in names]))
    except PolarsError as error:
        raise DataError(f"{path}: not a CSV file: {str(error).splitlines()[0]}") from None


def _of_parquet(path: Path, names: Sequence[str]) -> Iterator[pa.Table]:
    try:
        file = pq.ParquetFile(path, buffer_size=READ_BYTES)  # pages, not whole row groups
        there: Sequence[str] = file.schema_arrow.names
        twice = [name for name in names if there.count(name) > 1]
        if twice:
            raise DataError(f"{path}: the column '{twice[0]}' is there twice")
        for batch in file.iter_batches(BLOCK_ROWS, columns=list(names)):
            yield pa.Table.from_batches([batch]).select(names)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from None
