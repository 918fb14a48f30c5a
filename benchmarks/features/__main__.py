"""`make bench-features`: joins, windows, online store, feature server and streams beside peers, in one run.

python -m benchmarks.features [--events 1e5 3e5] [--only join windows online server state rate kills] [--plot FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from benchmarks.features import data, growth, joins, online, server, windows

Check = Callable[[Mapping[str, pl.DataFrame]], list[str]]
FEAST = Path(".bench/feast/bin/python")
"""The Python of Feast, DuckDB and pandas; scripts/bench_venvs.sh feast makes it."""
TABLES: dict[str, tuple[str, Mapping[str, object], Sequence[str], Check]] = {
    "join": ("As-of join of 20 columns", joins.ENGINES, joins.PEERS, joins.check),
    "windows": ("Count, sum, mean and maximum over 1 h, 24 h and 7 d", windows.ENGINES, windows.PEERS, windows.check),
}
STREAMS = {
    "state": ("benchmarks.stream_state", "--days", "2", "--events", "10000"),
    "rate": ("benchmarks.features.stream_rate", "--events", "20000", "--seconds", "10"),
    "kills": ("benchmarks.features.stream_kills", "--events", "20000", "--kills", "2"),
}
"""Programs of their own, with small sizes; each says more with its own options."""
PARTS = (*TABLES, "online", "server", *STREAMS)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
PROMISES = (
    ("join", "trimtab", "decode", 1.3, False, 10**7),
    ("join", "feast-duckdb 24h", "trimtab 24h", 4.0, True, 10**6),
    ("join", "feast-duckdb 720h", "trimtab 720h", 20.0, True, 10**6),
    ("windows", "trimtab", "sort", 2.0, False, 10**7),
    ("windows", "polars", "trimtab", 1.7, True, 10**7),
    ("windows", "duckdb", "trimtab", 10.0, True, 10**6),
)
"""Task, engine, engine to compare it with, ratio of CPU seconds, whether it is the least, from so many events on."""

Figures = dict[str, dict[str, float]]


def main() -> int:
    """Measure, check that the results are equal, and print figures, ratios and exponents."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features")
    parser.add_argument("--events", type=float, nargs="+", default=[1e5, 3e5], help="one or more sizes")
    parser.add_argument("--labels", type=float, help="label rows; a tenth of the events by default")
    parser.add_argument("--entities", type=int, default=10_000, help="of the online store")
    parser.add_argument("--runs", type=int, default=2, help="the least of so many counts")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--without", nargs="+", default=[], metavar="ENGINE", help="engines to leave out")
    parser.add_argument(
        "--memory", type=float, metavar="MB", help="most memory of an engine; those that need more fail"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write cost against rows as SVG")
    asked = parser.parse_args()
    if not FEAST.exists():
        print("Feast, DuckDB and pandas are left out; install them with: sh scripts/bench_venvs.sh feast")
    costs: dict[str, dict[str, dict[int, float]]] = {}
    for events in sorted(int(size) for size in asked.events):
        with tempfile.TemporaryDirectory() as name:
            labels = int(asked.labels or events // 10)
            data.write(Path(name), events=events, labels=labels)
            for task in (each for each in TABLES if each in asked.only):
                print(f"\n{TABLES[task][0]}: {events:,} events, {labels:,} labels", flush=True)
                for engine, row in report(task, Path(name), events, asked.runs, asked.without, asked.memory).items():
                    costs.setdefault(task, {}).setdefault(engine, {})[events] = row["cpu_s"]
    for task, found in costs.items():
        slopes = growth.exponents(found)
        if slopes:
            print(
                f"\n{task}, CPU grows as rows to the power of: {', '.join(f'{e} {s:.2f}' for e, s in slopes.items())}"
            )
    if asked.plot is not None and costs:
        growth.plot(costs, asked.plot)
    if "online" in asked.only:
        online.report(asked.entities, FEAST)
    if "server" in asked.only:
        server.report(asked.entities, FEAST)
    for name in (each for each in STREAMS if each in asked.only):
        print(f"\nStream: {name}", flush=True)
        subprocess.run([sys.executable, "-m", *STREAMS[name]], check=True)
    return 0


def report(task: str, folder: Path, events: int, runs: int, without: Sequence[str], memory: float | None) -> Figures:
    """Run one task by every engine that is installed; print its table and ratios."""
    _, engines, peers, check = TABLES[task]
    names = [*engines, *(peers if FEAST.exists() else ())]
    figures: Figures = {}
    for engine in names:
        if engine in without:
            continue
        row = run(task, engine, folder, runs, peer=engine in peers, memory=memory)
        if row is not None:
            figures[engine] = row
    print("\n".join(check({engine: pl.read_parquet(folder / f"{task}-{engine}.parquet") for engine in figures})))
    print(f"{'':18}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}{'CPU / trimtab':>15}")
    own = figures["trimtab"]["cpu_s"]
    for engine, row in figures.items():
        print(f"{engine:18}{row['cpu_s']:8.2f}{row['wall_s']:8.2f}{row['peak_mb']:9.0f}{row['cpu_s'] / own:14.2f}x")
    promises(task, figures, events)
    return figures


def promises(task: str, figures: Mapping[str, Mapping[str, float]], events: int) -> None:
    """Print each promised ratio of a task and what it is."""
    for of, engine, other, ratio, least, size in PROMISES:
        if of == task and engine in figures and other in figures:
            found = figures[engine]["cpu_s"] / figures[other]["cpu_s"]
            kept = found >= ratio if least else found <= ratio
            promised = f"{'>=' if least else '<='} {ratio:g}x from {size:g} events on"
            mark = "" if kept or events < size else "  NOT KEPT"
            print(f"  {engine} / {other}: {found:.2f}x, promised {promised}{mark}")


def run(
    task: str, engine: str, folder: Path, runs: int, *, peer: bool, memory: float | None
) -> dict[str, float] | None:
    """Run one engine in a process of its own and return its figures; None if it failed, with the reason printed."""
    module = "benchmarks.features.peers.feast.engines" if peer else "benchmarks.features.measure"
    command = [FEAST if peer else sys.executable, "-m", module, task, engine, folder, str(runs)]

    def limit() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (int(memory * 1e6),) * 2)

    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | ONE_THREAD, preexec_fn=limit
    )
    if done.returncode:
        print(f"{engine} failed ({done.returncode}): {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
        return None
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    sys.exit(main())
