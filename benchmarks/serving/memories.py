"""Samples the memory of each process of a running server."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import psutil

from benchmarks.serving.processes import tree

EVERY_S = 2.0
STRETCH_S = 60.0
"""The first and the last of these are compared; of a shorter run, the first and the last third."""
LONG_ENOUGH = 0.9
"""Processes that lived for a smaller share of the time, such as helpers, are left out."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Private memory (USS) of one process at the start and at the end, in megabytes (1e6 bytes)."""

    pid: int
    name: str
    first: float
    last: float
    most: float

    @property
    def grown(self) -> float:
        """Megabytes that it has grown by."""
        return self.last - self.first


class Memories:
    """A context: samples while it is open. It runs in a thread of its own."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: dict[int, list[tuple[float, float]]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memories")

    def __enter__(self) -> Memories:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def growths(self) -> list[Growth]:
        """Return the growth of each process that lived nearly all the time, the parent first."""
        times = [time for samples in self._samples.values() for time, _ in samples]
        begin, end = min(times), max(times)
        stretch = min(STRETCH_S, (end - begin) / 3)
        found = []
        for pid, samples in self._samples.items():
            if samples[-1][0] - samples[0][0] < LONG_ENOUGH * (end - begin):
                continue
            first = [size for time, size in samples if time <= begin + stretch]
            last = [size for time, size in samples if time >= end - stretch]
            most = max(size for _, size in samples)
            name = "supervisor" if pid == self._pid else "worker"
            found.append(Growth(pid=pid, name=name, first=median(first), last=median(last), most=most))
        return sorted(found, key=lambda growth: (growth.name != "supervisor", growth.pid))

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            for process in tree(self._pid):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    size = process.memory_full_info().uss / 1e6
                    self._samples.setdefault(process.pid, []).append((perf_counter(), size))
