"""Compacts the prediction log: moves ended segments into its tables, and drops rows beyond the retention."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from trimtab.app.project.workspace import Workspace
from trimtab.errors import StoreError
from trimtab.stores.predictions.contract import Compaction
from trimtab.units import MICROS

log = logging.getLogger(__name__)

EVERY = timedelta(minutes=5)
"""Time between two compactions of a running loop."""
GRACE_S = 600.0
"""A segment keeps its file for so long after its last write: the monitor reads files faster than tables."""


def compact(workspace: Workspace, *, grace_s: float = GRACE_S) -> Compaction:
    """Compact the log once, by the policy's `serving.log`. Raises StoreError."""
    keep_s = workspace.project.policy.serving.log.retention / MICROS["s"]
    return workspace.predictions.compact(grace_s=grace_s, keep_s=keep_s)


class ScheduledCompaction:
    """Compacts the log every EVERY. Failures are logged and tried again; the loop goes on."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._next: datetime = workspace.now() + EVERY

    def step(self) -> Compaction | None:
        """Compact if it is time to, and return what was done."""
        if self._workspace.now() < self._next:
            return None
        self._next = self._workspace.now() + EVERY
        try:
            done = compact(self._workspace)
        except StoreError as error:
            log.error("the prediction log could not be compacted: %s; trying again in %s", error, EVERY)
            return None
        if done.segments or done.files_removed or done.rows_dropped:
            log.info("prediction log: %s", done.reason)
        return done
