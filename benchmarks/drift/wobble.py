"""Large windows that differ harmlessly: each one, reference too, has its own shift of about .03 sd in one column."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.drift.peer import RowTests
from benchmarks.drift.streams import NUMERIC, REFERENCE, Flights, Window, profiled, schemes_of, windows
from benchmarks.drift.table import Line, at_most, share
from trimtab.stats.sequential import DriftDetector

ROWS = 10_000
SHIFT_SD = 0.03
PEER_EVERY = 20


def measure(flights: Flights, streams: int) -> Iterator[Line]:
    """Yield the share of alarms."""
    by_window, by_stream, peer = [], [], []
    for seed in range(streams):
        stream = _stream(flights, seed)
        reference, monitored = stream[:REFERENCE], stream[REFERENCE:]
        schemes = schemes_of(reference)
        detector = DriftDetector.fit([profiled(window, schemes) for window in reference], schemes=schemes)
        steps = [detector.step(profiled(window, schemes)) for window in monitored]
        by_window.append(float(np.mean([step.p < 0.01 for step in steps])))
        by_stream.append(float(min(step.p_seq for step in steps) < 0.05))
        tests = RowTests(reference)
        peer += [tests.p(window) for window in monitored[::PEER_EVERY]]
    of_peer = share(float((np.array(peer) < 0.01).mean()))
    yield at_most("10,000-row windows, wobble of .03 sd: window p < .01", by_window, 0.015, peer=of_peer)
    yield at_most("10,000-row windows, wobble of .03 sd: any p_seq < .05", by_stream, 0.01)


def _stream(flights: Flights, seed: int) -> list[Window]:
    random = np.random.default_rng((2, seed))
    name = NUMERIC[seed % len(NUMERIC)]
    sd = float(np.nanstd(flights.columns[name]))
    stream = []
    for index in windows(flights, "iid", seed, rows=ROWS):
        window = flights.rows(index)
        stream.append(window | {name: window[name] + SHIFT_SD * sd * random.standard_normal()})
    return stream
