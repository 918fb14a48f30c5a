"""The share of false alarms on streams without drift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.drift.peer import RowTests
from benchmarks.drift.streams import KINDS, REFERENCE, SEED, Days, Flights, Kind, detector_of, profiled, windows
from benchmarks.drift.table import Line, at_most, share

# Row tests cost about 50 ms a window: they judge every tenth window of the first streams.
PEER_STREAMS, PEER_EVERY = 5, 10
QUIETER = 0.6


@dataclass(frozen=True)
class NullStream:
    """The alarms on a stream without drift."""

    p: list[float]
    smallest_p_seq: float
    peer_p: list[float]


def measure(flights: Flights, stops: Days, bikes: Days, streams: int) -> Iterator[Line]:
    """Yield the share of false alarms on each kind of stream."""
    for kind in KINDS:
        yield from _lines(f"flights {kind}", [run(flights, kind, seed) for seed in _seeds(streams)])
    few = max(2, streams // 4)
    told = [run(flights, "day", seed, traffic=QUIETER) for seed in _seeds(few)]
    yield from _lines(f"flights day, {share(QUIETER)} of usual traffic", told)
    for kind in KINDS[1:]:
        yield from _lines(f"stops {kind}", [run(stops, kind, seed) for seed in _seeds(streams)])
        yield from _lines(f"bikes {kind}", [run(bikes, kind, seed) for seed in _seeds(streams)])


def _seeds(streams: int) -> range:
    return range(SEED, SEED + streams)


def run(table: Days, kind: Kind, seed: int, *, traffic: float = 1.0) -> NullStream:
    """Return the alarms of both on one stream; monitored windows keep a random share `traffic` of their rows."""
    random = np.random.default_rng((0, seed))
    index = windows(table, kind, seed)
    reference = [table.rows(rows) for rows in index[:REFERENCE]]
    kept = [random.permutation(rows)[: round(traffic * rows.size)] for rows in index[REFERENCE:]]
    monitored = [table.rows(rows) for rows in kept]
    detector, schemes = detector_of(reference)
    steps = [detector.step(profiled(window, schemes)) for window in monitored]
    peer = RowTests(reference) if seed < SEED + PEER_STREAMS else None
    return NullStream(
        p=[step.p for step in steps if step.tested],
        smallest_p_seq=min(step.p_seq for step in steps),
        peer_p=[peer.p(window) for window in monitored[::PEER_EVERY]] if peer else [],
    )


def _lines(kind: str, told: list[NullStream]) -> Iterator[Line]:
    peer = np.array([value for stream in told for value in stream.peer_p])
    for level, bar in ((0.01, 0.015), (0.05, 0.06)):
        shares = [float((np.array(stream.p) < level).mean()) for stream in told]
        yield at_most(f"{kind}: window p < {level}", shares, bar, peer=share(float((peer < level).mean())))
    for level in (0.05, 0.01):
        alarms = [float(stream.smallest_p_seq < level) for stream in told]
        yield at_most(f"{kind}: any p_seq < {level} in 100 windows", alarms, level)
