"""Rows of a table as requests of the Open Inference Protocol: one request a row."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import polars as pl

from trimtab.definitions.models import Model

ISO_8601 = "%Y-%m-%dT%H:%M:%S%.6fZ"
TYPES = {pl.String: "BYTES", pl.Float64: "FP64", pl.Float32: "FP32", pl.Boolean: "BOOL"}


def request_bodies(model: Model, frame: pl.DataFrame, ids: Sequence[str]) -> list[bytes]:
    """Return the JSON of one request for each row.

    Args:
        model: the model.
        frame: rows of its examples, with its request columns and the timestamp.
        ids: id of each request.
    """
    names = list(dict.fromkeys((*model.request_columns, model.examples.timestamp)))
    columns, types = [], []
    for name in names:
        series = frame[name]
        if isinstance(series.dtype, pl.Datetime | pl.Date):  # as text: integers near 1970 are refused
            series, kind = series.cast(pl.Datetime("us")).dt.strftime(ISO_8601), "BYTES"
        elif isinstance(series.dtype, pl.Decimal):
            exact = name in model.features and model.type_of(name, "decimal") == "decimal"
            series, kind = (series.cast(pl.String), "BYTES") if exact else (series.cast(pl.Float64), "FP64")
        else:
            kind = next((t for d, t in TYPES.items() if series.dtype == d), "INT64")
        columns.append(series.to_list())
        types.append(kind)
    return [
        msgspec.json.encode(
            {
                "id": id_,
                "inputs": [
                    {"name": name, "shape": [1], "datatype": kind, "data": [value]}
                    for name, kind, value in zip(names, types, row, strict=True)
                ],
            }
        )
        for id_, row in zip(ids, zip(*columns, strict=True), strict=True)
    ]
