"""The prediction log of a simulated world, in memory: rows come as tables, and a monitor reads them in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from trimtab.errors import StoreError
from trimtab.stores.faults import Fault
from trimtab.stores.predictions.arrow_rows import empty_table, schema_of, with_columns
from trimtab.stores.predictions.contract import START, Compaction, Count, Cursor, Predictions
from trimtab.stores.predictions.null import NoTurns

PART = "memory"
NO_VERB = "the log of a simulated world is read from one end to the other"


class _Tables:
    """Tables in order. Those that were read are let go: a reader asks for each once."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.rows = 0
        self._tables: dict[int, pa.Table] = {}
        self._next = 0

    def add(self, table: pa.Table) -> None:
        if table.num_rows:
            self._tables[self._next] = table
            self._next += 1
            self.rows += table.num_rows

    def read(self, after: Cursor) -> tuple[pa.Table, Cursor]:
        number = after.places[0][1] if after.places else 0
        for old in [n for n in self._tables if n < number - 1]:
            del self._tables[old]
        if number >= self._next:
            return empty_table(self.kind), after
        return self._tables[number], Cursor(((PART, number + 1, 0),))


class MemoryPredictions(NoTurns):
    """The log of one world. `extend` and `extend_labels` take Arrow tables of the contract's columns."""

    def __init__(self) -> None:
        self._predictions, self._labels = _Tables("predictions"), _Tables("labels")

    def extend(self, table: pa.Table) -> None:
        """Append predictions."""
        self._predictions.add(table)

    def extend_labels(self, table: pa.Table) -> None:
        """Append labels."""
        self._labels.add(table)

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append predictions, given as one sequence for each of PREDICTION_FIELDS."""
        self.extend(_table(columns, "predictions"))

    def append_labels(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append labels, given as one sequence for each of LABEL_FIELDS."""
        self.extend_labels(_table(columns, "labels"))

    def sync(self) -> None:
        """Do nothing: readers see what was appended."""

    def read(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        """Return the next table of predictions, whole, whatever the limit."""
        return self._predictions.read(after)

    def read_labels(self, after: Cursor = START, *, limit: int | None = None) -> tuple[pa.Table, Cursor]:
        """Return the next table of labels, whole, whatever the limit."""
        return self._labels.read(after)

    def tail(self, rows: int) -> Cursor:
        """Raise StoreError."""
        raise StoreError(NO_VERB)

    def count(self) -> Count:
        """Return how many rows were appended."""
        return Count(predictions=self._predictions.rows, labels=self._labels.rows)

    def find(self, prediction_id: str) -> list[dict[str, Any]]:
        """Raise StoreError."""
        raise StoreError(NO_VERB)

    def find_labels(self, prediction_id: str) -> list[dict[str, Any]]:
        """Raise StoreError."""
        raise StoreError(NO_VERB)

    def compact(self, *, grace_s: float, keep_s: float, contents_s: float | None = None) -> Compaction:
        """Do nothing."""
        return Compaction(reason="nothing is on disk")

    def check(self) -> Sequence[Fault]:
        """Return no fault: there is no file."""
        return []

    def close(self) -> None:
        """Do nothing."""


def _table(columns: Mapping[str, Sequence[Any]], kind: str) -> pa.Table:
    schema = schema_of(kind)
    given = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    return with_columns(pa.table(given), schema)


_: type[Predictions] = MemoryPredictions
