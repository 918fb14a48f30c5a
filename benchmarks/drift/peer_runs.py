"""Peers at their defaults, on windows in which nothing drifts: Evidently's data drift, and ADWIN of river.

Evidently runs in its own environment (.bench/evidently, from benchmarks/drift/peers/evidently/requirements.txt), since
it brings packages of its own; river in this process, from the packages of scripts/bench_data.sh.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.drift.streams import DATA, REFERENCE, SEED, Days, Kind, windows

ROOT = Path(__file__).resolve().parents[2]
EVIDENTLY = ROOT / ".bench" / "evidently" / "bin" / "python"
PROGRAM = Path(__file__).parent / "peers" / "evidently" / "data_drift.py"
WINDOWS = 10
"""Windows of a stream that Evidently judges; it takes about a second for each."""


def evidently(rows: int) -> dict[str, float] | None:
    """Return seconds and megabytes that Evidently takes for two tables of so many rows; None without it."""
    return _run("large", str(rows))


def evidently_alarms(table: Days, kind: Kind, seed: int = SEED) -> float | None:
    """Return the share of null windows that Evidently reports as drifted (half of the columns or more)."""
    found = _on_stream(table, kind, seed)
    return None if found is None else found["dataset"]


def evidently_columns(table: Days, kind: Kind, seed: int = SEED) -> float | None:
    """Return the share of null windows with a drifted column or more."""
    found = _on_stream(table, kind, seed)
    return None if found is None else found["any"]


def adwin_alarms(values: list[np.ndarray[Any, np.dtype[np.float64]]]) -> float | None:
    """Return the share of windows of a series, fed row by row, in which ADWIN reports a change; None without river."""
    if not (DATA / "river").is_dir():
        return None
    if str(DATA) not in sys.path:
        sys.path.append(str(DATA))
    detector = import_module("river.drift").ADWIN()
    alarms = []
    for window in values:
        seen = False
        for value in window:
            detector.update(float(value))
            seen |= detector.drift_detected
        alarms.append(seen)
    return float(np.mean(alarms[REFERENCE:]))


def _on_stream(table: Days, kind: Kind, seed: int) -> dict[str, float] | None:
    if not EVIDENTLY.is_file():
        return None
    index = windows(table, kind, seed)
    with tempfile.TemporaryDirectory() as folder:
        _write(table, np.concatenate(index[:REFERENCE]), Path(folder) / "reference.parquet")
        for place, rows in enumerate(index[REFERENCE : REFERENCE + WINDOWS]):
            _write(table, rows, Path(folder) / f"window_{place}.parquet")
        return _run("stream", folder)


def _write(table: Days, rows: np.ndarray[Any, np.dtype[np.int64]], path: Path) -> None:
    pl.DataFrame({name: values.tolist() for name, values in table.rows(rows).items()}).write_parquet(path)


def _run(*arguments: str) -> dict[str, float] | None:
    if not EVIDENTLY.is_file():
        return None
    ran = subprocess.run([str(EVIDENTLY), str(PROGRAM), *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"Evidently failed: {ran.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found
