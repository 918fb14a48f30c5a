"""Brings the online values of a stream's views up to date while its rows come."""

from __future__ import annotations

import logging
from collections.abc import Callable

from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.freshness import bring_up_to_date, stream_update, views_of
from trimtab.data.connectors.landing import Landed
from trimtab.errors import TrimtabError
from trimtab.records.data import TableVersion

log = logging.getLogger(__name__)

EVERY_S = 10.0
"""Time between two looks at values that change without new rows, and at views over views."""


class OnlineValues:
    """The views of one source. A failure is logged once; rows go on landing, and the next ones bring it up again.

    off: computes nothing, for a long past that `trimtab features` computes at once later.
    """

    def __init__(self, workspace: Workspace, source: str, *, off: bool = False) -> None:
        self._workspace, self._source, self._off = workspace, source, off
        self._looked = 0.0
        self._told = ""

    def catch_up(self) -> None:
        """Take in all rows of the recorded table, as after a restart."""
        self._looked = self._workspace.now().timestamp()
        if self._workspace.tables.version(self._source) is not None:
            self._try(self._update_all)

    def take(self, landed: Landed) -> None:
        """Take in the rows of one micro-batch."""
        version = TableVersion(
            id=f"{self._source}@{landed.version}",
            created_at=self._workspace.now(),
            table=self._source,
            version=landed.version,
            rows=landed.first + landed.rows,
            added_rows=landed.rows,
            content_hash="",
            schema={},
            source=landed.label,
            source_hash="",
        )
        self._try(lambda: stream_update(self._workspace, version, landed.frame))

    def tick(self) -> None:
        """Look whether values changed by time alone, if it is time to."""
        if self._workspace.now().timestamp() - self._looked >= EVERY_S:
            self.catch_up()

    def _update_all(self) -> None:
        for view in views_of(self._workspace, self._source):
            bring_up_to_date(self._workspace, view)

    def _try(self, update: Callable[[], object]) -> None:
        if self._off:
            return
        try:
            update()
            self._told = ""
        except TrimtabError as error:
            if str(error) != self._told:
                log.error("online values of '%s': %s", self._source, error)
            self._told = str(error)
