"""`python -m benchmarks.growth [windows ...] [--no-monitor]`: cost of deciding, opening and `status` after n windows.

Medians of milliseconds of processor time, which other work on the machine hardly changes. Making 10,000 windows takes
some minutes, most of them for the detectors' first state, which --no-monitor leaves out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.growth.records import MODEL, Grown, grow, next_window
from trimtab.app.project.workspace import open_workspace
from trimtab.app.reports.status import status

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


def main() -> None:
    """Print one row a size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth")
    parser.add_argument("windows", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--no-monitor", action="store_true", help="leave out how long opening the monitor takes")
    asked = parser.parse_args()
    print(f"{'windows':>8} {'decision':>9} {'controller':>11} {'monitor':>8} {'status':>7}   CPU milliseconds, medians")
    for size in asked.windows:
        with tempfile.TemporaryDirectory(prefix="trimtab-growth-") as folder:
            _measure(Path(folder), size, monitored=not asked.no_monitor)


def _measure(project: Path, size: int, *, monitored: bool) -> None:
    (project / "definitions.py").write_text(DEFINITIONS)
    (project / "trimtab.yaml").write_text("project: growth\n")
    root = project / ".trimtab"
    root.mkdir()
    grown = grow(root, size, monitored=monitored)
    monitor = _median(lambda: _open_monitor(grown), OPENINGS) if monitored else float("nan")
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
        start = time.process_time()
        made = controller.step()
        found.append(time.process_time() - start)
        if len(made) != 1:
            raise AssertionError(f"{len(made)} decisions on window {number}")
    metadata.close()
    return 1000 * median(found)


def _median(call: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return 1000 * median(found)


if __name__ == "__main__":
    main()
