"""Compares a current table with a reference: windows against windows, one verdict.

With a timestamp, both tables are cut into windows of time. Without one they are cut into blocks of consecutive rows, so
that rows that lie together may resemble one another without an alarm. Each current window is judged against the
differences between the reference windows. The verdict is the p-value of the window where there is only one; with a
timestamp the sequential p-value over all current windows, without one that of a permutation test of the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from trimtab.app.drift.block_test import block_test
from trimtab.app.drift.classic_tests import check_names, classic_tests
from trimtab.app.drift.drift_results import ColumnResult, Comparison, Histogram, Method, Side, WindowResult
from trimtab.app.drift.fitted_reference import FittedReference, fit_reference, require_timestamp
from trimtab.app.drift.row_losses import COLUMN, Judged, with_losses
from trimtab.app.drift.row_windows import RowBlocks, RowWindows, TimeWindows
from trimtab.app.drift.segment_search import compare_segments
from trimtab.app.drift.table_profile import Profiles, Table
from trimtab.app.drift.watched_columns import SchemaChange, leaves, schema_changes, shown_type
from trimtab.clock import from_micros
from trimtab.data.table_scan import TableScan, scan_table
from trimtab.errors import DataError, UsageError
from trimtab.stats.profile import ColumnProfile, merge_windows
from trimtab.stats.schemes import ABOVE, BELOW, FIRST_BIN, MISSING, OTHER, Bins, CategoryBins, NumericBins
from trimtab.stats.sequential import ENOUGH_WINDOWS, SMALLEST_SHARE_OF_ROWS, DriftDetector
from trimtab.stats.step import DriftStep
from trimtab.stats.tail import holm
from trimtab.stats.usual_sizes import effects
from trimtab.units import micros, plural, short

LEVEL = 0.05
FEW_ROWS = 30
MOST_CURRENT = 60
"""Windows of a current table without times."""
NAMED = 5
"""New categories, and changed segments, that a report names."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What to compare, and how."""

    timestamp: str | None = None
    window: str | None = None
    """A duration such as 1d with a timestamp, rows such as 500 without one."""
    columns: Collection[str] | None = None
    categories: Collection[str] = ()
    level: float = LEVEL
    tests: Sequence[str] = ()
    """Names of usual tests to run for comparison."""
    segments: Sequence[str] = ()
    """Columns whose values are compared as segments."""
    judged: Judged | None = None
    """Columns of labels and scores, whose losses are compared, too."""
    seed: int = 0


def compare_paths(reference: str, current: str, options: CompareOptions) -> Comparison:
    """Compare two tables on disk. Raises DataError and UsageError that name file, column and what was expected."""
    try:
        return _compare_paths(reference, current, options)
    except PolarsError as error:
        raise DataError(f"{reference} or {current} cannot be read: {str(error).splitlines()[0]}") from error


def _compare_paths(reference: str, current: str, options: CompareOptions) -> Comparison:
    before, now = scan_table(reference), scan_table(current)
    texts = [name for name, dtype in before.frame.collect_schema().items() if dtype == pl.String]
    if before.typed and not now.typed:  # the file with types says what a CSV file means
        now = scan_table(current, texts=texts)
    elif now.typed and not before.typed:
        texts = [name for name, dtype in now.frame.collect_schema().items() if dtype == pl.String]
        before = scan_table(reference, texts=texts)
    if options.judged is not None:
        before, now = with_losses(before, options.judged), with_losses(now, options.judged)
        chosen = None if options.columns is None else [*options.columns, COLUMN]
        options = replace(options, columns=chosen)
    return compare_tables(before, now, options)


def compare_tables(reference: TableScan, current: TableScan, options: CompareOptions) -> Comparison:
    """Compare two opened tables, and their segments where some are declared."""
    whole = _compare_tables(reference, current, options)
    if not options.segments:
        return whole
    each = replace(options, segments=(), tests=())
    segments, notes = compare_segments(
        reference, current, options.segments, compare=lambda before, now: _compare_tables(before, now, each)
    )
    worst = segments[0].p if segments else 1.0
    breaking = [change.text for change in whole.schema if change.breaking]
    p = min(1.0, 2 * min(whole.p, worst))  # the table and the search share the level (Bonferroni)
    reason = _reason(2 * whole.p, whole.columns, breaking, options.level)
    changed = [f"{s.name} (p {min(1.0, 2 * s.p):.2g})" for s in segments if 2 * s.p < options.level]
    if changed:
        reason += f"; the values changed in the {'segments' if len(changed) > 1 else 'segment'} "
        reason += ", ".join(changed[:NAMED])
    return replace(
        whole,
        p=p,
        drift=p < options.level or bool(breaking),
        reason=reason,
        segments=segments,
        notes=(*whole.notes, *notes),
    )


def _compare_tables(reference: TableScan, current: TableScan, options: CompareOptions) -> Comparison:
    check_names(options.tests)
    if not 0 < options.level < 1:
        raise UsageError(f"--level is {options.level}, expected more than 0 and less than 1, such as {LEVEL}")
    now = leaves(current.frame.collect_schema())
    if options.timestamp is not None:
        require_timestamp(options.timestamp, current.frame.collect_schema(), current.path)
    rows = _rows(current)
    length, block = _window_of(options)
    fitted = fit_reference(
        reference.path,
        reference.frame,
        timestamp=options.timestamp,
        window=length,
        rows=block,
        columns=options.columns,
        categories=options.categories,
        current=now,
        current_rows=rows,
        seed=options.seed,
    )
    table = fitted.table(current.path, current.frame, now, options.timestamp)
    found = fitted.profile(table, _current_windows(fitted, rows))
    if not found.windows:
        raise DataError(f"{current.path}: no row has a time in column '{options.timestamp}'")
    found = _as_one_if_thin(fitted, found)
    judged = _judge(fitted, found, options.seed)
    without = {options.timestamp} if options.timestamp else set()
    changes = schema_changes(fitted.leaves, now, without=without)
    if options.columns is not None:
        wanted = {column.name for column in fitted.columns}
        changes = tuple(change for change in changes if change.column in wanted)
    result = _result(fitted, found, judged, options, changes, reference, current)
    if not options.tests:
        return result
    before = fitted.table(reference.path, reference.frame, fitted.leaves, None)
    return replace(result, tests=classic_tests(options.tests, before, replace(table, timestamp=None), options.seed))


def _as_one_if_thin(fitted: FittedReference, found: Profiles) -> Profiles:
    """Return windows that together have less than half the rows of a reference window as one window."""
    if found.windowed_rows >= SMALLEST_SHARE_OF_ROWS * np.median(fitted.found.window_rows):
        return found
    first = next(iter(found.windows))
    return replace(found, windows={first: reduce(merge_windows, found.windows.values())})


@dataclass(frozen=True)
class _Judged:
    """What the detector said."""

    steps: list[tuple[int, DriftStep]]
    """By window."""
    p: float
    column_p: dict[str, float]
    """Adjusted for the number of columns."""
    method: Method
    thin: bool
    """The current table has fewer rows than half a reference window."""
    detector: DriftDetector


def _judge(fitted: FittedReference, found: Profiles, seed: int) -> _Judged:
    detector = fitted.detector(horizon=len(found.windows), seed=seed)
    thin = found.windowed_rows < detector.min_rows
    if thin:  # judged all the same: there is nothing to wait for
        detector.min_rows = 0
    steps: list[tuple[int, DriftStep]] = []
    sequential: dict[str, float] = {}
    for window, profile in found.windows.items():
        step = detector.step(profile)
        steps.append((window, step))
        now = detector.column_p_seq()
        sequential = {name: min(p, sequential.get(name, 1.0)) for name, p in now.items()}
    tested = [step for _, step in steps if step.tested]
    method: Method
    if len(tested) == 1:
        p, columns, method = tested[0].p, _adjusted({c.name: c.p for c in tested[0].columns}), "one window"
    elif fitted.cut.length is None:
        blocks = list(fitted.found.windows.values()), list(found.windows.values())
        test = block_test(*blocks, fitted.schemes, seed=seed)
        p, columns, method = test.p, test.columns, "permutation"
    else:
        p, columns, method = min(step.p_seq for step in tested), _adjusted(sequential), "sequential"
    return _Judged(steps, p, columns, method, thin, detector)


def compare_window(fitted: FittedReference, table: Table) -> tuple[float, dict[str, float]]:
    """Judge all rows of a table as one window; return its p-value, and that of each column, adjusted by Holm."""
    judged = _judge(fitted, fitted.profile(table), seed=0)
    return judged.p, judged.column_p


def _adjusted(p: dict[str, float]) -> dict[str, float]:
    return dict(zip(p, holm(list(p.values())).tolist(), strict=True))


def _result(
    fitted: FittedReference,
    found: Profiles,
    judged: _Judged,
    options: CompareOptions,
    changes: tuple[SchemaChange, ...],
    reference: TableScan,
    current: TableScan,
) -> Comparison:
    columns = _columns(fitted, found, judged, options.level)
    breaking = [change for change in changes if change.breaking]
    drift = judged.p < options.level or bool(breaking)
    return Comparison(
        drift=drift,
        reason=_reason(judged.p, columns, [change.text for change in breaking], options.level),
        p=judged.p,
        level=options.level,
        method=judged.method,
        basis=_basis(fitted, found, judged),
        seed=options.seed,
        reference=_side(reference, fitted, fitted.found),
        current=_side(current, fitted, found),
        timestamp=options.timestamp,
        window=_shown_window(fitted),
        schema=changes,
        columns=columns,
        windows=tuple(_window(fitted, found, window, step) for window, step in judged.steps),
        left_out=fitted.left_out,
        notes=_notes(fitted, found, judged, reference, current),
    )


def _window_of(options: CompareOptions) -> tuple[int | None, int | None]:
    """Return the length of a window in microseconds or its rows. Raises UsageError."""
    text = options.window
    if text is None:
        return None, None
    if options.timestamp is None:
        if not text.strip().isdigit() or int(text) < 1:
            raise UsageError(
                f"--window {text}: without --timestamp a window is a number of rows, such as 500; with a duration, "
                "name the column of times: --timestamp COLUMN"
            )
        return None, int(text)
    if text.strip().isdigit():
        raise UsageError(f"--window {text}: expected a duration such as 1h or 1d, since --timestamp is given")
    try:
        return micros(text), None
    except ValueError as error:
        raise UsageError(f"--window: {error}") from None


def _rows(table: TableScan) -> int:
    rows = int(table.frame.select(pl.len()).collect(engine="streaming").item())
    if not rows:
        raise DataError(f"{table.path}: has no rows")
    return rows


def _current_windows(fitted: FittedReference, rows: int) -> RowWindows:
    if fitted.cut.length is not None:
        return TimeWindows(fitted.cut.length)
    size = min(fitted.cut.rows or 1, rows)
    return RowBlocks(rows, size, min(rows // size, MOST_CURRENT))


def _columns(fitted: FittedReference, found: Profiles, judged: _Judged, level: float) -> tuple[ColumnResult, ...]:
    adjusted = judged.column_p
    sizes = effects(found.total, fitted.found.total, fitted.schemes)
    results = []
    for column in fitted.columns:
        name, bins = column.name, fitted.schemes[column.name]
        now, before = found.total[name], fitted.found.total[name]
        unseen = found.unseen.get(name)
        results.append(
            ColumnResult(
                name=name,
                kind=column.kind,
                type=shown_type(column.dtype),
                drifted=adjusted[name] < level,
                p=adjusted[name],
                effect=sizes[name],
                usual=fitted.usual.high[name],
                missing=now.missing / max(now.n, 1),
                missing_reference=before.missing / max(before.n, 1),
                out_of_range=now.gross / max(now.n, 1),
                mean=_finite(now.mean),
                mean_reference=_finite(before.mean),
                sd_reference=bins.sd if isinstance(bins, NumericBins) and bins.sd > 0 else None,
                unseen=tuple(value for value, _ in unseen.most_common(NAMED)) if unseen else (),
                histogram=_histogram(bins, before, now),
            )
        )
    return tuple(sorted(results, key=lambda c: (c.p, -_excess(c), -c.effect.share_moved)))


def _excess(column: ColumnResult) -> float:
    return column.effect.share_moved / max(column.usual.share_moved, 1e-9)


def _histogram(bins: Bins, reference: ColumnProfile, current: ColumnProfile) -> Histogram:
    if isinstance(bins, CategoryBins):
        extra = (("other", OTHER), ("rare", ABOVE), ("not in the reference", BELOW), ("missing", MISSING))
        slots = [(name, FIRST_BIN + place) for place, name in enumerate(bins.top)]
        slots += [(name, slot) for name, slot in extra if reference.counts[slot] or current.counts[slot]]
        labels, edges = tuple(name for name, _ in slots), tuple[float, ...]()
        places = [slot for _, slot in slots]
    else:
        labels = ()
        edges = (bins.floor, *(float(e) for e in np.clip(bins.edges, bins.floor, bins.ceiling)), bins.ceiling)
        places = list(range(FIRST_BIN, FIRST_BIN + len(bins.edges) + 1))
    return Histogram(
        labels=labels,
        edges=edges,
        reference=tuple(reference.counts[slot] / max(reference.n, 1) for slot in places),
        current=tuple(current.counts[slot] / max(current.n, 1) for slot in places),
    )


def _reason(p: float, columns: Sequence[ColumnResult], breaking: Sequence[str], level: float) -> str:
    named = [f"'{column.name}'" for column in columns if column.drifted][:3]
    more = sum(column.drifted for column in columns) - len(named)
    carried = f"; carried by {', '.join(named)}{f' and {more} more' if more > 0 else ''}" if named else ""
    parts = list(breaking[:3])
    if p < level:
        parts.append(f"the values changed: p {p:.2g} is below {level:g}{carried}")
    if parts:
        return "; ".join(parts)
    return f"no change beyond what the reference shows itself: p {min(p, 1.0):.2g} is not below {level:g}"


def _basis(fitted: FittedReference, found: Profiles, judged: _Judged) -> str:
    m, now = fitted.windows, len(found.windows)
    if fitted.cut.length is not None:
        what = f"Windows of {short(fitted.cut.length)} in column '{fitted.cut.timestamp}'"
    else:
        what = f"Blocks of {plural(fitted.cut.rows or 1, 'consecutive row')}, since no timestamp was named"
    how = {
        "one window": "the p-value of the one current window against the reference windows",
        "permutation": "the p-value of a permutation test of all blocks: how rarely a choice of as many blocks of both "
        "tables differs as much from the others",
        "sequential": f"a sequential p-value over {now} current windows: the chance that it falls below a level while "
        "nothing changes is at most that level",
    }[judged.method]
    assumed = (
        "It assumes that days not seen yet differ as those of the reference do, season included"
        if fitted.cut.length is not None
        else "It assumes that the order of rows means the same in both files; rows that lie together may be alike, as "
        "rows of one day are"
    )
    return f"{what}: {m} in the reference, {now} in the current table. The verdict is {how}. {assumed}."


def _notes(
    fitted: FittedReference, found: Profiles, judged: _Judged, reference: TableScan, current: TableScan
) -> tuple[str, ...]:
    notes = [*reference.notes, *current.notes, *fitted.cut.notes]
    if judged.detector.reference_windows < ENOUGH_WINDOWS:
        notes.append(
            f"only {judged.detector.reference_windows} reference windows: p-values are rough below {ENOUGH_WINDOWS}; "
            "take a longer reference or shorter windows before you act on them"
        )
    if judged.thin or found.rows < FEW_ROWS:
        notes.append(f"{current.path}: {plural(found.rows, 'row')}: only large changes show in so few")
    before, now = fitted.found.infinite, found.infinite
    notes += [
        f"'{name}' is infinite in {plural(now.get(name, 0), 'row')} of the current table and in "
        f"{plural(before.get(name, 0), 'row')} of the reference"
        for name in sorted(before.keys() ^ now.keys())
    ]
    if fitted.cut.timestamp and _naive(fitted, reference) + _naive(fitted, current):
        notes.append(f"times without a zone in '{fitted.cut.timestamp}' are read as UTC")
    last = judged.steps[-1][1]
    if not last.tested:
        notes.append(f"the last window was not judged: {last.n} rows, {judged.detector.min_rows:g} are needed")
    if fitted.cut.length is not None and found.outside:
        notes.append(f"{current.path}: {plural(found.outside, 'row')} without a time left out")
    return tuple(notes)


def _naive(fitted: FittedReference, scan: TableScan) -> bool:
    dtype = scan.frame.collect_schema()[fitted.cut.timestamp or ""]
    return isinstance(dtype, pl.Datetime) and dtype.time_zone is None


def _side(scan: TableScan, fitted: FittedReference, found: Profiles) -> Side:
    length, windows = fitted.cut.length, list(found.windows)
    return Side(
        path=scan.path,
        rows=found.rows,
        windows=len(windows),
        rows_outside=found.outside,
        start=_iso(windows[0] * length) if length else None,
        end=_iso((windows[-1] + 1) * length) if length else None,
        notes=scan.notes,
    )


def _window(fitted: FittedReference, found: Profiles, window: int, step: DriftStep) -> WindowResult:
    length = fitted.cut.length
    if length:
        start = _iso(window * length)
    else:
        blocks = RowBlocks(found.rows, min(fitted.cut.rows or 1, found.rows), len(found.windows))
        start = f"row {int(blocks.starts[window]) + 1}"
    return WindowResult(
        start=start,
        rows=step.n,
        tested=step.tested,
        p=step.p,
        p_seq=step.p_seq,
        top=step.top,
    )


def _shown_window(fitted: FittedReference) -> str:
    return short(fitted.cut.length) if fitted.cut.length else plural(fitted.cut.rows or 1, "row")


def _iso(time: int) -> str:
    return from_micros(time).isoformat().replace("+00:00", "Z")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
