"""Measures processor time and memory of a server's process tree."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, kw_only=True)
class Memory:
    """In megabytes (1e6 bytes)."""

    worker: float
    """Resident size of the largest process that has no children: of one worker, where a parent starts workers."""
    tree: float
    """Proportional size of all processes together: what several share counts once."""
    processes: int


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all of its descendants that live."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs still; one that has ended and waits to be looked after does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def cpu_seconds(pid: int) -> float:
    """Return the processor time of the tree, that of children that have ended included."""
    total = 0.0
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(pid: int) -> Memory:
    """Return what the tree holds now."""
    resident: dict[int, float] = {}
    parents: set[int] = set()
    shared = 0.0
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess):
            resident[process.pid] = process.memory_info().rss / 1e6
            shared += process.memory_full_info().pss / 1e6
            parents.add(process.ppid())
    leaves = [size for number, size in resident.items() if number not in parents]
    return Memory(worker=max(leaves, default=0.0), tree=shared, processes=len(resident))
