"""The conversations that a champion and a challenger of a prompt share, and which of them have a bad event.

Read from the prediction log and the label log alone, in event time. A conversation belongs to the version that the
split gave its first turn to since the comparison began, whatever answered later (intention to treat): a turn that a
fallback answers counts for the version that failed. Pinned turns and shadows do not count. Its bad event is the first
one that became known; a later correction does not take it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.stores.predictions.contract import START, Cursor, Predictions
from trimtab.stores.predictions.label_rule import of_model

ROWS_AT_ONCE = 100_000
ROLES = ("champion", "challenger")


@dataclass(slots=True)
class Conversation:
    """A conversation. Times in microseconds since 1970."""

    key: str
    first: int
    """Event time of its first turn in the comparison."""
    in_challenger: bool
    revision: int
    """By which its first turn was split."""
    user: str | None
    turns: int = 1
    bad_at: int | None = None
    """When its first bad event became known."""


class SplitTraffic:
    """What the logs say of one comparison."""

    def __init__(self, predictions: Predictions, prompt: str, metric: str, first_revision: int) -> None:
        """metric: the bad event, as `llm.promote.metric`. first_revision: by which the comparison began."""
        self._predictions = predictions
        self._prompt = prompt
        self._metric = metric
        self._first_revision = first_revision
        self.conversations: dict[str, Conversation] = {}
        self.reached = 0
        """Largest event time of a turn of the comparison."""
        self.bad_events = 0
        """Conversations with a bad event."""
        self._key_of: dict[str, str] = {}
        """Turn -> conversation."""
        self._waiting: dict[str, int] = {}
        """Turn that was not read yet -> when its first bad event became known."""
        self._turns, self._labels = START, START

    def read(self) -> bool:
        """Read what is new; return True if a turn of the comparison, or a bad event, was. Raises StoreError."""
        # labels first: the turn of each of them is in the log by then
        found = False
        for table, place in _rows(self._predictions.read_labels, self._labels):
            found |= self._take_labels(table)
            self._labels = place
        for table, place in _rows(self._predictions.read, self._turns):
            found |= self._take_turns(table)
            self._turns = place
        if self.conversations and self._waiting:  # labels of turns before the comparison
            begun = min(each.first for each in self.conversations.values())
            self._waiting = {turn: at for turn, at in self._waiting.items() if at >= begun}
        return found

    def _take_labels(self, table: pa.Table) -> bool:
        mine = of_model(table, self._prompt, {self._prompt: self._metric})
        bad = mine.filter(pc.equal(mine["label"], 1.0))
        times = bad["known_at"].cast(pa.int64()).to_pylist()
        for turn, at in zip(bad["prediction_id"].to_pylist(), times, strict=True):
            if (key := self._key_of.get(turn)) is not None:
                self._note(self.conversations[key], at)
            else:
                self._waiting[turn] = min(at, self._waiting.get(turn, at))
        return bool(bad.num_rows)

    def _take_turns(self, table: pa.Table) -> bool:
        chosen = pc.and_(pc.equal(table["model"], self._prompt), pc.equal(table["route"], "split"))
        chosen = pc.and_(chosen, pc.greater_equal(table["revision"], self._first_revision))
        chosen = pc.and_(chosen, pc.is_in(table["role"], value_set=pa.array(ROLES)))
        mine = table.filter(chosen)
        if not mine.num_rows:
            return False
        columns = [mine[name].to_pylist() for name in ("prediction_id", "role", "revision")]
        columns.append(mine["event_time"].cast(pa.int64()).to_pylist())
        entities = mine["entities"].combine_chunks()
        columns += [_entity(entities, name) for name in ("conversation", "user")]
        for turn, role, revision, at, conversation, user in zip(*columns, strict=True):
            self._add(turn, role == "challenger", revision, at, conversation or turn, user)
        return True

    def _add(self, turn: str, in_challenger: bool, revision: int, at: int, key: str, user: str | None) -> None:
        known = self.conversations.get(key)
        if known is None:
            known = Conversation(key=key, first=at, in_challenger=in_challenger, revision=revision, user=user)
            self.conversations[key] = known
        else:
            known.turns += turn not in self._key_of
            if at < known.first:  # several writers: the order of the log is not that of event time
                known.first, known.in_challenger, known.revision = at, in_challenger, revision
        self._key_of[turn] = key
        self.reached = max(self.reached, at)
        if (bad_at := self._waiting.pop(turn, None)) is not None:
            self._note(known, bad_at)

    def _note(self, conversation: Conversation, at: int) -> None:
        if conversation.bad_at is None:
            self.bad_events += 1
        conversation.bad_at = at if conversation.bad_at is None else min(at, conversation.bad_at)


def _entity(entities: pa.MapArray, name: str) -> list[str | None]:
    """Return the value of one entity of each row, None where it has none."""
    found: list[str | None] = [None] * len(entities)
    ends = entities.offsets.to_numpy()
    chosen = pc.indices_nonzero(pc.equal(entities.keys, name)).to_numpy()
    rows = np.searchsorted(ends, chosen, side="right") - 1
    for row, value in zip(rows.tolist(), entities.items.take(chosen).to_pylist(), strict=True):
        if 0 <= row < len(found):
            found[row] = value
    return found


def _rows(read: Callable[..., tuple[pa.Table, Cursor]], cursor: Cursor) -> Iterator[tuple[pa.Table, Cursor]]:
    """Yield the tables behind a cursor, each with the cursor behind it."""
    while True:
        table, cursor = read(cursor, limit=ROWS_AT_ONCE)
        if not table.num_rows:
            return
        yield table, cursor
