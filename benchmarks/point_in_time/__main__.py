"""python -m benchmarks.point_in_time [--events 1e6] [--labels 1e5] [--runs 3]"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from benchmarks.point_in_time import data, joins, windows

TASKS = {
    "join": ("As-of join of 20 columns", joins.ENGINES, joins.check),
    "windows": ("Windows of 1 h, 24 h, 7 d", windows.ENGINES, windows.check),
}


def main() -> None:
    """Make the data, run every engine, check that the results are equal, print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.point_in_time")
    parser.add_argument("--events", type=float, default=1e6)
    parser.add_argument("--labels", type=float, default=1e5)
    parser.add_argument("--runs", type=int, default=3, help="the least of so many counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data.write(folder, events=int(options.events), labels=int(options.labels))
        for task in TASKS:
            print(f"\n{TASKS[task][0]}: {options.events:g} events, {options.labels:g} labels", flush=True)
            report(task, folder, options.runs)


def report(task: str, folder: Path, runs: int) -> None:
    """Run one task by every engine that is installed and print its table."""
    _, engines, check = TASKS[task]
    installed = [engine for engine in engines if engine != "duckdb" or find_spec("duckdb")]
    figures = {engine: run(task, engine, folder, runs) for engine in installed}
    if "duckdb" not in figures:
        print("duckdb is not installed: skipped")
    found = {engine: pl.read_ipc(folder / f"{task}-{engine}.arrow") for engine in figures}
    print(check(found))
    print(f"{'':10}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}{'CPU / trimtab':>15}")
    own = figures["trimtab"]["cpu_s"]
    for engine, row in figures.items():
        print(f"{engine:10}{row['cpu_s']:8.2f}{row['wall_s']:8.2f}{row['peak_mb']:9.0f}{row['cpu_s'] / own:14.2f}x")


def run(task: str, engine: str, folder: Path, runs: int) -> dict[str, float]:
    """Run one engine in a process of its own and return its figures."""
    command = [sys.executable, "-m", "benchmarks.point_in_time.measure", task, engine, str(folder), str(runs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main()
