"""The contract of the prediction log: what was answered, the labels that came later, and the turns of prompts.

Guarantees
- When `sync` returns, all rows that were appended before it was called survive a crash of the machine, and every reader
  sees them. In the embedded log, rows survive the death of the process (SIGKILL) as soon as `append` returns.
- Readers and later writers drop a torn tail, which a crash in the middle of a write leaves. Every acknowledged row is
  read exactly once. Rows of one writer keep their order; several writers are merged by the time of logging.
- A log has several writers: each has a name of its own, and one process at a time writes under a name. Any number of
  readers, also in other processes, read while it is written. Threads may share a log; `sync` runs next to `append`.
- An append that fails raises StoreError and leaves nothing in the log; the next one may succeed.
- Writing does not load pyarrow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

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
        "probabilities": "doubles?",
        "typed": "bytes?",
    },
    "labels": {
        "prediction_id": "text",
        "model": "text?",
        "label": "float64?",
        "known_at": "time",
        "received_at": "time",
        "class_name": "text?",
        "name": "text?",
        "source": "text?",
        "rater": "text?",
    },
    "turns": {
        "prediction_id": "text",
        "model": "text",
        "version": "int32",
        "at": "time",
        "purpose": "text",
        "endpoint": "text",
        "upstream_model": "text",
        "model_reported": "text?",
        "input_tokens": "int32",
        "cached_tokens": "int32",
        "cache_write_tokens": "int32",
        "output_tokens": "int32",
        "reasoning_tokens": "int32",
        "usage": "text",
        "cost_pico": "int64",
        "price_version": "text?",
        "first_token_us": "int32?",
        "finish_reason": "text?",
        "stream": "bool",
        "format_ok": "bool?",
        "refused": "bool",
        "tool_calls": "int32",
        "cache_hit": "bool",
        "attempts": "int32",
        "fell_back_from": "text?",
        "document_ids": "texts?",
    },
    "contents": {
        "prediction_id": "text",
        "model": "text",
        "version": "int32",
        "at": "time",
        "part": "text",
        "mode": "text",
        "text": "text?",
        "chars": "int32",
        "key_id": "text?",
        "user": "text?",
        "conversation": "text?",
    },
}
"""The columns of each kind of rows, with their types; "?": may be null.

Predictions: one row a prediction and version. served: this row's answer went to the client; other rows were scored for
comparison. route: what chose the version: the split of the policy, a pin of the client, or a fallback. features: as
used, in the order of the bundle's feature list. probabilities: of each class of a multiclass model, in the order of its
version's classes; score is then that of the predicted class. typed: the exact values of features that are no plain
numbers, a MessagePack array in the order of the bundle's typed features (bundle/typed_packing.py).

Labels: one row a label. model is null in rows that were written before labels had this column. class_name: the label of
a multiclass model, whose `label` is null. label_rule says to which prediction a label belongs, and which of several
counts. Labels of turns have three more columns. name: `thumbs`, `edited`, `judge:NAME@VERSION` or `human:NAME`. source:
`user`, `judge` or `person`. They are for the answer that the client got; for that of a shadow, `prediction_id` is
`label_rule.answer_id`. rater: who gave it, as a keyed hash or a name. Their `label` says how bad the turn is, from
0 to 1.

Turns: one row a turn of a prompt and version, in addition to its prediction, which has the same id. at: when it was
logged. purpose: `serve`, `shadow`, `judge`, `eval` or `tune`. usage: how the tokens are known
(`llm.completion.UsageKind`). cost_pico: 1e-12 of the currency. first_token_us: null where no token came. format_ok:
null where the prompt has no schema. fell_back_from: endpoint and model that failed before.

Contents: one row a part of a turn. part: `messages.0.system` (place and role), `answer`, `reasoning`, `tool_calls`,
`variables.NAME`, `documents.ID`, `error`. mode: `full`, `masked` or `hash`. text: in mode `hash` the HMAC-SHA256 of the
text, whose key is `key_id`. chars: length of the original. user, conversation: keyed hashes, by which text is erased.
"""
ADDED: dict[str, tuple[str, ...]] = {
    "predictions": ("probabilities", "typed"),
    "labels": ("class_name", "name", "source", "rater"),
    "turns": (),
    "contents": (),
}
"""The last columns of each kind, which earlier releases did not write. An append may leave them out. They are null
then, and in older rows."""

PREDICTION_FIELDS = tuple(COLUMNS["predictions"])
LABEL_FIELDS = tuple(COLUMNS["labels"])
TURN_FIELDS = tuple(COLUMNS["turns"])
CONTENT_FIELDS = tuple(COLUMNS["contents"])
ErasedBy = Literal["prediction_id", "user", "conversation"]
"""Columns of contents by which text is erased."""
_WRITER = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a log: (part, section, offset) for each part of the log. Only the backend interprets it."""

    places: tuple[tuple[str, int, int], ...] = ()


START = Cursor()


@dataclass(frozen=True, slots=True)
class Count:
    """The rows of a log."""

    predictions: int = 0
    labels: int = 0
    turns: int = 0
    contents: int = 0
    """Those that were erased count until compaction has deleted them."""


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """What one compaction did, and the reason where it did nothing."""

    segments: int = 0
    rows: int = 0
    """Rows that moved into the tables."""
    files_removed: int = 0
    rows_dropped: int = 0
    """Rows that were deleted because they are older than what is kept."""
    damaged: int = 0
    """Damaged byte ranges that were found; files that have one are kept under another name."""
    reason: str = ""


class Predictions(Protocol):
    """The prediction log and the label log of one project.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from trimtab.stores.catalog import open_predictions
    >>> folder = TemporaryDirectory()
    >>> log = open_predictions(None, Path(folder.name))
    >>> columns = {"prediction_id": ["a"], "model": ["delay"], "label": [1.0], "known_at": [0], "received_at": [0]}
    >>> log.append_labels(columns)
    >>> log.sync()
    >>> labels, cursor = log.read_labels()
    >>> labels["label"].to_pylist()
    [1.0]
    >>> log.read_labels(cursor)[0].num_rows
    0
    >>> log.close()
    """

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as one sequence for each of PREDICTION_FIELDS (times as int microseconds since 1970).

        Those in ADDED may be left out. Raises DataError naming the column that does not fit, or StoreError; then no row
        is appended.
        """
        ...

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as one sequence for each of LABEL_FIELDS (times as int microseconds since 1970).

        Those in ADDED may be left out. A label whose model is None belongs to the predictions of its id in every model.
        """
        ...

    def append_turns(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as one sequence for each of TURN_FIELDS (times as int microseconds since 1970)."""
        ...

    def append_contents(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as one sequence for each of CONTENT_FIELDS (times as int microseconds since 1970)."""
        ...

    def sync(self) -> None:
        """Return when all rows that were appended before the call survive a crash of the machine, or raise StoreError.

        Another thread may append meanwhile, so that one sync serves many appends.
        """
        ...

    def read(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        """Return the predictions after a cursor (about `limit` rows at most) and the cursor behind them."""
        ...

    def read_labels(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        """Return the labels after a cursor and the cursor behind them."""
        ...

    def read_turns(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        """Return the turns after a cursor and the cursor behind them."""
        ...

    def read_contents(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        """Return the contents after a cursor and the cursor behind them, without those that were erased."""
        ...

    def tail(self, rows: int) -> Cursor:
        """Return a cursor behind which the newest predictions lie: at least `rows`, or all where there are fewer."""
        ...

    def count(self) -> Count:
        """Return how many rows can be read."""
        ...

    def find(self, prediction_id: str) -> list[dict[str, Any]]:
        """Return the newest predictions of an id, as rows in the order of writing; empty when there are none.

        The search ends behind the newest group of neighbouring segments that have the id. So an id that was used again
        much later is found in its newest rows only.
        """
        ...

    def find_labels(self, prediction_id: str) -> list[dict[str, Any]]:
        """Return all labels of an id, of all models, in the order of writing."""
        ...

    def find_turns(self, prediction_id: str) -> list[dict[str, Any]]:
        """Return the newest turns of an id, as `find` returns predictions."""
        ...

    def find_contents(self, prediction_id: str) -> list[dict[str, Any]]:
        """Return the newest contents of an id that were not erased, as `find` returns predictions."""
        ...

    def erase_contents(self, by: ErasedBy, value: str) -> int:
        """Erase the text that was logged until now of one turn, user or conversation; return how many rows had it.

        No reader finds it from now on. Compaction deletes its bytes. Turns, predictions and labels stay.
        """
        ...

    def compact(self, *, grace_s: float, keep_s: float, contents_s: float | None = None) -> Compaction:
        """Move older rows into the form in which they are kept, and delete rows that were logged before `keep_s` ago.

        Cursors stay valid. grace_s: rows that were written within so many seconds are not moved. contents_s: contents
        that were logged before so many seconds are deleted; None: with the other rows. May be called at any time, and
        killed at any time.
        """
        ...

    def check(self) -> Sequence[Fault]:
        """Read the whole store and return what is wrong with it, without changing anything. Raises StoreError."""
        ...

    def close(self) -> None:
        """Finish writing, and let another process write under this name."""
        ...


def check_writer(name: str) -> str:
    """Return the name of a writer. Raises StoreError for one that cannot be part of a file name."""
    if not _WRITER.fullmatch(name):
        raise StoreError(f"'{name}' is no name for a writer of the prediction log: expected letters, digits and '_'")
    return name
