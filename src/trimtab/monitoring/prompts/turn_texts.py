"""Reads the turns and contents of prompts beside their predictions, until the window of a turn is closed.

The prediction log has the numbers of a turn. What was asked and answered, and which model answered, is in two logs of
their own, which are read to their ends before a window is closed. A small file says from where a new process must read
them: it is a hint, without which they are read from their beginning.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.llm.topics import MOST_CHARS
from trimtab.stores.predictions.contract import START, Cursor, Predictions
from trimtab.units import MICROS

log = logging.getLogger(__name__)

BLOCK_ROWS = 20_000
MARGIN = MICROS["h"]
"""The rows of a turn in the three logs are written within so much of each other."""
ANSWER = "answer"
USER = ".user"
"""End of the part of a message of the user, such as messages.2.user."""
HASHED = "hash"

Read = Callable[[Cursor, int], tuple[pa.Table, Cursor]]
Key = tuple[str, int, str]
"""Prompt, version and id of a turn."""


class TurnText(NamedTuple):
    """What the logs say of a turn in words. None: nothing, or only its hash."""

    question: str | None = None
    """The last message of the user."""
    answer: str | None = None
    reported: str | None = None
    """Model that answered, as the endpoint said."""
    hashed: bool = False
    """A text of it is kept as a hash."""


NOTHING = TurnText()


class TextPosition(msgspec.Struct, frozen=True):
    """From where one log is read again. first: id of the first row behind it; empty where there was none."""

    places: tuple[tuple[str, int, int], ...] = START.places
    first: str = ""


class TextPositions(msgspec.Struct, frozen=True):
    """The content of the file."""

    turns: TextPosition = TextPosition()
    contents: TextPosition = TextPosition()


class _Log:
    """One of both logs, from a place on."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._cursor = START
        self._start = TextPosition()
        self._blocks: deque[tuple[TextPosition, int]] = deque()
        """Where each block began, and its newest time."""

    def go_on(self, at: TextPosition) -> None:
        """Begin at a place if it is of this log."""
        table, _ = self._read(Cursor(at.places), 1)
        if at.first and table.num_rows and table["prediction_id"][0].as_py() == at.first:
            self._cursor, self._start = Cursor(at.places), at

    def blocks(self) -> Iterator[pa.Table]:
        """Yield what is new."""
        while True:
            table, after = self._read(self._cursor, BLOCK_ROWS)
            if not table.num_rows:
                return
            newest = pc.max(table["at"]).cast(pa.int64()).as_py()
            self._blocks.append((TextPosition(self._cursor.places, table["prediction_id"][0].as_py()), newest))
            self._cursor = after
            yield table

    def place(self, needed_from: int) -> TextPosition:
        """Return the place behind which all rows from a time on lie."""
        while len(self._blocks) > 1 and self._blocks[0][1] < needed_from:
            self._blocks.popleft()
        return self._blocks[0][0] if self._blocks else self._start


class TurnTexts:
    """The texts of turns whose window is open. Memory: MOST_CHARS characters of question and answer each."""

    def __init__(self, predictions: Predictions, prompts: Collection[str], path: Path | None = None) -> None:
        """prompts: names of those whose turns are read. path: of the hint; None: each process reads all."""
        self._prompts = pa.array(sorted(prompts), pa.string())
        self._path = path
        self._turns = _Log(lambda after, limit: predictions.read_turns(after, limit=limit))
        self._contents = _Log(lambda after, limit: predictions.read_contents(after, limit=limit))
        self._found: dict[Key, TurnText] = {}
        self._since: dict[Key, int] = {}
        self._written: TextPositions | None = None
        self._begin()

    def __len__(self) -> int:
        return len(self._found)

    def read(self) -> None:
        """Take in what is new in both logs."""
        for table in self._turns.blocks():
            own = self._own(table)
            for key, at, reported in _rows(own, "model_reported"):
                self._put(key, at, reported=reported)
        for table in self._contents.blocks():
            asked = pc.ends_with(table["part"], USER)
            own = self._own(table.filter(pc.or_(asked, pc.equal(table["part"], ANSWER))))
            # the last message of the user comes last, and stays
            for key, at, part, mode, text in _rows(own, "part", "mode", "text"):
                known = None if mode == HASHED or text is None else text[:MOST_CHARS]
                field = "answer" if part == ANSWER else "question"
                self._put(key, at, **{field: known, **({"hashed": True} if mode == HASHED else {})})

    def of(self, prompt: str, version: int, ids: Sequence[str]) -> list[TurnText]:
        """Return the texts of turns."""
        return [self._found.get((prompt, version, id_), NOTHING) for id_ in ids]

    def forget(self, prompt: str, version: int, ids: Sequence[str]) -> None:
        """Drop the texts of turns whose window is closed."""
        for id_ in ids:
            self._found.pop((prompt, version, id_), None)
            self._since.pop((prompt, version, id_), None)

    def drop_before(self, open_from: int, needed_from: int) -> None:
        """Drop what belongs to no turn that is still to come, and write the hint.

        open_from: the oldest `logged_at` of the turns in open windows, or of those still to come. needed_from: the same
        with the closed windows that a new process reads again. Both in microseconds.
        """
        for key in [key for key, at in self._since.items() if at < open_from - MARGIN]:
            del self._found[key], self._since[key]
        since = needed_from - MARGIN
        positions = TextPositions(self._turns.place(since), self._contents.place(since))
        if self._path is None or positions == self._written:
            return
        whole = self._path.with_suffix(f".{os.getpid()}")
        try:
            whole.write_bytes(msgspec.json.encode(positions))
            whole.replace(self._path)
            self._written = positions
        except OSError as error:  # without it the next start takes longer
            log.warning("%s cannot be written: %s", self._path, error)

    def _begin(self) -> None:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=TextPositions) if self._path else TextPositions()
        except (OSError, msgspec.DecodeError):
            found = TextPositions()
        self._turns.go_on(found.turns)
        self._contents.go_on(found.contents)

    def _own(self, table: pa.Table) -> pa.Table:
        return table.filter(pc.is_in(table["model"], value_set=self._prompts))

    def _put(self, key: Key, at: int, **values: Any) -> None:
        self._found[key] = self._found.get(key, NOTHING)._replace(**values)
        self._since[key] = at


def _rows(table: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    """Yield key and time of each row, and some of its columns."""
    keys = zip(*(table[name].to_pylist() for name in ("model", "version", "prediction_id")), strict=True)
    at = table["at"].cast(pa.int64()).to_pylist()
    for key, time, *values in zip(keys, at, *(table[name].to_pylist() for name in names), strict=True):
        yield key, time, *values


def hashed(texts: Sequence[TurnText]) -> int:
    """Return how many turns have a text that is kept as a hash."""
    return sum(text.hashed for text in texts)
