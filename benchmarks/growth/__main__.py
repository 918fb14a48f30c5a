"""Run with: python -m benchmarks.growth [windows ...]. Prints milliseconds a decision, of opening, and of a status."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.growth.records import MODEL, Grown, grow, next_window
from trimtab.app.status import status
from trimtab.app.workspace import open_workspace

SIZES = (250, 1_000, 2_000, 10_000)
DECISIONS = 15
OPENINGS = 3
DEFINITIONS = f"""
import trimtab as tt

flights = tt.FileSource("flights", "data/flights.parquet", timestamp="at")
{MODEL} = tt.Model("{MODEL}", task="binary", examples=flights, label="y", features=["a"])


@{MODEL}.trainer
def train(data, params, seed):
    raise NotImplementedError
"""


def main(sizes: list[int]) -> None:
    """Print one row a size."""
    print(f"{'windows':>8} {'decision':>9} {'controller':>11} {'monitor':>8} {'status':>7}   milliseconds, medians")
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="trimtab-growth-") as folder:
            _measure(Path(folder), size)


def _measure(project: Path, size: int) -> None:
    (project / "definitions.py").write_text(DEFINITIONS)
    (project / "trimtab.yaml").write_text("project: growth\n")
    root = project / ".trimtab"
    root.mkdir()
    grown = grow(root, size)
    monitor = _median(lambda: _open_monitor(grown), OPENINGS)
    controller = _median(lambda: _open_controller(grown), OPENINGS)
    shown = _median(lambda: status(open_workspace(project)), OPENINGS)
    print(f"{size:>8,} {_decision(grown):>9.1f} {controller:>11.1f} {monitor:>8.1f} {shown:>7.1f}", flush=True)


def _open_monitor(grown: Grown) -> None:
    metadata = grown.metadata()
    grown.monitor(metadata).step()
    metadata.close()


def _open_controller(grown: Grown) -> None:
    metadata = grown.metadata()
    grown.controller(metadata).step()
    metadata.close()


def _decision(grown: Grown) -> float:
    """Return the milliseconds of a step that decides on one window."""
    metadata = grown.metadata()
    controller = grown.controller(metadata)
    controller.step()
    found = []
    for number in range(DECISIONS):
        next_window(metadata)
        start = time.perf_counter()
        made = controller.step()
        found.append(time.perf_counter() - start)
        if len(made) != 1:
            raise AssertionError(f"{len(made)} decisions on window {number}")
    metadata.close()
    return 1000 * median(found)


def _median(call: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return 1000 * median(found)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or list(SIZES))
