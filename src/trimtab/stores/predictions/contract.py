"""The contract of the prediction log: what was answered, and the labels that came later.

Guarantees
- When `append` or `append_labels` returns, the rows survive the death (SIGKILL) of the process. When `sync`
  returns, everything that was appended before it was called survives the death of the machine.
- A torn tail, left by a crash in the middle of a write, is dropped by readers and by later writers; every
  row that was acknowledged is there exactly once, in order of its writer. Writers are merged by the time of logging.
- Several writers a log, each by a name of its own and one process a name; any number of readers, also in other
  processes, while it is written. Appending may share a log between threads, and `sync` runs beside it.
- An append that fails raises StoreError and leaves nothing behind; the next one may succeed.
- Writing imports no pyarrow: a gateway's worker does without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa  # only readers load it

PREDICTION_FIELDS = (
    "prediction_id",
    "model",
    "version",
    "role",
    "served",
    "route",
    "revision",
    "event_time",
    "logged_at",
    "entities",
    "features",
    "score",
    "confidence",
    "latency_us",
    "cpu_us",
    "error",
)
LABEL_FIELDS = ("prediction_id", "label", "known_at", "received_at")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a log, opaque to everybody but its backend: (part, section, offset) for each part of the log."""

    places: tuple[tuple[str, int, int], ...] = ()


START = Cursor()


class Predictions(Protocol):
    """The prediction log and the label log of one project."""

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as one sequence a field of PREDICTIONS (times as int microseconds)."""
        ...

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as one sequence a field of LABELS (times as int microseconds)."""
        ...

    def sync(self) -> None:
        """Return when all that was appended before the call survives the death of the machine, or raise StoreError.

        Called from another thread than `append`, which goes on meanwhile: one sync serves many appends.
        """
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
