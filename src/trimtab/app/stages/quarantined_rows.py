"""Shows the rows that the checks refused, and lets a person release or drop them."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.ingesting import chosen_sources, intake_of
from trimtab.data.ingest import record_versions
from trimtab.data.quarantine import Refused, RefusedBatch, no_such_batch, read_refused, refused_batch
from trimtab.data.quarantine_release import drop, release, released_as
from trimtab.errors import UsageError
from trimtab.records.data import QuarantineEnd, TableVersion


def refused(workspace: Workspace, source: str | None = None, *, rows: int) -> list[Refused]:
    """Return what the checks refused of one source, or of all. rows: most rows a source."""
    for one in chosen_sources(workspace, source):
        _settle(workspace, one.name)
    return [
        read_refused(one.name, tables=workspace.tables, metadata=workspace.metadata, limit=rows)
        for one in chosen_sources(workspace, source)
    ]


def find_refused(workspace: Workspace, batch: str) -> RefusedBatch:
    """Return the refused batch with this file name, or whose id begins so.

    Raises UsageError when there is none, or several of several sources.
    """
    sources = [source.name for source in chosen_sources(workspace, None)]
    stores = {"tables": workspace.tables, "metadata": workspace.metadata}
    found = [one for name in sources if (one := refused_batch(name, batch, **stores))]  # type: ignore[arg-type]
    if not found:
        raise no_such_batch(batch, sources, metadata=workspace.metadata)
    if len(found) > 1:
        names = ", ".join(f"{one.report.batch_hash[:12]} of {one.report.table}" for one in found)
        raise UsageError(f"'{batch}' is a batch of several sources: {names}; name it by its id")
    return found[0]


def release_rows(
    workspace: Workspace, batch: str, *, rows: Sequence[int], reason: str, by: str, force: bool
) -> tuple[QuarantineEnd, TableVersion]:
    """Release held rows of a batch; return the answer, and the version that has the rows. Raises as `release`."""
    found = find_refused(workspace, batch)
    (source,) = chosen_sources(workspace, found.report.table)
    _settle(workspace, source.name)
    end = release(intake_of(workspace, source), found, rows=rows, reason=reason, by=by, force=force)
    versions = {version.source_hash: version for version in _settle(workspace, source.name)}
    return end, versions[released_as(end)]


def drop_rows(workspace: Workspace, batch: str, *, rows: Sequence[int], reason: str, by: str) -> QuarantineEnd:
    """Drop held rows of a batch. Raises as `drop`."""
    found = find_refused(workspace, batch)
    return drop(workspace.metadata, found, rows=rows, reason=reason, by=by, clock=workspace.clock)


def _settle(workspace: Workspace, table: str) -> Sequence[TableVersion]:
    """Finish releases that ended before their rows were in the table; return the versions of the table."""
    return record_versions(table, tables=workspace.tables, metadata=workspace.metadata, clock=workspace.clock)
