"""Keeps online feature values up to date: for the definitions' views, and for bundles that serve or may be restored.

A bundle serves by the views that it was trained on, also after definitions.py has changed. They are rebuilt from
their records, so they go on being computed as long as the bundle serves, challenges, or is what a rollback restores.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.in_service import in_service
from trimtab.clock import to_micros
from trimtab.definitions.models import Model
from trimtab.definitions.views import FeatureView
from trimtab.errors import StageError, TrimtabError
from trimtab.features.materialization import materialize
from trimtab.features.view_versions import view_of, view_version
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=10)
"""Least time between two refreshes by a running loop."""
REST = 10
"""After a refresh the loop waits for so many times its duration."""


def materialise(workspace: Workspace, model: Model) -> dict[str, int]:
    """Bring the online values of a model's views, and of its bundles in service, up to date.

    Returns the values written, by view version. Raises StageError and DefinitionError for the model's own views;
    what keeps a bundle's view from being refreshed is logged, since a new bundle may be the remedy.
    """
    written = {view.version_id: bring_up_to_date(workspace, view) for view in model.views}
    for problem in refresh(workspace, model.name):
        log.warning("%s", problem)
    return written


def bring_up_to_date(workspace: Workspace, view: FeatureView) -> int:
    """Write the view's timelines up to now; return the values that changed.

    Raises StageError when its table is empty, DefinitionError when the table lacks a column.
    """
    workspace.metadata.put(view_version(view, workspace.clock))
    version = latest(workspace.metadata, TableVersion, table=view.source.name)
    if version is None:
        raise StageError(f"table '{view.source.name}' is empty; run: trimtab ingest")
    now = to_micros(workspace.now())
    rows = workspace.tables.scan(view.source.name, version=version.version)
    done = workspace.online.watermark(view.version_id)
    full = done is not None and done <= now and _rebuilt(workspace, view.source.name, since=done)
    return materialize(view, rows, workspace.online, until=now, full=full)


def _rebuilt(workspace: Workspace, table: str, *, since: int) -> bool:
    """Return True if all rows of a table were read again after `since`: any of its values may be another one."""
    versions = workspace.metadata.find(TableVersion, table=table)
    return any(version.replaces_all and to_micros(version.created_at) > since for version in versions)


def refresh(workspace: Workspace, model: str) -> list[str]:
    """Bring the views of a model's bundles in service up to date; return what could not be, in words."""
    problems = []
    for bundle in in_service(workspace, model):
        try:
            bring_bundle_up_to_date(workspace, bundle)
        except TrimtabError as error:
            problems.append(str(error))
    return problems


def bring_bundle_up_to_date(workspace: Workspace, bundle: Bundle) -> None:
    """Bring the views that a bundle was trained on up to date. Raises StageError naming bundle, view and reason."""
    for id_ in bundle.views:
        try:
            view = view_of(workspace.metadata.get(FeatureViewVersion, id_))
            if view.source.name not in workspace.project.definitions.sources:
                raise StageError(f"definitions.py has no source '{view.source.name}' any more, so no new rows come in")
            bring_up_to_date(workspace, view)
        except TrimtabError as error:
            raise StageError(
                f"bundle {bundle.id} needs the view {id_}, whose values cannot be brought up to date: {error}"
            ) from error


class FeatureRefresher:
    """Refreshes the views of bundles in service while the loop runs. Failures are logged once and tried again."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._next: datetime = workspace.now()
        self._told: set[str] = set()

    def step(self) -> None:
        """Refresh the views of all bundles in service if it is time to."""
        began = self._workspace.now()
        if began < self._next:
            return
        problems: set[str] = set()
        for model in self._workspace.project.definitions.models:
            try:
                problems.update(refresh(self._workspace, model))
            except TrimtabError as error:
                problems.add(f"features of model '{model}': {error}")
        for problem in sorted(problems - self._told):
            log.error("%s", problem)
        self._told = problems
        ended = self._workspace.now()
        self._next = ended + max(EVERY, REST * (ended - began))
