"""Bounds the memory of a process by what the machine has left, so that nobody else pays for it. Called by trial."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
FIRST_TO_GO = "1000"
"""Score with which the kernel's out-of-memory killer takes a process before all others (proc(5))."""


def bound_memory() -> None:
    """Let this process and its children have what is free now; beyond it, allocations fail.

    When memory runs out all the same, the kernel takes them first. Where the system does not tell what is free, and
    where it allows no bounds, nothing is bounded.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    free, own = free_bytes(), _own_bytes()
    if free is None or own is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = own + free
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def free_bytes() -> int | None:
    """Return how much memory new processes can have: of the machine, and of the container when that has less."""
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
    except (OSError, ValueError, IndexError):  # no such bound, or none that is a number: "max"
        return []
    return [max(0, limit - used + (_field(folder / "memory.stat", "inactive_file") or 0))]


def _own_bytes() -> int | None:
    """Return what this process has already by the measure of the bound: its private, writable memory."""
    kilobytes = _field(Path("/proc/self/status"), "VmData:")
    return None if kilobytes is None else kilobytes * 1024


def _field(path: Path, name: str) -> int | None:
    """Return the number behind a name at the head of a line."""
    with suppress(OSError, ValueError, IndexError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return None
