"""Limits the memory of this process to what the machine has free, so that other processes keep theirs."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
FIRST_TO_GO = "1000"
"""The oom_score_adj with which the kernel kills a process before all others when memory runs out (proc(5))."""


def limit_memory(most: int | None = None) -> None:
    """Limit this process and its children to the memory that is free now; beyond it, allocations fail.

    most: bytes that it may take beyond what it has now, if that is less. When memory runs out all the same, the kernel
    kills them first. No-op where the system does not report free memory or allows no limit.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    free, own = free_bytes(), _own_bytes()
    allowed = [size for size in (free, most) if size is not None]
    if not allowed or own is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = own + min(allowed)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def free_bytes() -> int | None:
    """Return the memory that is free on the machine, or in the container when that is less; None if unknown."""
    machine = _field(Path("/proc/meminfo"), "MemAvailable:")
    if machine is None:
        return None
    return min([machine * 1024, *_free_in_container()])


def _free_in_container() -> list[int]:
    try:
        own = Path("/proc/self/cgroup").read_text().partition("::")[2].splitlines()[0].lstrip("/")
        folder = CGROUPS / own if (CGROUPS / own / "memory.max").is_file() else CGROUPS
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError, IndexError):  # no such limit, or "max", which is no number
        return []
    return [max(0, limit - used + (_field(folder / "memory.stat", "inactive_file") or 0))]


def _own_bytes() -> int | None:
    """Return the private, writable memory of this process: what RLIMIT_DATA counts."""
    kilobytes = _field(Path("/proc/self/status"), "VmData:")
    return None if kilobytes is None else kilobytes * 1024


def _field(path: Path, name: str) -> int | None:
    """Return the number on the line that starts with `name`."""
    with suppress(OSError, ValueError, IndexError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return None
