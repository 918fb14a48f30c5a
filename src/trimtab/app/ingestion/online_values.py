"""Brings the online values of a stream's views up to date while its rows come."""

from __future__ import annotations

import logging

from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.freshness import bring_up_to_date
from trimtab.data.connectors.landing import Landed
from trimtab.definitions.views import FeatureView
from trimtab.errors import TrimtabError

log = logging.getLogger(__name__)

EVERY_S = 2.0
"""Least time between two updates."""


class OnlineValues:
    """The views of one source. Failures are logged once and tried again; rows go on landing."""

    def __init__(self, workspace: Workspace, source: str) -> None:
        self._workspace, self._source = workspace, source
        self._behind = True
        self._updated = 0.0
        self._told = ""

    def catch_up(self) -> None:
        """Take in all rows of the table."""
        self._behind = True
        self.tick()

    def take(self, landed: Landed) -> None:
        """Take in the rows of one micro-batch."""
        self._behind = self._behind or landed.rows > 0
        self.tick()

    def tick(self) -> None:
        """Update what is behind, if it is time to."""
        now = self._workspace.now().timestamp()
        if not self._behind or now - self._updated < EVERY_S or self._workspace.tables.version(self._source) is None:
            return
        try:
            for view in self._views():
                bring_up_to_date(self._workspace, view)
        except TrimtabError as error:
            if str(error) != self._told:
                log.error("online values of '%s': %s", self._source, error)
            self._told = str(error)
        self._behind, self._updated = False, self._workspace.now().timestamp()

    def _views(self) -> list[FeatureView]:
        views = self._workspace.project.definitions.views.values()
        return [view for view in views if view.source.name == self._source]
