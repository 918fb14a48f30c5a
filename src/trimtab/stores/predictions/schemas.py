"""The Arrow schemas of the prediction log. Only readers import this: it loads pyarrow."""

from __future__ import annotations

import pyarrow as pa

PREDICTIONS = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("served", pa.bool_(), nullable=False),
        pa.field("route", pa.string(), nullable=False),
        pa.field("revision", pa.int32(), nullable=False),
        pa.field("event_time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("logged_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("entities", pa.map_(pa.string(), pa.string())),
        pa.field("features", pa.list_(pa.float32())),
        pa.field("score", pa.float64()),
        pa.field("confidence", pa.float64()),
        pa.field("latency_us", pa.int32(), nullable=False),
        pa.field("cpu_us", pa.int32(), nullable=False),
        pa.field("error", pa.string()),
    ]
)
"""One row a prediction and version. served: this row's answer went to the client; others were scored beside it, for
comparison. route: what chose the version: the split of the policy, a pin of the client, or a fallback. features: as
used, in the order of the bundle's feature list."""

LABELS = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("model", pa.string()),
        pa.field("label", pa.float64(), nullable=False),
        pa.field("known_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("received_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
"""One row a label. It belongs to the prediction of its id and model; without a model, as in rows that were written
before there was this column, to that of its id. Of several for one prediction the latest known_at counts."""

TIME_OF_LOGGING = {"predictions": "logged_at", "labels": "received_at"}
"""The column by which the rows of several writers are merged, and given up when they are old."""

SCHEMAS = {"predictions": PREDICTIONS, "labels": LABELS}

EARLIER = {"labels": pa.schema([field for field in LABELS if field.name != "model"])}
"""What earlier versions wrote: their segments are read, and lack some columns."""


def with_columns(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows as a schema has them, with null in the columns that whoever wrote them did not know."""
    for name in schema.names:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, schema.field(name).type))
    return rows.select(schema.names).cast(schema)
