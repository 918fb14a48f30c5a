"""The program that runs one of our engines and reports CPU seconds and peak memory.

Usage: python -m benchmarks.features.measure TASK ENGINE FOLDER RUNS
Prints one JSON object and leaves the result in FOLDER/TASK-ENGINE.parquet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from benchmarks.features import joins, windows
from benchmarks.features.timing import measured

ENGINES: dict[str, Mapping[str, Callable[[Path], pl.DataFrame]]] = {"join": joins.ENGINES, "windows": windows.ENGINES}


def main(task: str, engine: str, folder: Path, runs: int) -> None:
    """Run an engine several times."""
    run = ENGINES[task][engine]
    measured(lambda: run(folder), runs).write_parquet(folder / f"{task}-{engine}.parquet")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
