"""Gives a process the lowest priority.

With only a nice value a process may keep the processor for some milliseconds after another process has become ready.
Under Linux' SCHED_IDLE it yields at once, and the scheduler counts a processor that runs only such processes as idle
(sched(7)). On a busy machine such a process may not run at all. Therefore `low` gives only a nice value while a process
loads its model, and `lowest` adds SCHED_IDLE afterwards.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

NICE, NICEST = 10, 19

logger = logging.getLogger(__name__)


def low(pid: int, nice: int = NICE) -> None:
    """Give a process and its threads a nice value. Errors of the system are ignored."""
    for task in _tasks(pid):
        with suppress(OSError):  # it has just ended
            os.setpriority(os.PRIO_PROCESS, task, nice)


def lowest(pid: int) -> None:
    """Give a process and its threads SCHED_IDLE on Linux, nice 19 elsewhere."""
    low(pid, NICEST)
    if sys.platform != "linux":
        return
    for task in _tasks(pid):
        try:
            os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
        except ProcessLookupError:
            continue
        except OSError as error:  # a sandbox may forbid it
            logger.info("process %d keeps its scheduling policy: %s", pid, error)
            return


def _tasks(pid: int) -> Iterable[int]:
    """Return the ids of a process's threads: on Linux each has its own priority."""
    try:
        return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return [pid]
