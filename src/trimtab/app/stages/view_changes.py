"""Compares views with earlier versions, says which of those are still in service, and computes values anew.

A bundle serves by the versions of its views with which it was trained, and these are kept up to date beside those of
definitions.py (`freshness`). So a changed or removed feature breaks nothing by itself. What does is a change after
which the old version cannot be computed any more: its source is gone, or its table has lost a column. `trimtab
features`, `run` and `deploy` refuse that.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from trimtab import units
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.in_service import in_service
from trimtab.app.stages.freshness import rebuild_values
from trimtab.definitions.aggregations import DECAYED, Aggregation
from trimtab.definitions.row_filter import columns_of
from trimtab.definitions.views import FeatureView
from trimtab.errors import DefinitionError, NotFound, StageError, UsageError, nearest
from trimtab.features.view_versions import view_of
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest


class FeatureChange(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that is not the same in two versions of a view."""

    feature: str
    change: str
    """added, removed or changed."""
    before: str | None
    now: str | None


class ViewDiff(msgspec.Struct, frozen=True, kw_only=True):
    """A view as it is defined now, compared with an earlier version."""

    view: str
    version: str
    against: str | None
    """Id of the earlier version; None: there is none."""
    options: tuple[str, ...]
    """Lines about entity, source and options that are different."""
    features: tuple[FeatureChange, ...]
    in_service: tuple[str, ...]
    """Bundles in service that use the earlier version."""
    lost: str | None
    """Why the earlier version cannot be kept up to date; None: it can."""

    @property
    def differs(self) -> bool:
        """Whether the two are different."""
        return bool(self.options or self.features)

    @property
    def breaking(self) -> bool:
        """Whether features are removed or changed, or all of them are by an option."""
        return bool(self.options) or any(each.change != "added" for each in self.features)


class Backfilled(msgspec.Struct, frozen=True, kw_only=True):
    """What computing a view anew has done. changed, expired: values that were written, and removed as too old."""

    version: str
    changed: int
    expired: int
    until: datetime


def defined_view(workspace: Workspace, name: str) -> FeatureView:
    """Return a view of definitions.py. Raises UsageError with the nearest name."""
    views = workspace.project.definitions.views
    if name not in views:
        path = workspace.project.definitions.path
        raise UsageError(f"{path} has no view '{name}'.{nearest(name, views)} All of them: trimtab features list")
    return views[name]


def diff_views(workspace: Workspace, against: str | None) -> list[ViewDiff]:
    """Compare all views with what a bundle serves by, or with what `diff_view` compares them with by default."""
    views = workspace.project.definitions.views
    if against is None:
        return [diff_view(workspace, name, None) for name in views]
    if "/" not in against:
        return [diff_view(workspace, against.partition("@")[0], against)]
    bundle = _bundle(workspace, against)
    own = {id_.partition("@")[0]: id_ for id_ in bundle.views}
    return [
        _diff(workspace, view, workspace.metadata.get(FeatureViewVersion, own[name]))
        for name, view in views.items()
        if name in own
    ]


def diff_view(workspace: Workspace, name: str, against: str | None) -> ViewDiff:
    """Compare a view with an earlier version.

    Args:
        workspace: has the definitions and the records.
        name: of the view.
        against: id of a version, or the start of one, or id of a bundle. None: the version of a bundle in service that
            is another one, else the version that was recorded last before this one.

    Raises:
        UsageError: there is no such view, version or bundle.
    """
    view = defined_view(workspace, name)
    records = workspace.metadata.find(FeatureViewVersion, view=name)
    if against is not None and "/" in against:
        bundle = _bundle(workspace, against)
        found = [record for record in records if record.id in bundle.views]
        if not found:
            raise UsageError(
                f"bundle {bundle.id} does not use view '{name}'; it uses {', '.join(bundle.views) or 'none'}"
            )
    elif against is not None:
        wanted = against if "@" in against else f"{name}@{against}"
        found = [record for record in records if record.id.startswith(wanted)]
        if len(found) != 1:
            ids = [record.id for record in records]
            what = "there is no version" if not found else "several versions begin with"
            raise UsageError(f"{what} '{against}' of view '{name}'.{nearest(wanted, ids)}")
    else:
        used = {
            id_
            for model in workspace.project.definitions.models
            for b in in_service(workspace, model)
            for id_ in b.views
        }
        others = [record for record in records if record.id != view.version_id]
        found = [record for record in others if record.id in used] or others or list(records)
    return _diff(workspace, view, found[0] if found else None)


def kept_versions(workspace: Workspace, model: str) -> list[str]:
    """Return a line for each bundle in service that serves by another version of a view than that of definitions.py."""
    views, lines = workspace.project.definitions.views, []
    for bundle in in_service(workspace, model):
        for id_ in bundle.views:
            name = id_.partition("@")[0]
            if name not in views or views[name].version_id != id_:
                lines.append(f"bundle {bundle.id} in service goes on with {id_}, which is kept up to date")
    return lines


def refuse_lost_views(workspace: Workspace, model: str) -> None:
    """Raise StageError if a bundle in service uses a version of a view that cannot be computed any more."""
    for bundle in in_service(workspace, model):
        for id_ in bundle.views:
            try:
                record = workspace.metadata.get(FeatureViewVersion, id_)
            except NotFound:
                continue
            if (lost := lost_because(workspace, record)) is not None:
                raise StageError(
                    f"bundle {bundle.id} is in service and needs the view {id_}, which cannot be kept up to date: "
                    f"{lost}. Put it back until another bundle serves, or let that bundle go without fresh values: "
                    "--force"
                )


def lost_because(workspace: Workspace, record: FeatureViewVersion) -> str | None:
    """Return why a version of a view cannot be computed from the tables any more; None: it can."""
    if record.source not in workspace.project.definitions.sources:
        return f"definitions.py has no source '{record.source}' any more"
    table = latest(workspace.metadata, TableVersion, table=record.source)
    if table is None:
        return None
    view = view_of(record)
    made = {each.name for each in view.over.aggregations} if view.over is not None else set()
    used = [leaf.column for leaf in view.leaves if leaf.column is not None]
    used += [name for leaf in view.leaves if leaf.where is not None for name in columns_of(leaf.where)]
    for column in (*view.entity.keys, view.source.timestamp, view.source.known_column, *used):
        if column not in table.schema and column not in made:
            return f"table {table.id} has no column '{column}' any more"
    return None


def backfill(workspace: Workspace, name: str, *, since: datetime | None, until: datetime | None) -> Backfilled:
    """Compute the online values of a view anew.

    Args:
        workspace: has the table and the online store.
        name: of the view.
        since: values that held only before it are removed.
        until: rows that were known by then are taken; None: now.

    Raises:
        UsageError: there is no such view, or `until` lies before what is computed already.
        StageError: its table is empty.
    """
    view = defined_view(workspace, name)
    end = until or workspace.now()
    if since is not None and since > end:
        raise UsageError(f"--since {since:%Y-%m-%d %H:%M} lies after --until {end:%Y-%m-%d %H:%M}")
    changed, expired = rebuild_values(workspace, view, since=since, until=end)
    return Backfilled(version=view.version_id, changed=changed, expired=expired, until=end)


def spelled(aggregation: Aggregation) -> str:
    """Return an aggregation in words: mean(amount) over 7d where channel == 'web'."""
    if aggregation.of:
        sign = "/" if aggregation.kind == "ratio" else "-"
        return f" {sign} ".join(f"({spelled(each)})" for each in aggregation.of)
    arguments = [aggregation.column] if aggregation.column is not None else []
    if aggregation.kind == "quantile":
        arguments.append(f"{aggregation.arg:g}")
    text = f"{aggregation.kind}({', '.join(arguments)})" if arguments else str(aggregation.kind)
    if aggregation.kind in DECAYED:
        text += f", half-life {units.short(int(aggregation.arg or 0))}"
    if aggregation.window is not None:
        text += f" over {units.short(aggregation.window)}"
    return text if aggregation.where is None else f"{text} where {aggregation.where}"


def _bundle(workspace: Workspace, id_: str) -> Bundle:
    try:
        return workspace.metadata.get(Bundle, id_)
    except NotFound:
        known = [each.id for each in workspace.metadata.find(Bundle)]
        raise UsageError(f"there is no bundle '{id_}'.{nearest(id_, known)}") from None


def _diff(workspace: Workspace, view: FeatureView, record: FeatureViewVersion | None) -> ViewDiff:
    if record is None:
        return ViewDiff(
            view=view.name, version=view.version_id, against=None, options=(), features=(), in_service=(), lost=None
        )
    serving = [
        b.id
        for model in workspace.project.definitions.models
        for b in in_service(workspace, model)
        if record.id in b.views
    ]
    return ViewDiff(
        view=view.name,
        version=view.version_id,
        against=record.id,
        options=tuple(_options(record.spec, view.spec())),
        features=tuple(_features(record.spec, view)),
        in_service=tuple(dict.fromkeys(serving)),
        lost=lost_because(workspace, record),
    )


def _options(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = [name for name in dict.fromkeys((*before, *now)) if name not in ("view", "features")]
    return [
        f"{name}: {_option(name, before.get(name))} became {_option(name, now.get(name))}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _option(name: str, value: Any) -> str:
    if name in ("ttl", "every") and value is not None:
        return units.short(value)
    if isinstance(value, Mapping):
        return f"view {value['view']}"
    return "nothing" if value is None else ", ".join(value) if isinstance(value, list | tuple) else str(value)


def _features(before: Mapping[str, Any], view: FeatureView) -> list[FeatureChange]:
    try:
        old = {each.name: each for each in map(Aggregation.of_spec, before["features"])}
    except DefinitionError:  # kinds that this release does not know
        old = {}
    now: dict[str, Aggregation] = {each.name: each for each in view.aggregations}
    found: list[FeatureChange] = []
    for name in dict.fromkeys((*old, *now)):
        one, other = old.get(name), now.get(name)
        if one != other:
            change = "added" if one is None else "removed" if other is None else "changed"
            before_text, now_text = (None if each is None else spelled(each) for each in (one, other))
            found.append(FeatureChange(feature=name, change=change, before=before_text, now=now_text))
    return found
