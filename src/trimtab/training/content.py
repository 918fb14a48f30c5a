"""The content hash of a dataset: over values, not over file bytes. Called by dataset.py.

Parquet bytes differ between library versions; these do not: column after column, in the order of
names given, as little-endian values with a mask of nulls.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl


def content_hash(frame: pl.DataFrame, columns: Sequence[str], header: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a header of plain values and of `columns` of `frame`, rows in order."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode())
    for name in columns:
        column = frame[name]
        digest.update(f"\n{name}:{_kind(column.dtype)}:{len(column)}\n".encode())
        digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
        for part in _parts(column):
            digest.update(part)
    return digest.hexdigest()


def _kind(dtype: pl.DataType) -> str:
    if dtype.is_float():
        return "f4" if dtype == pl.Float32 else "f8"
    if dtype.is_integer() or dtype.is_temporal() or dtype == pl.Boolean:
        return "i8"
    return "text"


def _parts(column: pl.Series) -> list[bytes]:
    kind = _kind(column.dtype)
    if kind == "text":
        text = column.cast(pl.String).fill_null("")
        sizes = text.str.len_bytes().cast(pl.Int64).to_numpy()
        return [sizes.astype("<i8").tobytes(), "".join(text.to_list()).encode()]
    if kind == "i8":
        return [column.cast(pl.Int64).fill_null(0).to_numpy().astype("<i8").tobytes()]
    values = column.fill_null(0.0).to_numpy().astype(f"<{kind}") + 0.0  # -0.0 becomes 0.0
    values[np.isnan(values)] = np.nan  # one NaN of the many
    return [values.tobytes()]
