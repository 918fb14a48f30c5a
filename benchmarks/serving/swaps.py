"""Deploys and rollbacks under load: how long until one takes effect, and how many requests fail meanwhile."""

from __future__ import annotations

import http.client
import threading
import time
from pathlib import Path

import msgspec

from benchmarks.serving.load import BODY, PATH, Figures, measure
from benchmarks.serving.model import MODEL, NOW
from benchmarks.serving.servers import Server
from trimtab.clock import SystemClock
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.bundles import revision

SWAPS = 10
SECONDS = 8


def swap_under_load(server: Server, root: Path) -> tuple[list[float], Figures]:
    """Return the seconds from each new revision to the first answer by it, and the load's figures."""
    figures: list[Figures] = []
    load = threading.Thread(
        target=lambda: figures.append(measure(server.port, server.process.pid, connections=32, seconds=SECONDS))
    )
    load.start()
    metadata, took = SqlMetadata(root / "metadata.db"), []
    probe = http.client.HTTPConnection("127.0.0.1", server.port)
    for number in range(2, 2 + SWAPS):
        version = 1 + (number + 1) % 2
        metadata.put(revision(MODEL, number, {version: ("champion", 100)}, created_at=NOW))
        began = time.perf_counter()
        while _revision(probe) != number:
            SystemClock().sleep(0.005)
        took.append(time.perf_counter() - began)
    metadata.close()
    load.join()
    return took, figures[0]


def _revision(probe: http.client.HTTPConnection) -> int:
    probe.request("POST", PATH, BODY)
    found = msgspec.json.decode(probe.getresponse().read())
    return int(found["parameters"]["revision"])
