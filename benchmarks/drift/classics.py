"""`python -m benchmarks.drift.classics [--streams N]`: false alarms of `trimtab drift` and of usual tests by name.

Nothing drifts in these tables: whole days of the flights of 2013 in shuffled order, and independent rows. 60 days or
windows are the reference, the next ones the current table. Printed is the share of current tables with an alarm in any
column, and the share of columns with one.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import polars as pl

from benchmarks.drift.streams import REFERENCE, Flights, read_flights, windows
from trimtab.app.drift.classic_tests import NAMES
from trimtab.app.drift.comparing import CompareOptions, compare_tables
from trimtab.app.drift.drift_results import Comparison
from trimtab.app.drift.stream_tests import CLASSES
from trimtab.data.table_scan import TableScan
from trimtab.errors import MissingExtra

STREAMS = 20
CURRENT_DAYS = (1, 30)
IID_ROWS = 1_000
IID_COLUMNS = (10, 4)
"""Columns of independent rows: numbers, categories."""
STREAM_COLUMNS = ("dep_delay", "air_time", "on_time")
"""Columns of the detectors of single rows, which take a second for each; the last one is 0 or 1, for DDM."""
Tables = tuple[pl.DataFrame, pl.DataFrame]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift.classics")
    parser.add_argument("--streams", type=int, default=STREAMS, help="streams of each kind")
    streams = parser.parse_args().streams
    flights = read_flights()
    print(f"{streams} streams of each kind, seeds 0 to {streams - 1}; {REFERENCE} reference days or windows")
    for days in CURRENT_DAYS:
        _show(f"flights, shuffled days, {days} current", (_days(flights, seed, days) for seed in range(streams)))
        _show(f"independent rows, {days} current windows of 1,000", (_iid(seed, days) for seed in range(streams)))


def _days(flights: Flights, seed: int, days: int) -> Tables:
    parts = [flights.rows(rows) for rows in windows(flights, "day", seed)[: REFERENCE + days]]
    late = windows(flights, "day", seed)[: REFERENCE + days]
    frames = [
        pl.DataFrame(part).with_columns(_at(day), pl.Series("on_time", ~flights.late[rows]))
        for day, (part, rows) in enumerate(zip(parts, late, strict=True))
    ]
    return pl.concat(frames[:REFERENCE]), pl.concat(frames[REFERENCE:])


def _iid(seed: int, days: int) -> Tables:
    random = np.random.default_rng(seed)
    numbers, categories = IID_COLUMNS

    def rows(first: int, count: int) -> pl.DataFrame:
        n = count * IID_ROWS
        columns = {f"x{place}": random.normal(size=n) for place in range(numbers)}
        words = {f"c{place}": random.choice(list("abcdefgh"), n) for place in range(categories)}
        at = pl.Series("at", np.repeat(np.arange(first, first + count), IID_ROWS)).cast(pl.Int32).cast(pl.Date)
        return pl.DataFrame({**columns, **words, "on_time": random.random(n) < 0.8}).with_columns(at)

    return rows(0, REFERENCE), rows(REFERENCE, days)


def _at(day: int) -> pl.Expr:
    return pl.lit(day).cast(pl.Int32).cast(pl.Date).alias("at")


def _show(title: str, tables: Iterator[Tables]) -> None:
    any_alarm: dict[str, list[bool]] = defaultdict(list)
    columns: dict[str, list[bool]] = defaultdict(list)
    for reference, current in tables:
        for name, found in _compared(reference, current):
            if name:
                any_alarm[name].append(found.drift)
                columns[name] += [column.drifted for column in found.columns]
            for test in dict.fromkeys(each.test for each in found.tests):
                alarms = [each.alarm for each in found.tests if each.test == test]
                any_alarm[test].append(any(alarms))
                columns[test] += alarms
    print(f"\n{title}\n\n  {'test':<28} {'any column':>12} {'each column':>12}")
    for name, alarms in any_alarm.items():
        print(f"  {name:<28} {np.mean(alarms):>12.1%} {np.mean(columns[name]):>12.1%}", flush=True)


def _compared(reference: pl.DataFrame, current: pl.DataFrame) -> Iterator[tuple[str, Comparison]]:
    tables = (TableScan("reference", reference.lazy(), True, 1), TableScan("current", current.lazy(), True, 1))
    numbers = [name for name in reference.columns if name != "at"]
    usual = [name for name in NAMES if name not in CLASSES]
    timed = CompareOptions(timestamp="at", window="1d", columns=numbers, tests=usual)
    yield "trimtab drift --timestamp", compare_tables(*tables, timed)
    yield "trimtab drift", compare_tables(*tables, CompareOptions(columns=numbers))
    few = [name for name in STREAM_COLUMNS if name in reference.columns] + [n for n in numbers if n in ("x0", "x1")]
    try:
        found = compare_tables(*tables, CompareOptions(timestamp="at", window="1d", columns=few, tests=list(CLASSES)))
    except MissingExtra as missing:
        print(f"  {missing}")
        return
    yield "", found  # the same verdict of fewer columns


if __name__ == "__main__":
    main()
