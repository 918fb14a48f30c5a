"""Measures the resources of a block of code: CPU seconds, wall seconds, peak memory, money.

Memory is sampled, so a peak shorter than SAMPLE_S can be missed. Child processes are included: finished ones through
the CPU times that the kernel adds up for the parent, running ones through their own.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from types import TracebackType

import psutil

from trimtab.policy.model import Prices

SAMPLE_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Resources that a block of code used."""

    cpu_seconds: float
    wall_seconds: float
    peak_memory_mb: float
    """Largest resident memory of the process and its children, in 10^6 bytes."""

    def cost(self, prices: Prices) -> float:
        """Return the money for CPU time, and for the peak memory over the whole time."""
        memory_gb_hours = self.peak_memory_mb / 1000 * self.wall_seconds / 3600
        return self.cpu_seconds / 3600 * prices.cpu_hour + memory_gb_hours * prices.memory_gb_hour


class Meter:
    """Measures the resources of a `with` block; `usage` is available after the block."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._peak = 0
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="trimtab-meter", daemon=True)
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage:
        """Resources of the block. Raises RuntimeError inside the block."""
        if self._usage is None:
            raise RuntimeError("the measured block has not ended yet")
        return self._usage

    def __enter__(self) -> Meter:
        self._sample()
        self._cpu, self._wall = self._cpu_seconds(), time.perf_counter_ns()
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cpu, wall = self._cpu_seconds() - self._cpu, time.perf_counter_ns() - self._wall
        self._done.set()
        self._watcher.join()
        self._sample()
        self._usage = Usage(cpu_seconds=max(0.0, cpu), wall_seconds=wall / 1e9, peak_memory_mb=self._peak / 1e6)

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        total = self._process.memory_info().rss
        for child in self._process.children(recursive=True):
            try:
                total += child.memory_info().rss
            except psutil.Error:  # the process has ended
                continue
        self._peak = max(self._peak, total)

    def _cpu_seconds(self) -> float:
        waited = os.times()
        total = time.process_time() + waited.children_user + waited.children_system
        for child in self._process.children(recursive=True):
            try:
                used = child.cpu_times()
            except psutil.Error:  # the process has ended
                continue
            total += used.user + used.system
        return total
