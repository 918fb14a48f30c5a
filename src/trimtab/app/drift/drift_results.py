"""What a comparison of two tables found, as plain data: the command line prints it, JSON and the page hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trimtab.app.drift.watched_columns import SchemaChange
from trimtab.stats.usual_sizes import Effect

Method = Literal["sequential", "one window", "permutation"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two tables."""

    path: str
    rows: int
    windows: int
    rows_outside: int
    """Rows of no window: without a time, or between two blocks."""
    start: str | None
    """Begin of its first window, ISO 8601; None without a timestamp."""
    end: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Shares of the rows of both tables, by bin or by category."""

    labels: tuple[str, ...]
    """Of categories; of an ordered column the bins are between the edges."""
    edges: tuple[float, ...]
    """Of an ordered column, one more than bins."""
    reference: tuple[float, ...]
    current: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ColumnResult:
    """One column of the current table against the reference."""

    name: str
    kind: Literal["ordered", "category"]
    type: str
    """Its type in the reference."""
    drifted: bool
    """p is below the level: this column carries a change."""
    p: float
    """Adjusted for the number of columns."""
    effect: Effect
    usual: Effect
    """What 95 % of the reference windows do not exceed."""
    missing: float
    """Share of rows without a value."""
    missing_reference: float
    out_of_range: float
    """Share of rows far out of the range of the reference, or with a category that it does not have."""
    mean: float | None
    """Of the values that are there; None of a category. Dates and times in microseconds since 1970."""
    mean_reference: float | None
    sd_reference: float | None
    unseen: tuple[str, ...]
    """The most frequent new categories."""
    histogram: Histogram


@dataclass(frozen=True, kw_only=True)
class WindowResult:
    """One window of the current table."""

    start: str
    """Begin of the window, ISO 8601, or its first row."""
    rows: int
    tested: bool
    """False: too few rows, judged together with the next window."""
    p: float
    """p-value of this window alone."""
    p_seq: float
    """Sequential p-value after this window."""
    top: tuple[str, ...]
    """The three columns that differ most."""


@dataclass(frozen=True, kw_only=True)
class RowTestResult:
    """A usual test of one column, for comparison; it takes no part in the verdict."""

    test: str
    column: str
    statistic: float
    p: float | None
    alarm: bool
    rule: str
    """When it alarms."""


@dataclass(frozen=True, kw_only=True)
class SegmentResult:
    """The rows of one segment of the current table, compared with those of the same segment of the reference."""

    name: str
    """Column and value, such as region=north."""
    rows: int
    rows_reference: int
    p: float
    """Adjusted for the number of segments that were looked at."""
    share_moved: float
    """Of the column that moved furthest: largest share of rows across one threshold, or into or out of one category."""
    columns: tuple[str, ...]
    """Up to three columns that carry a change."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The current table compared with the reference."""

    drift: bool
    reason: str
    """The verdict in one sentence."""
    p: float
    """P(such a p by chance) <= p when nothing changed. With segments: of all rows and of the search together."""
    level: float
    """Drift is told when p is below it."""
    method: Method
    basis: str
    """What the p-value rests on, in words."""
    seed: int
    reference: Side
    current: Side
    timestamp: str | None
    window: str
    """Length of a window, such as 1d or 500 rows."""
    schema: tuple[SchemaChange, ...]
    columns: tuple[ColumnResult, ...]
    """Those that carry the change first."""
    windows: tuple[WindowResult, ...]
    left_out: dict[str, str]
    """Columns that were not compared, with the reason."""
    notes: tuple[str, ...]
    tests: tuple[RowTestResult, ...] = ()
    segments: tuple[SegmentResult, ...] = ()
    """The most surely changed first; empty without declared segments."""

    @property
    def drifted(self) -> Sequence[ColumnResult]:
        """The columns that carry a change."""
        return [column for column in self.columns if column.drifted]
