"""The public drift monitor: a reference, then one window after the other, of any table library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from trimtab.app.drift.fitted_reference import FittedReference, fit_reference
from trimtab.app.drift.given_frames import lazy_frame
from trimtab.app.drift.watched_columns import SchemaChange, leaves, schema_changes
from trimtab.errors import DataError, UsageError
from trimtab.stats.sequential import HORIZON
from trimtab.stats.step import ColumnDrift, DriftStep
from trimtab.units import micros

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class WindowDrift:
    """What `DriftMonitor.step` says of one window."""

    drift: bool
    """The sequential p-value is below the level, or a column is gone or has become another kind of value."""
    p: float
    """p-value of this window alone: 1 in 20 ordinary windows is below 0.05."""
    p_seq: float
    """Sequential p-value: the chance that it is ever below a within the horizon is at most a."""
    tested: bool
    """False: the window has too few rows and will be judged together with the next one."""
    columns: tuple[ColumnDrift, ...]
    """Each column with its p, effect sizes and shares; see `trimtab.stats.step`."""
    named: tuple[str, ...]
    """Columns that differ from the reference windows in this window (Holm's p below 0.05)."""
    top: tuple[str, ...]
    """The three columns that differ most."""
    schema: tuple[SchemaChange, ...]
    """How its columns differ from those of the reference."""
    rows: int
    reference_windows: int
    """Windows that it was compared with."""
    reason: str


class DriftMonitor:
    """Judges windows of rows, one after the other, by the differences between the windows of a reference.

    Rows of one day, batch or customer resemble one another. So windows are compared with windows: a p-value says how
    rarely an ordinary window of the reference would differ as much from the others. `p_seq` holds however many windows
    are judged, up to `horizon`.

    A table is a pandas or Polars frame, a Polars lazy frame, a pyarrow table or record batch, or a mapping of column
    name to a one-dimensional array. Numbers, dates and times are compared by order, text and booleans as categories,
    of a list its length, of a struct its fields. A monitor can be pickled between two windows.

    Args:
        reference: a table of ordinary rows in the order in which they came, or a sequence of tables, each one window.
        timestamp: column with the time of a row. Without it, windows are blocks of consecutive rows.
        window: length of a window: a duration such as "1d" with a timestamp, rows such as 500 without one. None takes
            the longest of 1d, 6h, 1h, 10m and 1m that gives 30 windows, or 60 equal blocks of rows. Windows given to
            `step` should be as long.
        columns: compare only these; None compares all but those that rise or fall from window to window, as clocks do.
        categories: columns whose numbers are codes.
        level: `drift` is told when p_seq is below it.
        horizon: windows within which the promise of `p_seq` holds.
        seed: of what is random (bins of large references, ties between ranks); equal seeds give equal results.

    Raises:
        DataError: the reference has too few rows or windows (fewer than three; 30 are needed to act on the result), or
            is no table.
        UsageError: a name is no column; names the nearest.

    >>> import numpy as np
    >>> random = np.random.default_rng(7)
    >>> def rows(n, age=40):
    ...     return {"age": random.normal(age, 10, n), "plan": random.choice(["free", "paid"], n)}
    >>> monitor = DriftMonitor(rows(12_000))  # 60 windows of 200 rows
    >>> monitor.step(rows(200)).drift
    False
    >>> for _ in range(4):
    ...     found = monitor.step(rows(200, age=46))
    >>> found.drift, found.named
    (True, ('age',))
    """

    def __init__(
        self,
        reference: Any,
        *,
        timestamp: str | None = None,
        window: str | int | None = None,
        columns: Sequence[str] | None = None,
        categories: Sequence[str] = (),
        level: float = LEVEL,
        horizon: int = HORIZON,
        seed: int = 0,
    ) -> None:
        """Read the reference."""
        if not 0 < level < 1:
            raise UsageError(f"level is {level}, expected more than 0 and less than 1, such as {LEVEL}")
        length, rows = _length(window, timestamp)
        frame, parts = _reference(reference)
        self._level = level
        self._reference: FittedReference = fit_reference(
            "the reference",
            frame,
            timestamp=timestamp if parts is None else None,
            window=length,
            rows=rows,
            parts=parts,
            columns=columns,
            categories=categories,
            seed=seed,
        )
        self._without = {timestamp} if timestamp else set()
        self._all = columns is None
        self._detector = self._reference.detector(horizon=horizon, seed=seed)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are compared."""
        return tuple(column.name for column in self._reference.columns)

    @property
    def left_out(self) -> dict[str, str]:
        """Columns of the reference that are not compared, with the reason."""
        return dict(self._reference.left_out)

    @property
    def reference_windows(self) -> int:
        """Windows of the reference; p-values are rough below 30."""
        return self._detector.reference_windows

    def step(self, window: Any) -> WindowDrift:
        """Judge the next window.

        Args:
            window: a table with the columns of the reference. An absent column counts as missing in every row.

        Returns:
            What was found; `drift` is the verdict.

        Raises:
            DataError: it is no table, or has no rows.
        """
        frame = lazy_frame(window)
        schema = leaves(frame.collect_schema())
        found = self._reference.profile(self._reference.table("the window", frame, schema, None))
        if not found.rows:
            raise DataError("the window has no rows; wait until it has some")
        changes = schema_changes(self._reference.leaves, schema, without=self._without)
        if not self._all:
            changes = tuple(change for change in changes if change.column in self.columns)
        return _result(self._detector.step(found.total), changes, self._level)


def _reference(reference: Any) -> tuple[pl.LazyFrame, list[int] | None]:
    """Return the rows of a reference, and the rows of each window where windows are given."""
    if not isinstance(reference, list | tuple):
        return lazy_frame(reference, what="the reference"), None
    if not reference:
        raise DataError("the reference is an empty sequence: expected windows")
    frames = [lazy_frame(each, what=f"reference window {n}").collect() for n, each in enumerate(reference, 1)]
    empty = [n for n, frame in enumerate(frames, 1) if not frame.height]
    if empty:
        raise DataError(f"reference window {empty[0]} has no rows; leave it out")
    return pl.concat(frames, how="diagonal_relaxed").lazy(), [frame.height for frame in frames]


def _length(window: str | int | None, timestamp: str | None) -> tuple[int | None, int | None]:
    """Return a length in microseconds or in rows."""
    if window is None:
        return None, None
    if isinstance(window, int):
        if timestamp is not None or window < 1:
            raise UsageError(
                f"window is {window}: expected a duration such as '1d' with a timestamp, else rows from 1 on"
            )
        return None, window
    if timestamp is None:
        raise UsageError(f"window is '{window}': without a timestamp a window is a number of rows, such as 500")
    try:
        return micros(window), None
    except ValueError as error:
        raise UsageError(f"window: {error}") from None


def _result(step: DriftStep, changes: tuple[SchemaChange, ...], level: float) -> WindowDrift:
    breaking = [change.text for change in changes if change.breaking]
    return WindowDrift(
        drift=step.p_seq < level or bool(breaking),
        p=step.p,
        p_seq=step.p_seq,
        tested=step.tested,
        columns=step.columns,
        named=step.named,
        top=step.top,
        schema=changes,
        rows=step.n,
        reference_windows=step.m,
        reason="; ".join([*breaking, step.reason]),
    )
