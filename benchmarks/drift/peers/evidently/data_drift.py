"""Runs Evidently's default data drift, in an environment that has it: data_drift.py large ROWS | stream FOLDER."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

NUMBERS, CATEGORIES = 40, 10


def table(rows: int, seed: int) -> pd.DataFrame:
    """Return 40 columns of numbers and 10 of categories."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"c{place}": random.standard_normal(rows) for place in range(NUMBERS)}
    for place in range(CATEGORIES):
        columns[f"k{place}"] = np.array([f"v{number}" for number in range(20)])[random.integers(0, 20, rows)]
    return pd.DataFrame(columns)


def large(rows: int) -> dict[str, float]:
    """Return CPU seconds and megabytes beyond the data of one comparison."""
    reference, current = table(rows, 0), table(rows, 1)
    before, start = _peak_mb(), time.process_time()
    Report([DataDriftPreset()]).run(current, reference)
    return {"seconds": time.process_time() - start, "mb": max(0.0, _peak_mb() - before)}


def stream(folder: Path) -> dict[str, float]:
    """Return the shares of windows with half of the columns drifted or more, and with any."""
    reference = pd.read_parquet(folder / "reference.parquet")
    half, some = [], []
    for path in sorted(folder.glob("window_*.parquet")):
        found = Report([DataDriftPreset()]).run(pd.read_parquet(path), reference).dict()
        counts = next(metric["value"] for metric in found["metrics"] if "DriftedColumnsCount" in metric["metric_name"])
        half.append(counts["share"] >= 0.5)
        some.append(counts["count"] > 0)
    return {"dataset": float(np.mean(half)), "any": float(np.mean(some))}


def _peak_mb() -> float:
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    print(json.dumps(large(int(sys.argv[2])) if sys.argv[1] == "large" else stream(Path(sys.argv[2]))))
