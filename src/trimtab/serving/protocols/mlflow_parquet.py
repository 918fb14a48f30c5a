"""Rows in a Parquet file, as MLflow's scoring server takes them. Called by mlflow, on the first such request.

pyarrow is imported here alone, and only then: a worker that is not asked for Parquet stays small.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from importlib import import_module
from typing import Any

from trimtab.clock import from_micros, to_micros
from trimtab.serving.requests import InferenceRequest, Refused, shown

CELLS = 1_000_000
"""Most values of one file: a small file may unpack to very many."""
INDEX = "__index_level_"
"""How pandas calls the columns of an index without a name; they are no request columns."""
PLAIN = (str, int, float, bool, type(None))


def decode(body: bytes) -> InferenceRequest:
    """Read a Parquet file. Raises Refused (501 when pyarrow is not installed)."""
    try:
        pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise Refused(501, "Parquet needs pyarrow, which is not installed here: pip install pyarrow") from None
    try:
        file = parquet.ParquetFile(pa.BufferReader(body))
        rows, names = file.metadata.num_rows, file.schema_arrow.names
        if rows * len(names) > CELLS:
            raise Refused(413, f"{rows} rows of {len(names)} columns are more than {CELLS} values; send several files")
        if len(set(names)) != len(names):
            raise Refused(400, f"the columns must have different names; found {names[:12]}")
        table = file.read(use_threads=False)
        columns = {
            name: [_plain(value, name, row) for row, value in enumerate(table[name].to_pylist())]
            for name in names
            if not name.startswith(INDEX)
        }
    except Refused:
        raise
    except Exception as error:  # damaged files make pyarrow raise errors of many kinds
        raise Refused(400, f"malformed Parquet: {error}") from None
    return InferenceRequest(rows, columns)


def _plain(value: Any, name: str, row: int) -> Any:
    """Return a value as a JSON client would have sent it. Raises Refused."""
    if isinstance(value, PLAIN):
        return None if value != value else value
    if isinstance(value, date):  # a datetime is one; as text, since an integer near 1970 is taken for another unit
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
        return from_micros(to_micros(moment)).isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    raise Refused(400, f"column '{name:.60}', row {row}: {shown(value)} is none of a number, text, truth or moment")
