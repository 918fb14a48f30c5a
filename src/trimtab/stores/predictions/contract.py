"""The contract of the prediction log: what was answered, and the labels that came later.

Guarantees
- When `sync` returns, everything that was appended before it was called survives the death of the machine, and every
  reader sees it. In the embedded log that is so for the death (SIGKILL) of the process when `append` returns.
- A torn tail, left by a crash in the middle of a write, is dropped by readers and by later writers; every
  row that was acknowledged is there exactly once, in order of its writer. Writers are merged by the time of logging.
- Several writers a log, each by a name of its own and one process a name; any number of readers, also in other
  processes, while it is written. Appending may share a log between threads, and `sync` runs beside it.
- An append that fails raises StoreError and leaves nothing behind; the next one may succeed.
- Writing imports no pyarrow: a gateway's worker does without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from trimtab.errors import StoreError
from trimtab.stores.faults import Fault

if TYPE_CHECKING:
    import pyarrow as pa  # only readers load it

COLUMNS: dict[str, dict[str, str]] = {
    "predictions": {
        "prediction_id": "text",
        "model": "text",
        "version": "int32",
        "role": "text",
        "served": "bool",
        "route": "text",
        "revision": "int32",
        "event_time": "time",
        "logged_at": "time",
        "entities": "pairs?",
        "features": "vector?",
        "score": "float64?",
        "confidence": "float64?",
        "latency_us": "int32",
        "cpu_us": "int32",
        "error": "text?",
    },
    "labels": {
        "prediction_id": "text",
        "model": "text?",
        "label": "float64",
        "known_at": "time",
        "received_at": "time",
    },
}
"""The columns of each kind of rows, with their types; "?": may be null.

Predictions: one row a prediction and version. served: this row's answer went to the client; other rows were scored for
comparison. route: what chose the version: the split of the policy, a pin of the client, or a fallback. features: as
used, in the order of the bundle's feature list.

Labels: one row a label. model is null in rows that were written before labels had this column. label_rule says to which
prediction a label belongs, and which of several counts.
"""

PREDICTION_FIELDS = tuple(COLUMNS["predictions"])
LABEL_FIELDS = tuple(COLUMNS["labels"])
_WRITER = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a log, opaque to everybody but its backend: (part, section, offset) for each part of the log."""

    places: tuple[tuple[str, int, int], ...] = ()


START = Cursor()


@dataclass(frozen=True, slots=True)
class Count:
    """The rows of a log."""

    predictions: int = 0
    labels: int = 0


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """What one compaction did, and why no more."""

    segments: int = 0
    rows: int = 0
    """Rows that moved into the tables."""
    files_removed: int = 0
    rows_dropped: int = 0
    """Rows given up since they are older than what is kept."""
    damaged: int = 0
    """Damaged stretches met; the files that have them are kept, set aside."""
    reason: str = ""


class Predictions(Protocol):
    """The prediction log and the label log of one project."""

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as one sequence a field of PREDICTIONS (times as int microseconds)."""
        ...

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as one sequence a field of LABELS (times as int microseconds).

        A label joins the prediction of its id and model. Name the model: None joins by the id alone.
        """
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

    def tail(self, rows: int) -> Cursor:
        """Return a cursor behind which the newest predictions come: at least `rows`, or all where there are less."""
        ...

    def count(self) -> Count:
        """Return how many rows can be read."""
        ...

    def find(self, prediction_id: str) -> list[dict[str, Any]]:
        """Return the newest predictions of an id, as rows in the order of writing; empty when there are none.

        Rows of one id lie close together. Those of an id that was used again much later are passed over.
        """
        ...

    def find_labels(self, prediction_id: str) -> list[dict[str, Any]]:
        """Return all labels of an id, of whatever model, in the order of writing."""
        ...

    def compact(self, *, grace_s: float, keep_s: float) -> Compaction:
        """Bring older rows into the form that is best for keeping, and give up those logged `keep_s` ago or earlier.

        Cursors stay good. grace_s: what was written so recently keeps its form. Safe to call at any time and to kill.
        """
        ...

    def check(self) -> Sequence[Fault]:
        """Read all that the store holds, and return what is wrong with it; nothing is changed. Raises StoreError."""
        ...

    def close(self) -> None:
        """Close the segments that are being written."""
        ...


def check_writer(name: str) -> str:
    """Return the name of a writer. Raises StoreError for one that cannot be part of a file name."""
    if not _WRITER.fullmatch(name):
        raise StoreError(f"'{name}' is no name for a writer of the prediction log: expected letters, digits and '_'")
    return name
