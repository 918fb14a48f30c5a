"""The first stage: takes new rows of sources into tables, whatever kind they are, and checks tables again."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing

from trimtab.app.project.broker import stream_servers
from trimtab.app.project.kept_tables import version_as_of
from trimtab.app.project.locks import Locked, locked
from trimtab.app.project.project import late_sources
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.batch_distribution import compare_batch
from trimtab.data.batch import Intake, open_intake
from trimtab.data.connectors.connector_catalog import open_connector
from trimtab.data.connectors.contract import Access, Connector
from trimtab.data.connectors.landing import land_batches
from trimtab.data.connectors.micro_batches import BrokerAway, StreamConnector
from trimtab.data.connectors.pulling import ingest_pulls
from trimtab.data.ingest import Ingested
from trimtab.data.ingest import ingest as ingest_files
from trimtab.data.ingest import validate as validate_table
from trimtab.data.rebuild import rebuild as rebuild_table
from trimtab.data.source_files import has_files
from trimtab.definitions.sources import FileSource, Source
from trimtab.errors import DefinitionError, UsageError, nearest
from trimtab.records.data import CheckReport, TableVersion
from trimtab.stores.metadata.contract import latest


def chosen_sources(workspace: Workspace, name: str | None) -> list[Source]:
    """Return one source by name, or all. Raises DefinitionError with the nearest name."""
    sources = workspace.project.definitions.sources
    if name is None:
        return list(sources.values())
    if name not in sources:
        raise DefinitionError(f"{workspace.project.definitions.path} has no source '{name}'.{nearest(name, sources)}")
    return [sources[name]]


def _sources_so_far(workspace: Workspace, name: str | None) -> list[Source]:
    """Return what `chosen_sources` does, without sources of outcomes that have neither files nor rows yet."""
    late = late_sources(workspace.project.definitions)

    def is_there(source: Source) -> bool:
        if source.name not in late or name is not None or workspace.tables.version(source.name) is not None:
            return True
        return not isinstance(source, FileSource) or has_files(source, workspace.project.folder)

    return [source for source in chosen_sources(workspace, name) if is_there(source)]


def ingest(workspace: Workspace, source: str | None = None, *, rows: int | None = None) -> list[Ingested]:
    """Take new rows of one source, or of all, into tables. Raises DataError, StoreError or CheckFailed.

    A source that another process ingests is skipped, unless it was named. rows: stop each source after the file or pull
    with which its table has so many.
    """
    done: list[Ingested] = []
    for one in referenced_first(workspace, _sources_so_far(workspace, source)):
        if isinstance(one, FileSource):
            done.extend(ingest_files(intake_of(workspace, one), rows))
        else:
            done.extend(pull_all(workspace, one, named=source is not None, rows=rows))
    return done


def referenced_first(workspace: Workspace, sources: Sequence[Source]) -> Iterable[Source]:
    """Return sources in an order in which a source comes after those that its checks refer to."""
    checks = workspace.project.policy.checks.tables
    needs = {
        one.name: {to.source for to in checks[one.name].references.values()} - {one.name}
        for one in sources
        if one.name in checks
    }
    left = list(sources)
    while left:
        names = {one.name for one in left}
        ready = next((one for one in left if not needs.get(one.name, set()) & names), left[0])
        left.remove(ready)
        yield ready


def pulled(
    workspace: Workspace, source: Source, connector: Connector | StreamConnector, doing: str
) -> Generator[Ingested, None, None]:
    """Take new rows of a source into its table, and yield one result for each pull after its commit.

    doing: what for, in words, for the process that is refused meanwhile. Raises Locked and what `ingest_pulls` raises.
    """
    why = f"Source '{source.name}' is ingested by one process at a time"
    if isinstance(connector, StreamConnector):
        why += "; the rows that a stream takes are in a version of the table after a minute, or when it ends"
    with locked(workspace, f"ingest-{source.name}", doing, why=why):
        intake = intake_of(workspace, source)
        if isinstance(connector, StreamConnector):
            yield from land_batches(intake, connector)
        else:
            yield from ingest_pulls(intake, connector)


def intake_of(workspace: Workspace, source: Source) -> Intake:
    """Return a source with its table and the checks of the policy."""
    return open_intake(
        source,
        folder=workspace.project.folder,
        checks=workspace.project.policy.checks,
        tables=workspace.tables,
        metadata=workspace.metadata,
        clock=workspace.clock,
        keys=workspace.project.definitions.key_columns(source),
        compare=compare_batch,
    )


def access(workspace: Workspace) -> Access:
    """Return what connectors may use of the project."""
    embedded = workspace.environment.stream is None
    return Access(workspace.project.folder, workspace.root, stream_servers(workspace), embedded=embedded)


def pull_all(workspace: Workspace, source: Source, *, named: bool, rows: int | None = None) -> list[Ingested]:
    """Take new rows of a source that is no file. named: raise where another process ingests it, or it is away. rows: as
    of `ingest`."""
    done: list[Ingested] = []
    newest = latest(workspace.metadata, TableVersion, table=source.name)
    if rows is not None and newest is not None and newest.rows >= rows:
        return [Ingested(source.name, source.name, 0, 0, newest, skipped=f"{newest.rows:,} rows in it", unit="batch")]
    try:
        connector = open_connector(source, access(workspace))
        with closing(pulled(workspace, source, connector, "trimtab ingest")) as pulls:
            for each in pulls:
                done.append(each)
                if rows is not None and each.version.rows >= rows:
                    break
    except (Locked, BrokerAway) as busy:
        newest = latest(workspace.metadata, TableVersion, table=source.name)
        if named or newest is None:
            raise
        return [Ingested(source.name, source.name, 0, 0, newest, skipped=str(busy), unit="batch")]
    if done:
        return done
    newest = latest(workspace.metadata, TableVersion, table=source.name)
    if newest is None:
        return []
    return [Ingested(source.name, source.name, 0, 0, newest, skipped=f"already in {newest.id}", unit="batch")]


def rebuild(workspace: Workspace, source: str) -> Ingested:
    """Read all files of a source again into the next version of its table. Raises DataError or CheckFailed."""
    (one,) = chosen_sources(workspace, source)
    if not isinstance(one, FileSource):
        raise UsageError(f"--rebuild reads files again, and source '{source}' is a {type(one).__name__}")
    return rebuild_table(intake_of(workspace, one))


def validate(workspace: Workspace, source: str | None = None, *, as_of: str | None = None) -> list[CheckReport]:
    """Check one table, or all; a stream or a database that has given no row yet is checked only by its name.

    as_of: a time or a version, as `version_as_of` reads it; None for the newest versions. Raises UsageError for a
    version without a source.
    """
    if as_of is not None and source is None and "@" in as_of:
        source = as_of.partition("@")[0]
    if as_of is not None and source is None and as_of.isdigit():
        raise UsageError(f"--as-of: version {as_of} of which table? trimtab validate SOURCE --as-of {as_of}")
    return [
        validate_table(intake_of(workspace, one), None if as_of is None else version_as_of(workspace, one.name, as_of))
        for one in _sources_so_far(workspace, source)
        if source is not None or isinstance(one, FileSource) or workspace.tables.version(one.name) is not None
    ]


def batch_reports(workspace: Workspace, table: str) -> list[CheckReport]:
    """Return the newest report on each batch of a table, oldest first."""
    found: dict[str, CheckReport] = {}
    for report in workspace.metadata.find(CheckReport, table=table):  # newest first
        if not report.source.startswith(f"{table}@") and not report.replaces_all:
            found.setdefault(report.batch_hash, report)
    return list(found.values())[::-1]
