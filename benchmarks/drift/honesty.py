"""Streams in which nothing drifts: how often is there an alarm all the same?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.drift.peer import ALARM_BELOW, RowTests
from benchmarks.drift.streams import KINDS, REFERENCE, Flights, Kind, profiled, schemes_of, windows
from benchmarks.drift.table import Line, share
from trimtab.stats import DriftDetector

# Row tests cost about 50 ms a window: they judge every tenth window of the first streams.
PEER_STREAMS, PEER_EVERY = 5, 10


@dataclass(frozen=True)
class NullStream:
    """What was said of a stream without drift."""

    p: list[float]
    smallest_p_seq: float
    peer_p: list[float]


def measure(flights: Flights, streams: int) -> Iterator[Line]:
    """Yield the share of false alarms on each kind of stream."""
    for kind in KINDS:
        told = [run(flights, kind, seed) for seed in range(streams)]
        p = np.array([value for stream in told for value in stream.p])
        p_seq = np.array([stream.smallest_p_seq for stream in told])
        peer = np.array([value for stream in told for value in stream.peer_p])
        rows = (
            (f"{kind}: window p < .01", (p < 0.01).mean(), share((peer < 0.01).mean()), 0.015),
            (f"{kind}: window p < .05", (p < 0.05).mean(), share((peer < ALARM_BELOW).mean()), 0.06),
            (f"{kind}: any p_seq < .05 in 100 windows", (p_seq < 0.05).mean(), "", 0.05),
            (f"{kind}: any p_seq < .01 in 100 windows", (p_seq < 0.01).mean(), "", 0.01),
        )
        for claim, ours, beside, bar in rows:
            yield Line(claim, share(ours), beside, f"<= {share(bar)}", bool(ours <= bar))


def run(flights: Flights, kind: Kind, seed: int) -> NullStream:
    """Return what both say of one stream."""
    stream = [flights.rows(index) for index in windows(flights, kind, seed)]
    reference, monitored = stream[:REFERENCE], stream[REFERENCE:]
    schemes = schemes_of(reference)
    detector = DriftDetector.fit([profiled(window, schemes) for window in reference], schemes=schemes)
    steps = [detector.step(profiled(window, schemes)) for window in monitored]
    peer = RowTests(reference) if seed < PEER_STREAMS else None
    return NullStream(
        p=[step.p for step in steps if step.tested],
        smallest_p_seq=min(step.p_seq for step in steps),
        peer_p=[peer.p(window) for window in monitored[::PEER_EVERY]] if peer else [],
    )
