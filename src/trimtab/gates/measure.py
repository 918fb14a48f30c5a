"""Measures one bundle in a process of its own: `python -m trimtab.gates.measure FOLDER [TRUSTED ...]` prints JSON.

Loads the graph, scores single rows from reference/rows.parquet, and reports latencies, load time and
memory. Memory is what the process holds without the reader of the rows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import psutil

from trimtab.bundle.spec import read_spec
from trimtab.runtimes.opening import open_scorer

WARM_UP = 200
CALLS = 3000
MIN_CALLS = 200
BUDGET_S = 5.0


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; latencies are of one row, in microseconds."""

    calls: int
    p50_us: float
    p99_us: float
    max_us: float
    load_seconds: float
    memory_mb: float
    """Resident memory in 10^6 bytes."""


def measure(folder: Path, *, trust: Sequence[str] = ()) -> Measurement:
    """Load the bundle in `folder` and score single rows, CALLS times or until BUDGET_S have passed."""
    process = psutil.Process()
    spec = read_spec(folder)
    began = time.perf_counter_ns()
    scorer = open_scorer(folder, spec, trust=trust)
    scorer.score(np.zeros((1, len(spec.features)), dtype=np.float32))
    load_seconds = (time.perf_counter_ns() - began) / 1e9
    loaded = process.memory_info().rss
    rows = _read_rows(folder, spec.features)
    before = process.memory_info().rss
    for i in range(WARM_UP):
        scorer.score(rows[i % len(rows)])
    taken: list[int] = []
    deadline = time.perf_counter_ns() + int(BUDGET_S * 1e9)
    while len(taken) < CALLS and (len(taken) < MIN_CALLS or time.perf_counter_ns() < deadline):
        row = rows[len(taken) % len(rows)]
        start = time.perf_counter_ns()
        scorer.score(row)
        taken.append(time.perf_counter_ns() - start)
    grown = max(0, process.memory_info().rss - before)
    latencies = np.array(taken) / 1000
    return Measurement(
        calls=len(taken),
        p50_us=float(np.quantile(latencies, 0.5)),
        p99_us=float(np.quantile(latencies, 0.99)),
        max_us=float(latencies.max()),
        load_seconds=load_seconds,
        memory_mb=(loaded + grown) / 1e6,
    )


def _read_rows(folder: Path, features: tuple[str, ...]) -> list[np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Return the reference rows as arrays of shape (1, features)."""
    # imported after the memory was measured, which is the bundle's and not Parquet's
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / "reference" / "rows.parquet", columns=list(features))
    X = np.column_stack([table[name].to_numpy() for name in features]).astype(np.float32)
    return [np.ascontiguousarray(row[None, :]) for row in X]


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(Path(sys.argv[1]), trust=sys.argv[2:])) + b"\n")
