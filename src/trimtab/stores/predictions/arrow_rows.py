"""The rows of the prediction log as Arrow tables: schemas, and tables made of packed rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.lazy_library import LazyLibrary
from trimtab.stores.predictions.contract import COLUMNS
from trimtab.stores.predictions.packed_rows import PLAIN, is_matrix, unpack

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = LazyLibrary("pyarrow")

TIME_OF_LOGGING = {"predictions": "logged_at", "labels": "received_at", "turns": "at", "contents": "at"}
"""The column by which the rows of several writers are merged, and by which old rows are deleted."""
AT_ONCE = 256
"""Packed rows that become one Arrow array a column: fewer cost more arrays, more cost the garbage collector."""


@cache
def schema_of(kind: str) -> pa.Schema:
    """Return the schema of a kind of rows."""
    types = {
        "text": pa.string(),
        "bool": pa.bool_(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "texts": pa.list_(pa.string()),
        "time": pa.timestamp("us", tz="UTC"),
        "float64": pa.float64(),
        "pairs": pa.map_(pa.string(), pa.string()),
        "vector": pa.list_(pa.float32()),
        "doubles": pa.list_(pa.float64()),
        "bytes": pa.binary(),
    }
    return pa.schema(
        [
            pa.field(name, types[type_.removesuffix("?")], nullable=type_.endswith("?"))
            for name, type_ in COLUMNS[kind].items()
        ]
    )


@cache
def empty_table(kind: str) -> pa.Table:
    """Return a table of no rows."""
    schema = schema_of(kind)  # its own `empty_table` imports pandas, which takes a second
    return pa.Table.from_arrays([pa.nulls(0, type_) for type_ in schema.types], schema=schema)


def with_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with the columns and types of a schema; columns that the rows lack are null."""
    for name in schema.names:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, schema.field(name).type))
    return rows.select(schema.names).cast(schema)


def table_of(packed: Sequence[bytes | memoryview], kind: str) -> pa.Table:
    """Return the rows of some packed rows, in their order."""
    starts = range(0, len(packed), AT_ONCE)
    tables = [_table_of([unpack(each, kind) for each in packed[start : start + AT_ONCE]], kind) for start in starts]
    return pa.concat_tables([empty_table(kind), *tables]).combine_chunks()


def _table_of(unpacked: Sequence[list[Any]], kind: str) -> pa.Table:
    schema = schema_of(kind)
    columns = zip(COLUMNS[kind].values(), zip(*unpacked, strict=True), schema.types, strict=True)
    return pa.table([_array(values, type_, arrow) for type_, values, arrow in columns], schema=schema)


def _array(parts: Sequence[Any], kind: str, type_: pa.DataType) -> pa.Array:
    """Return one column of some packed rows as one array."""
    if kind in PLAIN:
        return pa.array(list(chain.from_iterable(parts)), type_)
    if kind == "pairs?":
        counts, texts = (list(chain.from_iterable(part[n] for part in parts)) for n in (0, 1))
        return pa.MapArray.from_arrays(_offsets(counts), *(pa.array(texts[n::2], pa.string()) for n in (0, 1)))
    if kind in ("vector?", "doubles?"):
        return _vectors(parts, type_.value_type)
    if kind == "bool":
        return pa.array(np.frombuffer(b"".join(parts), np.bool_))
    if any(isinstance(part, list) for part in parts):  # numbers with a null among them
        numbers = [part if isinstance(part, list) else np.frombuffer(part, np.float64).tolist() for part in parts]
        return pa.array(list(chain.from_iterable(numbers)), type_)
    data = b"".join(parts)
    return pa.Array.from_buffers(type_, 8 * len(data) // type_.bit_width, [None, pa.py_buffer(data)])


def _vectors(parts: Sequence[Any], type_: pa.DataType) -> pa.ListArray:
    size = type_.bit_width // 8
    lengths: list[int | None] = []
    data: list[bytes] = []
    for part in parts:
        if is_matrix(part):
            width, numbers = part
            lengths += [width] * (len(numbers) // (size * width))
            data.append(numbers)
        else:
            lengths += [None if row is None else len(row) // size for row in part]
            data += filter(None, part)
    joined = b"".join(data)
    numbers = pa.Array.from_buffers(type_, len(joined) // size, [None, pa.py_buffer(joined)])
    return pa.ListArray.from_arrays(_offsets(lengths), numbers)


def _offsets(lengths: Sequence[int | None]) -> pa.Array:
    """Return where each row's values begin and the last one's end; null for a row that is null."""
    starts = list(accumulate((length or 0 for length in lengths), initial=0))
    known = [None if length is None else start for length, start in zip(lengths, starts, strict=False)]
    return pa.array([*known, starts[-1]], pa.int32())
