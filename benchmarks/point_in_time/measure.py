"""The program that runs one engine and reports CPU seconds and peak memory.

Usage: python -m benchmarks.point_in_time.measure TASK ENGINE FOLDER RUNS
Prints one JSON object and leaves the result in FOLDER/TASK-ENGINE.arrow.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from benchmarks.point_in_time import joins, windows

ENGINES = {"join": joins.ENGINES, "windows": windows.ENGINES}


def main(task: str, engine: str, folder: Path, runs: int) -> None:
    """Run an engine several times; the least of each value counts, because other processes share the machine."""
    run = ENGINES[task][engine]
    spent: list[tuple[float, float]] = []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        result = run(folder)
        spent.append((time.process_time() - cpu, time.perf_counter() - wall))
    peak = peak_mb()
    result.write_ipc(folder / f"{task}-{engine}.arrow")
    cpu_s, wall_s = min(cpu for cpu, _ in spent), min(wall for _, wall in spent)
    print(json.dumps({"cpu_s": cpu_s, "wall_s": wall_s, "peak_mb": peak}))


def peak_mb() -> float:
    """Return the most memory that this process has held; ru_maxrss would include its parent's."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
