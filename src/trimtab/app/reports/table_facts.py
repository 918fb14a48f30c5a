"""What is to be known of tables: their columns, versions and files, who keeps a version, and some of their rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from trimtab.app.project.kept_tables import held, named_versions, version_as_of
from trimtab.app.project.workspace import Workspace
from trimtab.data.personal_data import mask
from trimtab.data.quarantine import quarantine_table
from trimtab.definitions.personal_columns import personal_columns
from trimtab.records.data import TableVersion
from trimtab.stores.metadata.contract import latest


class TableRow(msgspec.Struct, frozen=True, kw_only=True):
    """One table in a list."""

    table: str
    version: int
    """The newest, those of compactions included."""
    rows: int | None
    """None for a table that no ingest wrote, such as a quarantine."""
    columns: int
    made_at: datetime | None
    source: str
    """Kind of its source, or what it is."""


class ColumnFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a version."""

    name: str
    type: str
    role: str
    """timestamp, known_at, key, or nothing of these."""
    pii: bool


class VersionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One version that an ingest made."""

    version: int
    made_at: datetime
    rows: int
    added_rows: int
    source: str
    readable: bool
    """False after a vacuum."""
    kept_by: str
    """What keeps it from a vacuum; empty for nothing but its age."""


class TableFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a table, and the versions of the table, newest first."""

    table: str
    version: int
    rows: int
    columns: tuple[ColumnFacts, ...]
    versions: tuple[VersionFacts, ...]
    head: tuple[dict[str, Any], ...]
    """Its last rows, without values of personal data unless they were asked for."""


def list_tables(workspace: Workspace) -> list[TableRow]:
    """Return all tables, by name."""
    sources = workspace.project.definitions.sources
    quarantines = {quarantine_table(name) for name in sources}
    found = []
    for name in workspace.tables.names():
        newest = latest(workspace.metadata, TableVersion, table=name)
        kind = type(sources[name]).__name__ if name in sources else "quarantine" if name in quarantines else ""
        found.append(
            TableRow(
                table=name,
                version=workspace.tables.version(name) or 0,
                rows=newest.rows if newest else None,
                columns=len(workspace.tables.schema(name) or {}),
                made_at=newest.created_at if newest else None,
                source=kind,
            )
        )
    return found


def table_facts(workspace: Workspace, table: str, *, as_of: str | None, rows: int, show_pii: bool) -> TableFacts:
    """Return what is to be known of a table as of a version or a time.

    rows: of the last rows of the version so many are returned. Raises as `version_as_of`.
    """
    version = version_as_of(workspace, table, as_of)
    source = workspace.project.definitions.sources.get(table)
    pii = () if source is None else source.pii
    roles = {} if source is None else {**dict.fromkeys(source.key, "key"), source.known_column: "known_at"}
    if source is not None:
        roles[source.timestamp] = "timestamp"
    frame = workspace.tables.scan(table, version=version.version).tail(rows).collect()
    hidden = () if show_pii else personal_columns(workspace.project.definitions)
    return TableFacts(
        table=table,
        version=version.version,
        rows=version.rows,
        columns=tuple(
            ColumnFacts(name=name, type=type_, role=roles.get(name, ""), pii=name in pii)
            for name, type_ in version.schema.items()
        ),
        versions=_versions(workspace, table),
        head=tuple(
            {name: mask(name, value, hidden) for name, value in row.items()} for row in frame.iter_rows(named=True)
        ),
    )


def _versions(workspace: Workspace, table: str) -> tuple[VersionFacts, ...]:
    readable, named = set(workspace.tables.readable(table)), named_versions(workspace, table)
    everything = "tables.hold of the policy" if held(workspace, table) else ""
    return tuple(
        VersionFacts(
            version=one.version,
            made_at=one.created_at,
            rows=one.rows,
            added_rows=one.added_rows,
            source=one.source,
            readable=one.version in readable,
            kept_by=everything or named.get(one.version, ""),
        )
        for one in workspace.metadata.find(TableVersion, table=table)
    )
