"""What a window costs in CPU time: profiling 1,000 rows x 15 columns, and one step of the detector."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.drift.peer import RowTests
from benchmarks.drift.streams import COLUMNS, IID_ROWS, NUMERIC, REFERENCE, Flights, profiled, schemes_of, windows
from benchmarks.drift.table import Line
from trimtab.stats.correlations import Correlations
from trimtab.stats.profile import profile_matrix
from trimtab.stats.schemes import Bins, NumericBins
from trimtab.stats.sequential import DriftDetector

POOL = 150
REPEATS = 50
PEER_REPEATS = 5
BAR_MS = 2.0


def measure(flights: Flights) -> Iterator[Line]:
    """Yield milliseconds of CPU time, and how many times more the peer takes."""
    stream = [flights.rows(index) for index in windows(flights, "iid", 0)]
    reference, monitored = stream[:REFERENCE], stream[REFERENCE:]
    schemes = schemes_of(reference)
    # as many reference windows as a pool has after the horizon
    detector = DriftDetector.fit([profiled(window, schemes) for window in stream[:POOL]], schemes=schemes)
    tests = RowTests(reference)
    matrix = np.random.default_rng(0).standard_normal((IID_ROWS, len(COLUMNS))).astype(np.float32)
    numeric: dict[str, Bins] = {
        f"c{place}": NumericBins.from_reference(column) for place, column in enumerate(matrix.T)
    }
    pairs = Correlations(numeric)
    profiles = [profiled(window, schemes) for window in monitored]
    names = f"{len(NUMERIC)} numbers, {len(COLUMNS) - len(NUMERIC)} texts"
    bins = list(numeric.values())
    as_matrix = _cpu_ms(lambda _: (profile_matrix(matrix, bins), pairs.profile_matrix(matrix)), REPEATS)
    as_columns = _cpu_ms(lambda place: profiled(monitored[place], schemes), REPEATS)
    step = _cpu_ms(lambda place: detector.step(profiles[place]), REPEATS)
    rows = _cpu_ms(lambda place: tests.p(monitored[place]), PEER_REPEATS)
    yield _line("profile of 1,000 rows x 15 columns, float32 matrix", as_matrix)
    yield _line(f"profile of 1,000 rows x 15 columns ({names})", as_columns)
    yield _line(f"one step of the detector, {POOL} windows", step)
    both = as_columns + step
    yield Line(f"profile and step; the peer takes {rows / both:.0f} x as long", _ms(both), _ms(rows))


def _cpu_ms(run: Callable[[int], object], repeats: int) -> float:
    """Return the mean CPU time of a call, warmed up once; calls are numbered from 0."""
    run(0)
    start = time.process_time_ns()
    for place in range(repeats):
        run(place)
    return (time.process_time_ns() - start) / 1e6 / repeats


def _line(claim: str, ms: float) -> Line:
    return Line(claim, _ms(ms), "", f"<= {BAR_MS:g} ms", "held" if ms <= BAR_MS else "NOT held")


def _ms(value: float) -> str:
    return f"{value:.2f} ms"
