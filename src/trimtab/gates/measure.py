"""Measures one bundle in a process of its own: `python -m trimtab.gates.measure FOLDER STARTED [TRUSTED ...]`.

Prints JSON. Loads the graph, scores single rows from reference/rows.parquet, and reports latencies, load time and
memory. Memory is the most that the process held without the reader of the rows. STARTED is the time of the clock
`time.perf_counter_ns` at which the process was asked for.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec, read_spec
from trimtab.bundle.typed_matrix import contiguous, zero_rows
from trimtab.bundle.typed_packing import TYPED, feature_schema, unpack_rows
from trimtab.runtimes.opening import open_scorer

WARM_UP = 200
ROUNDS = 5
CALLS = 600
"""In each round."""
MIN_CALLS = 60
BUDGET_S = 1.0
"""After which a round ends, once it has MIN_CALLS."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; latencies are of one row, in microseconds."""

    calls: int
    p50_us: float
    """Of all rounds."""
    p99_us: float
    """Median of the rounds'."""
    max_us: float
    rounds_p99_us: tuple[float, ...]
    cpu_us: float
    """Processor time of one row."""
    load_seconds: float
    cold_start_seconds: float
    """From the start of the process to its first answer."""
    memory_mb: float
    """Most resident memory in 10^6 bytes."""
    load: float
    """Processes that ran or waited to run, the mean of the last minute."""
    cores: int


def measure(folder: Path, *, started: int | None = None, trust: Sequence[str] = ()) -> Measurement:
    """Load the bundle in `folder` and score single rows in ROUNDS rounds. started: None takes the time of the call."""
    process = psutil.Process()
    spec = read_spec(folder)
    began = time.perf_counter_ns()
    scorer = open_scorer(folder, spec, trust=trust)
    scorer.score(zero_rows(feature_schema(spec), 1, len(spec.features)))
    answered = time.perf_counter_ns()
    loaded = max(process.memory_info().rss, _peak())
    rows = _read_rows(folder, spec)
    before = process.memory_info().rss
    for i in range(WARM_UP):
        scorer.score(rows[i % len(rows)])
    cpu = time.process_time_ns()
    rounds = [_round(scorer, rows) for _ in range(ROUNDS)]
    latencies = np.concatenate(rounds) / 1000
    cpu = time.process_time_ns() - cpu
    grown = max(0, process.memory_info().rss - before)
    p99 = tuple(float(np.quantile(taken, 0.99)) / 1000 for taken in rounds)
    return Measurement(
        calls=len(latencies),
        p50_us=float(np.quantile(latencies, 0.5)),
        p99_us=float(np.median(p99)),
        max_us=float(latencies.max()),
        rounds_p99_us=p99,
        cpu_us=cpu / len(latencies) / 1000,
        load_seconds=(answered - began) / 1e9,
        cold_start_seconds=(answered - (began if started is None else started)) / 1e9,
        memory_mb=(loaded + grown) / 1e6,
        load=os.getloadavg()[0],
        cores=os.cpu_count() or 1,
    )


def _round(scorer: Scorer, rows: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return the time of each call in nanoseconds."""
    taken: list[int] = []
    deadline = time.perf_counter_ns() + int(BUDGET_S * 1e9)
    while len(taken) < CALLS and (len(taken) < MIN_CALLS or time.perf_counter_ns() < deadline):
        row = rows[len(taken) % len(rows)]
        start = time.perf_counter_ns()
        scorer.score(row)
        taken.append(time.perf_counter_ns() - start)
    return np.array(taken)


def _peak() -> int:
    """Return the most resident memory of this program so far, in bytes; 0 where the system does not tell.

    Linux tells it in /proc/self/status: getrusage would also count what the parent process held before the start.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def _read_rows(folder: Path, spec: Spec) -> list[np.ndarray[Any, Any]]:
    """Return the reference rows as arrays of shape (1, features)."""
    # imported after the memory was measured, which is the bundle's and not Parquet's
    import pyarrow.parquet

    schema = feature_schema(spec)
    names = [*spec.features, *([] if schema is None else [TYPED])]
    table = pyarrow.parquet.read_table(folder / "reference" / "rows.parquet", columns=names)
    X = np.column_stack([table[name].to_numpy() for name in spec.features]).astype(np.float32)
    if schema is not None:
        X = unpack_rows(schema, X, table[TYPED].to_pylist())
    return [contiguous(X[place : place + 1]) for place in range(len(X))]


if __name__ == "__main__":
    found = measure(Path(sys.argv[1]), started=int(sys.argv[2]), trust=sys.argv[3:])
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
