"""Keeps online feature values up to date: for the definitions' views, and for bundles that serve or may be restored.

A bundle serves by the views that it was trained on, also after definitions.py has changed. They are rebuilt from
their records, so they go on being computed as long as the bundle serves, challenges, or is what a rollback restores.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.in_service import in_service
from trimtab.clock import from_micros, to_micros
from trimtab.definitions.models import Model
from trimtab.definitions.views import FeatureView
from trimtab.errors import StageError, TrimtabError, UsageError
from trimtab.features.stream_state import StreamUpdater
from trimtab.features.view_versions import view_of, view_version
from trimtab.lazy_library import LazyLibrary
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest, newest_until

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=10)
"""Least time between two refreshes by a running loop."""
REST = 10
"""After a refresh the loop waits for so many times its duration."""
TIDY_EVERY = timedelta(hours=1)
"""Time between two removals of what the online store needs no more."""


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
    full, position = _rebuilt(workspace, view, version), StreamUpdater(view, workspace.online, pl.LazyFrame).position
    if not full and position is not None and position.version > version.version:
        version = msgspec.structs.replace(version, version=position.version)  # a stream has landed more since
    return _updater(workspace, view, version).update(
        until=to_micros(workspace.now()), version=version.version, full=full
    )


def rebuild_values(
    workspace: Workspace, view: FeatureView, *, since: datetime | None, until: datetime
) -> tuple[int, int]:
    """Compute a view's timelines anew from its table, and remove what no read from `since` on returns.

    Returns the values that changed, and those that were removed. Raises StageError when its table is empty, UsageError
    when `until` lies before the watermark.
    """
    workspace.metadata.put(view_version(view, workspace.clock))
    version = latest(workspace.metadata, TableVersion, table=view.source.name)
    if version is None:
        raise StageError(f"table '{view.source.name}' is empty; run: trimtab ingest")
    done = workspace.online.watermark(view.version_id)
    if done is not None and to_micros(until) < done:
        raise UsageError(
            f"values of view '{view.name}' are complete until {from_micros(done):%Y-%m-%dT%H:%M:%SZ} already; expected "
            "--until at or after that, or none"
        )
    updater = _updater(workspace, view, version)
    changed = updater.update(until=to_micros(until), version=version.version, full=True)
    return changed, 0 if since is None else workspace.online.expire(view.version_id, to_micros(since))


def stream_update(workspace: Workspace, version: TableVersion, rows: pl.DataFrame) -> dict[str, int]:
    """Bring all views of a source up to date with the rows that a version of its table added.

    The views are those of definitions.py and those of bundles in service. The rows alone are read, unless a view lacks
    rows before them. Views over views are left out: they read their whole table, so the refresher updates them.

    Args:
        workspace: has the table, the online store and the records.
        version: the record of the version.
        rows: its added rows, with the columns of the table.

    Returns:
        By view version the number of values that changed.
    """
    until, first = to_micros(workspace.now()), version.rows - version.added_rows
    written = {}
    for view in (each for each in views_of(workspace, version.table) if each.over is None):
        full = _rebuilt(workspace, view, version)
        updater = _updater(workspace, view, version)
        written[view.version_id] = updater.update(rows, until=until, first=first, version=version.version, full=full)
    return written


def views_of(workspace: Workspace, source: str) -> list[FeatureView]:
    """Return the views of a source: those of definitions.py, and those of bundles in service."""
    definitions = workspace.project.definitions
    views = {view.version_id: view for view in definitions.views.values() if view.source.name == source}
    for model in definitions.models:
        for bundle in in_service(workspace, model):
            for id_ in bundle.views:
                if id_ not in views:
                    view = view_of(workspace.metadata.get(FeatureViewVersion, id_))
                    if view.source.name == source:
                        views[id_] = view
    return list(views.values())


def _updater(workspace: Workspace, view: FeatureView, version: TableVersion) -> StreamUpdater:
    """Return the updater of a view, which reads a version of its table where it must."""
    return StreamUpdater(
        view,
        workspace.online,
        lambda: workspace.tables.scan(view.source.name, version=version.version),
        lateness=workspace.project.policy.features.lateness,
    )


def _rebuilt(workspace: Workspace, view: FeatureView, version: TableVersion) -> bool:
    """Return True if all rows of the table were read again after the view's state: any value may be another one."""
    position = StreamUpdater(view, workspace.online, pl.LazyFrame).position
    if position is None or position.version == version.version:
        return False
    new = newest_until(workspace.metadata, TableVersion, lambda v: v.version <= position.version, table=version.table)
    return any(one.replaces_all for one in new)


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
    """Refreshes the views of bundles in service while the loop runs; all views where the policy has a schedule.

    Failures are logged once and tried again. Once in TIDY_EVERY it removes what no read needs any more; not while
    `replaying` returns True, since a replay reads the past.
    """

    def __init__(self, workspace: Workspace, replaying: Callable[[], bool] = lambda: False) -> None:
        self._workspace = workspace
        self._replaying = replaying
        self._next: datetime = workspace.now()
        self._tidied = workspace.now()
        self._unused: frozenset[str] = frozenset()
        """View versions that were unused when the store was tidied last."""
        self._told: set[str] = set()

    def step(self) -> None:
        """Refresh the views of all bundles in service if it is time to."""
        began = self._workspace.now()
        if began < self._next:
            return
        scheduled = self._workspace.project.policy.features.materialize
        problems: set[str] = set()
        definitions = self._workspace.project.definitions
        for view in definitions.views.values() if scheduled is not None else ():
            try:
                bring_up_to_date(self._workspace, view)
            except TrimtabError as error:
                problems.add(f"view '{view.name}': {error}")
        for model in definitions.models:
            try:
                problems.update(refresh(self._workspace, model))
            except TrimtabError as error:
                problems.add(f"features of model '{model}': {error}")
        for problem in sorted(problems - self._told):
            log.error("%s", problem)
        self._told = problems
        ended = self._workspace.now()
        if scheduled is not None:
            self._next = began + timedelta(microseconds=scheduled.every)
        else:
            self._next = ended + max(EVERY, REST * (ended - began))
        if ended - self._tidied >= TIDY_EVERY and not self._replaying():
            self._tidied = ended
            self._tidy()

    def _tidy(self) -> None:
        """Remove versions that were unused for TIDY_EVERY, and old entries by the policy's `features.keep`."""
        try:
            unused = unused_versions(self._workspace)
            for id_ in sorted(unused & self._unused):
                log.info("online values of view %s are removed: %d entries", id_, self._workspace.online.drop(id_))
            self._unused = unused - self._unused
            expire(self._workspace)
        except TrimtabError as error:
            log.error("the online store was not tidied: %s", error)


def unused_versions(workspace: Workspace) -> frozenset[str]:
    """Return the view versions in the online store that neither definitions.py nor a bundle in service names.

    A bundle that a rollback restores is in service.
    """
    used = {view.version_id for view in workspace.project.definitions.views.values()}
    for model in workspace.project.definitions.models:
        used |= {id_ for bundle in in_service(workspace, model) for id_ in bundle.views}
    return frozenset(workspace.online.views()) - used


def expire(workspace: Workspace) -> int:
    """Remove the entries that are older than the policy's `features.keep`; return how many."""
    keep = workspace.project.policy.features.keep
    if keep is None:
        return 0
    removed = 0
    for id_ in workspace.online.views():
        if (watermark := workspace.online.watermark(id_)) is not None:
            removed += workspace.online.expire(id_, watermark - keep)
    return removed
