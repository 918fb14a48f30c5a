"""Counts the rows that wait to be scored, and refuses requests when there are too many."""

from __future__ import annotations

from trimtab.serving.core.worker_metrics import Metrics
from trimtab.serving.requests import Refused

LONG = 2
"""How many requests of the largest size may be under way at once."""
RETRY_AFTER_S = 1


class Admission:
    """Rows that wait. Those of long requests are counted apart, so that short requests are taken meanwhile."""

    def __init__(self, metrics: Metrics, *, most_rows: int, most_request_rows: int) -> None:
        self._metrics = metrics
        self._most_rows = most_rows
        self._most_long_rows = LONG * max(most_request_rows, most_rows)
        self._rows = self._long_rows = 0

    def reserve(self, rows: int) -> None:
        """Count rows of a short request as waiting. Raises Refused (503) when too many wait already."""
        if self._rows >= self._most_rows:
            raise self._shed(self._rows)
        self._rows += rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def release(self, rows: int) -> None:
        """Count rows of a short request as waiting no more."""
        self._rows -= rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def reserve_long(self, rows: int) -> None:
        """Count the rows of a long request as waiting. Raises Refused (503) when too many wait already."""
        if self._long_rows + rows > self._most_long_rows:
            raise self._shed(self._long_rows)
        self._long_rows += rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def release_long(self, rows: int) -> None:
        """Count the rows of a long request as waiting no more."""
        self._long_rows -= rows
        self._metrics.rows_waiting = self._rows + self._long_rows

    def _shed(self, rows: int) -> Refused:
        self._metrics.shed += 1
        return Refused(503, f"{rows} rows wait already; try again later", retry_after=RETRY_AFTER_S)
