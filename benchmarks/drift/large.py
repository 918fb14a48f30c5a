"""Profiles and tests a table of a million rows and 50 columns in a process of its own, and Evidently with its defaults.

`python -m benchmarks.drift.large ROWS` measures the profile and test of a table in memory, `... REFERENCE CURRENT` what
`trimtab drift` does with two files; peer_runs.py starts Evidently in its own environment.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.drift.peer_runs import EVIDENTLY, evidently
from benchmarks.drift.table import Line
from trimtab.app.drift.comparing import CompareOptions, compare_paths
from trimtab.stats.correlations import ENTRY, Correlations
from trimtab.stats.profile import ColumnProfile, profile_matrix
from trimtab.stats.schemes import Bins, CategoryBins, NumericBins
from trimtab.stats.sequential import DriftDetector

NUMBERS, CATEGORIES = 40, 10
WINDOWS, REFERENCE_ROWS = 60, 2_000
BAR_SECONDS, BAR_MB, BAR_TIMES = 3.0, 400.0, 50.0


def table(rows: int, seed: int) -> npt.NDArray[np.float32]:
    """Return 40 columns of numbers and 10 of codes of categories."""
    random = np.random.default_rng(seed)
    made = random.standard_normal((rows, NUMBERS + CATEGORIES), dtype=np.float32)
    made[:, NUMBERS:] = random.integers(0, 20, (rows, CATEGORIES))
    return made


def measure(rows: int) -> Iterator[Line]:
    """Yield seconds and memory of both; Evidently only where .bench/evidently has it."""
    found = _run(str(rows))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{seed}.parquet" for seed in (0, 1)]
        for seed, path in enumerate(files):
            _write(table(rows, seed), path)
        verb = _run(*map(str, files))
    theirs = evidently(rows)
    size = f"{rows:,} rows x {NUMBERS + CATEGORIES}"
    yield Line(
        f"{size}: profiled and tested, CPU seconds (peer: Evidently, default)",
        f"{found['seconds']:.2f} s",
        "-" if theirs is None else f"{theirs['seconds']:.0f} s",
        f"<= {BAR_SECONDS:g} s",
        "held" if found["seconds"] <= BAR_SECONDS else "NOT held",
    )
    yield Line(
        f"{size}: memory beyond the data",
        f"{found['mb']:.0f} MB",
        "-" if theirs is None else f"{theirs['mb']:.0f} MB",
        f"<= {BAR_MB:g} MB",
        "held" if found["mb"] <= BAR_MB else "NOT held",
    )
    yield Line(
        f"trimtab drift of two Parquet files of {size}, CPU seconds and memory",
        f"{verb['seconds']:.2f} s, {verb['mb']:.0f} MB",
        "-" if theirs is None else f"{theirs['seconds'] / verb['seconds']:.0f} x as long",
    )
    if theirs is None:
        yield Line(f"Evidently is not there ({EVIDENTLY})", "")
        return
    times = theirs["seconds"] / found["seconds"]
    yield Line(
        f"{size}: times that Evidently takes as long",
        f"{times:.0f}",
        "",
        f">= {BAR_TIMES:g}",
        "held" if times >= BAR_TIMES else "NOT held",
    )


def main(*arguments: str) -> None:
    """Print seconds of CPU time and megabytes beyond the data, as JSON."""
    if len(arguments) == 2:
        before, start = _peak_mb(), time.process_time()
        compare_paths(*arguments, CompareOptions())
    else:
        before, start = _profile_and_test(int(arguments[0]))
    print(json.dumps({"seconds": time.process_time() - start, "mb": max(0.0, _peak_mb() - before)}))


def _profile_and_test(rows: int) -> tuple[float, float]:
    """Return peak memory and CPU time from before it."""
    reference = table(WINDOWS * REFERENCE_ROWS, 0)
    schemes: dict[str, Bins] = {
        f"c{place}": NumericBins.from_reference(column)
        if place < NUMBERS
        else CategoryBins.from_reference(column.astype(np.int64))
        for place, column in enumerate(reference.T)
    }
    pairs = Correlations(schemes)

    def profiled(window: npt.NDArray[np.float32]) -> dict[str, ColumnProfile]:
        found = dict(zip(schemes, profile_matrix(window, list(schemes.values())), strict=True))
        return found | {ENTRY: pairs.profile_matrix(window[:, : len(pairs.names)])}

    detector = DriftDetector.fit([profiled(part) for part in np.split(reference, WINDOWS)], schemes=schemes)
    data = table(rows, 1)
    before, start = _peak_mb(), time.process_time()
    detector.step(profiled(data))
    return before, start


def _run(*arguments: str) -> dict[str, float]:
    program = [sys.executable, "-m", "benchmarks.drift.large", *arguments]
    found: dict[str, float] = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    return found


def _write(made: npt.NDArray[np.float32], path: Path) -> None:
    names = np.array([f"v{number}" for number in range(20)])
    columns = {f"c{place}": made[:, place] for place in range(NUMBERS)}
    columns |= {f"k{place}": names[made[:, NUMBERS + place].astype(np.int64)] for place in range(CATEGORIES)}
    pl.DataFrame(columns).write_parquet(path)


def _peak_mb() -> float:
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    # Linux counts what the parent had at the start of this process into ru_maxrss.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
