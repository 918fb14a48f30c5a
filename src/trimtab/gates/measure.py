"""Measures one bundle in a process of its own: `python -m trimtab.gates.measure FOLDER [TRUSTED ...]` prints JSON.

Loads the graph, scores single rows from reference/rows.parquet, and reports latencies, load time and
memory. Memory is what the process holds without the reader of the rows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from trimtab.bundle.spec import Spec, read_spec
from trimtab.bundle.typed_matrix import contiguous, zero_rows
from trimtab.bundle.typed_packing import TYPED, unpack_rows
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
    scorer.score(zero_rows(spec.schema, 1, len(spec.features)))
    load_seconds = (time.perf_counter_ns() - began) / 1e9
    loaded = process.memory_info().rss
    rows = _read_rows(folder, spec)
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


def _read_rows(folder: Path, spec: Spec) -> list[np.ndarray[Any, Any]]:
    """Return the reference rows as arrays of shape (1, features)."""
    # imported after the memory was measured, which is the bundle's and not Parquet's
    import pyarrow.parquet

    schema = spec.schema
    names = [*spec.features, *([] if schema is None else [TYPED])]
    table = pyarrow.parquet.read_table(folder / "reference" / "rows.parquet", columns=names)
    X = np.column_stack([table[name].to_numpy() for name in spec.features]).astype(np.float32)
    if schema is not None:
        X = unpack_rows(schema, X, table[TYPED].to_pylist())
    return [contiguous(X[place : place + 1]) for place in range(len(X))]


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(Path(sys.argv[1]), trust=sys.argv[2:])) + b"\n")
