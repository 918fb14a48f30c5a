"""Measures deploys and rollbacks under load: the time until one takes effect, and failed requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from benchmarks.serving.gateway_server import Options, gateway, open_book
from benchmarks.serving.load import Figures, measure
from benchmarks.serving.model import MODEL, Model, make_project
from benchmarks.serving.servers import NotRunning, Server, post, running
from benchmarks.serving.table import ROW
from trimtab.clock import SystemClock
from trimtab.testing.bundles import revision

SWAPS = 10
SECONDS = 8
MAX_S = 1.0
GIVE_UP_S = 30


def swaps(models: Mapping[int, Model], work: Path) -> bool:
    """Measure and print; return whether no request failed and every swap took effect in time."""
    project = work / "project"
    make_project(project, models, {1: ("champion", 100.0)})
    try:
        with running(gateway("swaps", "swaps", project, work / "work", Options()), ROW) as server:
            took, load = _swap(server, project)
    except NotRunning as error:
        print(f"\nSwaps under load: not measured: {error}")
        return False
    held = load.failed == 0 and max(took) < MAX_S
    print(
        f"\n{len(took)} swaps under {load.per_second:.0f} requests a second: slowest {max(took):.2f} s "
        f"(promised < {MAX_S:g}), {load.failed:.0f} failed requests (promised 0): {'held' if held else 'MISSED'}"
    )
    return held


def _swap(server: Server, project: Path) -> tuple[list[float], Figures]:
    """Return the seconds from each new revision to the first answer by it, and the load's figures."""
    figures: list[Figures] = []
    ask = server.target.ask(ROW)

    def loaded() -> None:
        figures.append(measure(server.port, server.process.pid, ask, connections=32, seconds=SECONDS))

    load = threading.Thread(target=loaded)
    load.start()
    metadata, took = open_book(project), []
    for number in range(2, 2 + SWAPS):
        version = 1 + (number + 1) % 2
        metadata.put(revision(MODEL, number, {version: ("champion", 100)}, created_at=SystemClock().now()))
        began = time.perf_counter()
        while _revision(server) != number and time.perf_counter() - began < GIVE_UP_S:
            SystemClock().sleep(0.005)
        took.append(time.perf_counter() - began)
    metadata.close()
    load.join()
    return took, figures[0]


def _revision(server: Server) -> int:
    _, body = post(server.port, server.target.ask(ROW))
    return int(msgspec.json.decode(body)["parameters"]["revision"])
