"""Runs a function several times and says what it cost. Needs the standard library alone, so peers use it, too."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def measured(run: Callable[[], T], runs: int) -> T:
    """Run; print the least of each value as JSON, because other processes share the machine; return the result."""
    spent: list[tuple[float, float]] = []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        result = run()
        spent.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu_s, wall_s = min(cpu for cpu, _ in spent), min(wall for _, wall in spent)
    print(json.dumps({"cpu_s": cpu_s, "wall_s": wall_s, "peak_mb": peak_mb()}), flush=True)
    return result


def peak_mb() -> float:
    """Return the most memory that this process has held; ru_maxrss would include its parent's."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def median_us(call: Callable[[int], object], times: int) -> float:
    """Return the median time of a call in microseconds, after a tenth of the calls as a start."""
    taken = []
    for number in range(times + times // 10):
        began = time.perf_counter_ns()
        call(number)
        taken.append(time.perf_counter_ns() - began)
    return sorted(taken[times // 10 :])[times // 2] / 1000
