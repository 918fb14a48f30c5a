"""How often peers alarm at their defaults while nothing drifts; every window of theirs is one more false alarm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.drift.peer import ALARM_BELOW, RowTests
from benchmarks.drift.peer_runs import adwin_alarms, evidently_alarms, evidently_columns
from benchmarks.drift.streams import KINDS, REFERENCE, SEED, Days, Flights, Kind, windows
from benchmarks.drift.table import Line, share

ROW_TESTED = 10
ADWIN_COLUMN = {"flights": "dep_delay", "stops": "hour", "bikes": "temp"}


def measure(flights: Flights, stops: Days, bikes: Days) -> Iterator[Line]:
    """Yield the share of windows with an alarm, on one stream of each kind."""
    for name, table in (("flights", flights), ("stops", stops), ("bikes", bikes)):
        for kind in KINDS if name == "flights" else KINDS[1:]:
            stream = [table.rows(index) for index in windows(table, kind, SEED)]
            tests = RowTests(stream[:REFERENCE])
            p = [tests.p(window) for window in stream[REFERENCE : REFERENCE + ROW_TESTED]]
            row_tests = float((np.array(p) < ALARM_BELOW).mean())
            yield _line(f"{name} {kind}: SciPy KS and chi-square, Bonferroni .05", row_tests)
            yield _line(f"{name} {kind}: Evidently, a column or more", evidently_columns(table, kind))
            yield _line(f"{name} {kind}: Evidently, half of the columns", evidently_alarms(table, kind))
            yield from _adwin(name, kind, table)


def _adwin(name: str, kind: Kind, table: Days) -> Iterator[Line]:
    column = ADWIN_COLUMN[name]
    values = [table.rows(index)[column] for index in windows(table, kind, SEED)]
    found = adwin_alarms([window[~np.isnan(window)] for window in values])
    yield _line(f"{name} {kind}: ADWIN (river) on {column} row by row", found)


def _line(claim: str, found: float | None) -> Line:
    return Line(claim, "", "not there" if found is None else share(found))
