"""Rows in a Parquet file, as MLflow's scoring server takes them.

pyarrow is imported with the first such file: a worker that gets neither Parquet nor long CSV stays small.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from importlib import import_module
from typing import Any

from trimtab.clock import from_micros, to_micros
from trimtab.serving.requests import MOST_COLUMNS, InferenceRequest, Refused, shown
from trimtab.serving.worker_options import MAX_BODY

CELLS = 1_000_000
"""Most values of one file: a small file may unpack to very many."""
AT_ONCE = 16_384
"""Values that one call converts to Python objects, which holds the GIL meanwhile."""
INDEX = "__index_level_"
"""Names that pandas gives index columns without a name; they are no request columns."""
PLAIN = (str, int, float, bool, type(None))


def decode(body: bytes, most_bytes: int = MAX_BODY, kinds: Mapping[str, str] | None = None) -> InferenceRequest:
    """Read a Parquet file. most_bytes: of its values, unpacked. kinds: of columns; a decimal stays exact, as its text.

    The sizes that its footer declares are checked before anything is unpacked. Texts that repeat are held once.
    Raises Refused: 413 when it is too large, 501 when pyarrow is not installed.
    """
    try:
        pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise Refused(501, "Parquet needs pyarrow, which is not installed here: pip install pyarrow") from None
    try:
        source = pa.BufferReader(body)
        footer = parquet.read_metadata(source)
        texts = _check_footer(footer, most_bytes)
        file = parquet.ParquetFile(source, metadata=footer, read_dictionary=texts)
        names = file.schema_arrow.names
        table = file.read(use_threads=False)
        if table.num_rows != footer.num_rows:
            raise Refused(400, f"malformed Parquet: it has {table.num_rows} rows; its footer says {footer.num_rows}")
        left = most_bytes
        columns: dict[str, list[Any]] = {}
        for name in names:
            if not name.startswith(INDEX):
                given = table[name]
                if (kinds or {}).get(name) == "decimal" and pa.types.is_decimal(given.type):
                    given = given.cast(pa.string())
                columns[name], left = _values(given, name, left, most_bytes)
    except Refused:
        raise
    except Exception as error:  # damaged files make pyarrow raise errors of many kinds
        raise Refused(400, f"malformed Parquet: {error}") from None
    return InferenceRequest(table.num_rows, columns)


def _check_footer(footer: Any, most_bytes: int) -> list[str]:
    """Check what a file declares; return the columns of texts. Raises Refused."""
    rows, width = footer.num_rows, footer.num_columns
    if width > MOST_COLUMNS:
        raise Refused(413, f"the file has {width} columns; at most {MOST_COLUMNS} are read")
    if rows * width > CELLS:
        raise Refused(413, f"{rows} rows of {width} columns are more than {CELLS} values; send several files")
    described = [footer.schema.column(n) for n in range(width)]
    names = [one.name for one in described]
    nested = next((one for one in described if one.max_repetition_level or one.path != one.name), None)
    if nested is not None:
        raise Refused(400, f"column '{nested.path:.60}' holds lists or records; expected a number, text or time a row")
    if len(set(names)) != len(names):
        raise Refused(400, f"the columns must have different names; found {names[:12]}")
    groups = [footer.row_group(n) for n in range(footer.num_row_groups)]
    chunks = [group.column(n) for group in groups for n in range(width)]
    unpacked = sum(max(0, chunk.total_uncompressed_size) for chunk in chunks)
    wide = max([one.length for one in described if one.physical_type == "FIXED_LEN_BYTE_ARRAY"], default=0)
    if max(unpacked, rows * wide) > most_bytes:
        raise Refused(413, f"the file holds more than {most_bytes} bytes unpacked; send the rows in several files")
    if any(chunk.num_values != group.num_rows for group in groups for chunk in (group.column(n) for n in range(width))):
        raise Refused(400, "malformed Parquet: its columns have different numbers of rows")
    return [one.name for one in described if one.physical_type == "BYTE_ARRAY"]


def _values(column: Any, name: str, left: int, most_bytes: int) -> tuple[list[Any], int]:
    """Return the values of a column, and how many bytes its texts leave of those that are allowed. Raises Refused."""
    found: list[Any] = []
    for chunk in column.chunks:
        if hasattr(chunk, "dictionary"):  # each text becomes one object, however often it stands in the column
            texts = [_plain(value, name, len(found)) for value in chunk.dictionary.to_pylist()]
            sizes = [len(text) if isinstance(text, str) else 0 for text in texts]
            for start in range(0, len(chunk), AT_ONCE):
                places = chunk.indices.slice(start, AT_ONCE).to_pylist()
                left -= sum([sizes[place] for place in places if place is not None])
                if left < 0:
                    raise Refused(413, f"the texts of the file have more than {most_bytes} characters together")
                found += [None if place is None else texts[place] for place in places]
            continue
        for start in range(0, len(chunk), AT_ONCE):
            values = chunk.slice(start, AT_ONCE).to_pylist()
            found += [_plain(value, name, row) for row, value in enumerate(values, len(found))]
    return found, left


def _plain(value: Any, name: str, row: int) -> Any:
    """Return a value as a JSON client would have sent it. Raises Refused."""
    if isinstance(value, PLAIN):
        return None if value != value else value
    if isinstance(value, date):  # a datetime is one; as text, since an integer near 1970 is taken for another unit
        time = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
        return from_micros(to_micros(time)).isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    raise Refused(400, f"column '{name:.60}', row {row}: {shown(value)} is none of a number, text, boolean or time")
