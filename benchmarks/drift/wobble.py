"""Harmless differences, which many rows make significant, and changes that are over.

Large windows each have a shift of their own of about .03 sd in one column, the reference too; or all from the 50th on
have one of .03 sd, the reference not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.drift.peer import RowTests
from benchmarks.drift.streams import NUMERIC, REFERENCE, SEED, Flights, Window, detector_of, profiled, windows
from benchmarks.drift.table import Line, at_least, at_most, share

ROWS = 10_000
SHIFT_SD = 0.03
LASTS = 40
QUIET, CHANGED = 20, 30
RECOVERED_AFTER = 30
PEER_EVERY = 20


def measure(flights: Flights, streams: int) -> Iterator[Line]:
    """Yield the share of alarms."""
    by_window, by_stream, peer = [], [], []
    for seed in range(SEED, SEED + streams):
        stream = _stream(flights, seed)
        reference, monitored = stream[:REFERENCE], stream[REFERENCE:]
        detector, schemes = detector_of(reference)
        steps = [detector.step(profiled(window, schemes)) for window in monitored]
        by_window.append(float(np.mean([step.p < 0.01 for step in steps])))
        by_stream.append(float(min(step.p_seq for step in steps) < 0.05))
        tests = RowTests(reference)
        peer += [tests.p(window) for window in monitored[::PEER_EVERY]]
    of_peer = share(float((np.array(peer) < 0.01).mean()))
    yield at_most("10,000-row windows, wobble of .03 sd: window p < .01", by_window, 0.015, peer=of_peer)
    yield at_most("10,000-row windows, wobble of .03 sd: any p_seq < .05", by_stream, 0.01)
    lasting = [float(min(_lasting(flights, seed)) < 0.05) for seed in range(SEED, SEED + streams)]
    yield at_most(f"10,000-row windows, lasting shift of .03 sd: any p_seq < .05 in {LASTS}", lasting, 0.0)


def measure_recovery(flights: Flights, streams: int) -> Iterator[Line]:
    """Yield how soon p_seq is above .05 again after a change of 30 windows, and how often it falls again."""
    last, again = [], []
    for seed in range(SEED, SEED + streams):
        name = NUMERIC[seed % len(NUMERIC)]
        stream = [flights.rows(index) for index in windows(flights, "iid", seed)]
        sd = float(np.nanstd(flights.columns[name]))
        changed = range(REFERENCE + QUIET, REFERENCE + QUIET + CHANGED)
        p_seq = _p_seq([w | {name: w[name] + 0.3 * sd} if i in changed else w for i, w in enumerate(stream)])
        after = np.array(p_seq[QUIET + CHANGED :])
        low = np.flatnonzero(after < 0.05)
        last.append(float(low[-1] + 1) if low.size else 0.0)
        again.append(float((after[RECOVERED_AFTER:] < 0.05).any()))
    claim = f"{CHANGED} windows of .3 sd are over: p_seq > .05 after {RECOVERED_AFTER} more (slowest {max(last):g})"
    yield at_least(claim, (np.array(last) <= RECOVERED_AFTER).astype(float), 1.0)
    yield at_most("    ... below .05 again later", again, 0.05)


def _lasting(flights: Flights, seed: int) -> list[float]:
    name = NUMERIC[seed % len(NUMERIC)]
    shift = SHIFT_SD * float(np.nanstd(flights.columns[name]))
    stream = [flights.rows(index) for index in windows(flights, "iid", seed, rows=ROWS)[: REFERENCE + LASTS]]
    return _p_seq([w | {name: w[name] + shift} if i >= REFERENCE else w for i, w in enumerate(stream)])


def _p_seq(stream: list[Window]) -> list[float]:
    detector, schemes = detector_of(stream[:REFERENCE])
    return [detector.step(profiled(window, schemes)).p_seq for window in stream[REFERENCE:]]


def _stream(flights: Flights, seed: int) -> list[Window]:
    random = np.random.default_rng((2, seed))
    name = NUMERIC[seed % len(NUMERIC)]
    sd = float(np.nanstd(flights.columns[name]))
    stream = []
    for index in windows(flights, "iid", seed, rows=ROWS):
        window = flights.rows(index)
        stream.append(window | {name: window[name] + SHIFT_SD * sd * random.standard_normal()})
    return stream
