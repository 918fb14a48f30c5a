"""Compacts the prediction log, and merges and removes files of tables, at intervals of a running loop."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from trimtab.app.project.kept_tables import MANY, TableUpkeep, compact_tables, vacuum_tables
from trimtab.app.project.workspace import Workspace
from trimtab.errors import StoreError
from trimtab.records.data import TableVersion
from trimtab.stores.predictions.contract import Compaction
from trimtab.units import MICROS

log = logging.getLogger(__name__)

EVERY = timedelta(minutes=5)
"""Time between two compactions of a running loop."""
LOOK_EVERY, UPKEEP_EVERY = timedelta(hours=1), timedelta(days=1)
"""Time between two looks of a running loop for new versions of tables; most time between two looks at their files."""
GRACE_S = 600.0
"""A segment keeps its file for so long after its last write: the monitor reads files faster than tables."""


def compact(workspace: Workspace, *, grace_s: float = GRACE_S) -> Compaction:
    """Compact the log once, by the policy's `serving.log` and `llm.store`. Raises StoreError."""
    policy = workspace.project.policy
    keep_s, contents_s = (kept / MICROS["s"] for kept in (policy.serving.log.retention, policy.llm.store.keep))
    return workspace.predictions.compact(grace_s=grace_s, keep_s=keep_s, contents_s=min(keep_s, contents_s))


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


class ScheduledUpkeep:
    """Merges small files of tables when MANY versions have come, and each UPKEEP_EVERY at the latest.

    Then it also removes files by the policy's `tables.keep`. Failures are logged and tried again; the loop goes on.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._next: datetime = workspace.now() + LOOK_EVERY
        self._latest: datetime = workspace.now() + UPKEEP_EVERY
        self._seen = 0

    def step(self) -> list[TableUpkeep]:
        """Look after the tables if it is time to, and return what was done."""
        now = self._workspace.now()
        if now < self._next:
            return []
        self._next = now + LOOK_EVERY
        keep = self._workspace.project.policy.tables.keep
        try:
            versions = self._workspace.metadata.count(TableVersion)
            if versions - self._seen < MANY and now < self._latest:
                return []
            self._seen, self._latest = versions, now + UPKEEP_EVERY
            names = self._workspace.tables.names()
            done = compact_tables(self._workspace, names, least=MANY)
            if keep is not None:
                done += vacuum_tables(self._workspace, names, keep=timedelta(microseconds=keep))
        except StoreError as error:
            log.error("the files of tables could not be merged or removed: %s; trying again in %s", error, LOOK_EVERY)
            return []
        for one in done:
            if one.files:
                log.info("table %s", one.reason)
        return done
