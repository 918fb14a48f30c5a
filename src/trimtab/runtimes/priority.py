"""Puts a process behind all others. Used by process for models that answer nobody.

With a nice value alone a process may still keep the processor for a slice of some milliseconds when another one wakes
up beside it. Linux' SCHED_IDLE gives way at once, and a processor that runs nothing else is taken for idle when
the system looks for one (sched(7)); in return it starves where the others leave nothing. While a process loads its
model it therefore is nice only, and not to the utmost, so that it comes up on a busy machine, too.
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
    """Give a process and its threads a nice value. What the system does not allow is left as it is."""
    for task in _tasks(pid):
        with suppress(OSError):  # it has just ended
            os.setpriority(os.PRIO_PROCESS, task, nice)


def lowest(pid: int) -> None:
    """Let a process and its threads run only where nobody else wants to; where there is no such thing, the nicest."""
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
    """Return the threads of a process: on Linux each has a priority of its own."""
    try:
        return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return [pid]
