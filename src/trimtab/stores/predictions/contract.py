"""The contract of the prediction log: what was answered, and the labels that came later.

Guarantees
- When `append` or `append_labels` returns, the rows survive the death (SIGKILL) of the process.
- A torn tail, left by a crash in the middle of a write, is dropped by readers and by later writers; every
  row that was acknowledged is there exactly once.
- One writing process a log; any number of readers, also in other processes, while it is written.
- Rows come back in the order they were written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

PREDICTIONS = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("served", pa.bool_(), nullable=False),
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
"""One row a prediction and version. served: this row's answer went to the client; others were scored
beside it, for comparison. features: as used, in the order of the bundle's feature list."""

LABELS = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("label", pa.float64(), nullable=False),
        pa.field("known_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("received_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
"""One row a label. Of several for one prediction the latest known_at counts."""


class Cursor(NamedTuple):
    """A place in a log: name of the segment and byte offset. The start is Cursor("", 0)."""

    segment: str
    offset: int


START = Cursor("", 0)


class Predictions(Protocol):
    """The prediction log and the label log of one project."""

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as one sequence a field of PREDICTIONS (times as int microseconds)."""
        ...

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as one sequence a field of LABELS (times as int microseconds)."""
        ...

    def read(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        """Return the predictions after a cursor (about `limit` rows at most) and the cursor behind them."""
        ...

    def read_labels(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        """Return the labels after a cursor and the cursor behind them."""
        ...

    def close(self) -> None:
        """Close the segments that are being written."""
        ...
