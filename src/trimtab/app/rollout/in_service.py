"""Which bundles serve or may be restored, and which of their feature views lag behind their tables.

Light: the supervisor of a gateway imports it, and loads no library that computes features.
"""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros, to_micros
from trimtab.errors import NotFound
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.serving.processes.revision_follower import restorable
from trimtab.stores.metadata.contract import latest


def in_service(workspace: Workspace, model: str) -> list[Bundle]:
    """Return the bundles of the present revision, and the one that a rollback restores."""
    history: Sequence[Revision] = workspace.metadata.find(Revision, model=model)
    if not history:
        return []
    before = restorable(history)
    ids = [assignment.bundle for assignment in history[0].assignments]
    if before is not None and (restored := before.bundle_in("champion")) is not None:
        ids.append(restored)
    return [workspace.metadata.get(Bundle, id_) for id_ in dict.fromkeys(ids)]


def stale_views(workspace: Workspace, model: str) -> list[str]:
    """Return what is known without reading a table: views in service that lag behind it, in words."""
    found = []
    for bundle in in_service(workspace, model):
        for id_ in bundle.views:
            try:
                source = workspace.metadata.get(FeatureViewVersion, id_).source
            except NotFound as error:
                found.append(f"bundle {bundle.id}: {error}")
                continue
            version = latest(workspace.metadata, TableVersion, table=source)
            done = workspace.online.watermark(id_)
            if source not in workspace.project.definitions.sources:
                found.append(
                    f"bundle {bundle.id} serves by view {id_} of source '{source}', which definitions.py has no more"
                )
            elif version is not None and (done is None or done < to_micros(version.created_at)):
                since = "never computed" if done is None else f"of {from_micros(done):%Y-%m-%d %H:%M} UTC"
                found.append(f"bundle {bundle.id}: values of view {id_} are {since}, older than table {version.id}")
    return found
