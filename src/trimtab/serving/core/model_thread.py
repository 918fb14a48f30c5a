"""Scores with one bundle in a thread of its own, for models that would hold up the event loop.

While a call is under way requests gather, and go together into the next one: batches grow with the load, and no
request waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from trimtab.serving.core.in_flight import RowGroup, fair_share
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.scoring import score
from trimtab.serving.thread_batcher import ThreadBatcher

BATCH_ROWS = 1024
"""Rows of one call, when more wait."""

Take = Callable[[Sequence[RowGroup]], None]


class ModelThread:
    """One thread and the row groups that wait for it. Lives on one event loop.

    ended: gets groups whose scoring has ended, with or without scores.
    overdue: gets groups that are not scored after `limit_s`, once; `ended` gets them later all the same.
    """

    def __init__(
        self,
        bundle: LoadedBundle,
        loop: asyncio.AbstractEventLoop,
        most_rows: int,
        ended: Take,
        overdue: Take,
        limit_s: float | None = None,
    ) -> None:
        self._bundle: LoadedBundle | None = bundle
        """None when the thread has ended, so that this object does not keep the bundle from being closed."""
        self._most_rows = most_rows
        self._rows = 0
        self._closing = False
        self._tell_ended = ended
        self._overdue = overdue
        self._limit_s = limit_s
        self._loop = loop
        self._waiting: list[RowGroup] = []
        self._thread = ThreadBatcher(f"score {bundle.id}", take=self._take, run=self._score, ended=self._ended)
        self._thread.loop = loop

    @property
    def busy(self) -> bool:
        """Whether groups wait or are being scored."""
        return self._thread.busy or bool(self._waiting)

    def put(self, groups: list[RowGroup]) -> bool:
        """Score groups as soon as the thread is free; False when too many rows wait for it already."""
        if self._rows >= self._most_rows:
            return False
        self._rows += sum([group.rows for group in groups])
        self._waiting += groups
        if self._limit_s is not None:
            self._loop.call_later(self._limit_s, self._look_at, groups)
        self._thread.begin()
        return True

    def wait(self, seconds: float) -> None:
        """Block until what is being scored has ended; what takes longer than `seconds` fails."""
        self._thread.wait(seconds)

    def close(self) -> None:
        """Let the thread end when all groups that wait are scored."""
        self._closing = True
        self._end_if_closing()

    def _end_if_closing(self) -> None:
        if self._closing and not self.busy:
            self._thread.close()
            self._bundle = None

    def _take(self) -> tuple[list[RowGroup], bool] | None:
        if any(group.request.outcome.abandoned for group in self._waiting):
            self._rows -= sum([group.rows for group in self._waiting if group.request.outcome.abandoned])
            self._waiting = [group for group in self._waiting if not group.request.outcome.abandoned]
        if not self._waiting:
            return None
        taken, self._waiting = fair_share(self._waiting, BATCH_ROWS)
        return taken, False

    def _score(self, groups: Sequence[RowGroup]) -> None:
        assert self._bundle is not None  # it closes when nothing waits
        with np.errstate(over="ignore"):
            score(self._bundle, groups)

    def _ended(self, groups: list[RowGroup], error: BaseException | None) -> None:
        if error is not None:
            for group in groups:
                group.fail(500, f"the gateway failed: {type(error).__name__}")
        self._rows -= sum([group.rows for group in groups])
        self._thread.begin()
        self._end_if_closing()
        self._tell_ended(groups)

    def _look_at(self, groups: Sequence[RowGroup]) -> None:
        late = [group for group in groups if group.served and group.scores is None and group.error is None]
        if late:
            self._overdue(late)
