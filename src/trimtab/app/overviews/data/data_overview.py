"""Tables, quarantined rows and features of a project: whether the data is whole, fresh and the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from trimtab.app.overviews import wording
from trimtab.app.overviews.data.feature_overview import FeatureSummary, feature_names, feature_rows, matching
from trimtab.app.overviews.reads.child_reader import reader
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.view_list import Found, ViewRow, models_of, search, view_row
from trimtab.data.personal_data import mask
from trimtab.definitions.personal_columns import personal_columns
from trimtab.definitions.sources import Source
from trimtab.errors import NotFound, nearest
from trimtab.records.data import CheckFailure, CheckReport, CheckResult, QuarantineEnd, TableVersion
from trimtab.records.record import Verdict
from trimtab.stores.metadata.contract import latest
from trimtab.units import plural, short

Freshness = Literal["fresh", "late", "stale"]
LATE, STALE = 1.0, 2.0
"""How many times its limit the newest row is old."""
MOST_BATCHES = 1000
"""Newest reports of a table that are searched for quarantined rows."""
REPORTS = 20


class TableSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One table."""

    name: str
    source: str
    """Kind of its source and where that is; empty for one that definitions.py has no more."""
    version: int | None
    """The newest; None before the first ingest."""
    rows: int
    added_rows: int
    columns: int
    made_at: datetime | None
    verdict: Verdict | None
    """Of the newest checks."""
    reason: str
    freshness: Freshness | None
    """None where the policy has no limit for the table."""
    why_freshness: str
    held_rows: int


class HeldBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch with rows in quarantine."""

    table: str
    batch: str
    """SHA-256 of the file, or id of the pull."""
    source: str
    """Name of the file."""
    at: datetime
    rows: int
    """Of the batch."""
    held: int
    """Rows that are neither released nor dropped."""
    failures: tuple[CheckFailure, ...]
    """Examples of columns with personal data are hidden."""
    ends: tuple[QuarantineEnd, ...]


class DataOverview(msgspec.Struct, frozen=True, kw_only=True):
    """What there is, and the features that a search found, or the first ones."""

    sentence: str
    tables: tuple[TableSummary, ...]
    held: tuple[HeldBatch, ...]
    features: tuple[FeatureSummary, ...]
    found: int
    """Features that match the search."""
    all_features: int
    next: str | None
    """Name of the feature after which the next page begins."""
    others: tuple[Found, ...]
    """Views and services that match the search, and tables and columns."""


class ColumnSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a table version. change: new, gone, or the type before; empty without a change."""

    name: str
    type: str
    role: str
    personal: bool
    change: str


class TableDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a table."""

    sentence: str
    summary: TableSummary
    version: TableVersion
    columns: tuple[ColumnSummary, ...]
    versions: tuple[TableVersion, ...]
    next: str | None
    """Id of the version after which the next page begins."""
    reports: tuple[CheckReport, ...]
    """The newest ones of the table."""
    views: tuple[str, ...]
    models: tuple[str, ...]


def data_overview(
    workspace: Workspace, find: str = "", *, after: str | None = None, limit: int | None = 50
) -> DataOverview:
    """Return tables, quarantine and features.

    Args:
        workspace: an open project.
        find: words that a feature, view, table or column must have; empty for all.
        after: name of the feature after which the page begins.
        limit: most features.

    Raises:
        NotFound: no feature is called `after`.
    """
    held = tuple(held_batches(workspace))
    tables = tuple(_tables(workspace, held))
    everything = feature_names(workspace)
    wanted = matching(workspace, everything, find)
    names = list(wanted)
    if after is not None and after not in wanted:
        raise NotFound(f"no feature '{after}' is in the list.{nearest(after, names)}")
    start = 0 if after is None else names.index(after) + 1
    end = len(names) if limit is None else start + limit
    return DataOverview(
        sentence=_sentence(tables, held),
        tables=tables,
        held=held,
        features=tuple(feature_rows(workspace, {name: wanted[name] for name in names[start:end]})),
        found=len(names),
        all_features=len(everything),
        next=names[end - 1] if end < len(names) else None,
        others=tuple(_others(workspace, tables, find)),
    )


def held_batches(workspace: Workspace) -> Iterator[HeldBatch]:
    """Yield the batches with rows that are held, by table and the newest first."""
    for name in sorted(workspace.project.definitions.sources):
        ends: dict[str, list[QuarantineEnd]] = {}
        for end in workspace.metadata.find(QuarantineEnd, table=name, oldest_first=True):
            ends.setdefault(end.batch, []).append(end)
        seen: set[str] = set()
        for report in workspace.metadata.find(CheckReport, table=name, verdict=("warn", "fail"), limit=MOST_BATCHES):
            if report.quarantine is None or report.batch_hash in seen or report.source.startswith(f"{name}@"):
                continue
            seen.add(report.batch_hash)
            of_batch = ends.get(report.batch_hash, [])
            held = report.failing_rows - len({row for end in of_batch for row in end.rows})
            if held > 0:
                yield HeldBatch(
                    table=name,
                    batch=report.batch_hash,
                    source=report.source,
                    at=report.created_at,
                    rows=report.rows,
                    held=held,
                    failures=tuple(_masked(workspace, failure) for failure in report.failures),
                    ends=tuple(of_batch),
                )


def held_rows(workspace: Workspace, batch: str) -> list[dict[str, Any]]:
    """Return the first rows of a quarantined batch. Raises UsageError for a batch that is none."""
    return reader(workspace).read("held_rows", list[dict[str, Any]], batch=batch)


def table_rows(workspace: Workspace, table: str, version: int | None, rows: int) -> dict[str, Any]:
    """Return the last rows of a table, and which versions can be read, as `table_facts.TableFacts`."""
    as_of = None if version is None else str(version)
    return reader(workspace).read("table", dict[str, Any], table=table, as_of=as_of, rows=rows)


def view_summary(workspace: Workspace, view: str) -> ViewRow:
    """Return what the definitions say of a view. Raises NotFound."""
    views = workspace.project.definitions.views
    if view not in views:
        raise NotFound(f"there is no view '{view}'.{nearest(view, views)}")
    return view_row(workspace, views[view])


def view_facts(workspace: Workspace, view: str) -> dict[str, Any]:
    """Return what is known of a view, as `feature_catalog.ViewFacts`. Raises UsageError for an unknown one."""
    return reader(workspace).read("view", dict[str, Any], name=view)


def table_detail(
    workspace: Workspace, table: str, version: int | None = None, *, before: str | None = None, limit: int | None = 50
) -> TableDetail:
    """Return one version of a table.

    Args:
        workspace: an open project.
        table: its name.
        version: None for the newest.
        before: id of the version after which the page of versions begins.
        limit: most versions.

    Raises:
        NotFound: no such table or version.
    """
    versions = workspace.metadata.find(
        TableVersion, table=table, before=before, limit=None if limit is None else limit + 1
    )
    newest = latest(workspace.metadata, TableVersion, table=table)
    sources = workspace.project.definitions.sources
    if newest is None:
        ingest = (
            f"it is not ingested yet: trimtab ingest {table}" if table in sources else nearest(table, sources).strip()
        )
        raise NotFound(f"there is no table '{table}'; {ingest}")
    shown = newest if version is None else _version(workspace, table, version)
    held = tuple(batch for batch in held_batches(workspace) if batch.table == table)
    summary = _table(workspace, table, newest, held)
    views = tuple(name for name, view in workspace.project.definitions.views.items() if view.source.name == table)
    models = {model for view in views for model in models_of(workspace, workspace.project.definitions.views[view])}
    models |= {name for name, model in workspace.project.definitions.models.items() if model.examples.name == table}
    more = limit is not None and len(versions) > limit
    return TableDetail(
        sentence=_table_sentence(shown, newest, summary),
        summary=summary,
        version=shown,
        columns=tuple(_columns(workspace, shown, sources.get(table))),
        versions=tuple(versions[:limit]),
        next=versions[limit - 1].id if more and limit else None,
        reports=tuple(
            msgspec.structs.replace(report, failures=tuple(_masked(workspace, f) for f in report.failures))
            for report in workspace.metadata.find(CheckReport, table=table, limit=REPORTS)
        ),
        views=views,
        models=tuple(sorted(models)),
    )


def _tables(workspace: Workspace, held: Sequence[HeldBatch]) -> Iterator[TableSummary]:
    for name in sorted(workspace.project.definitions.sources):
        newest = latest(workspace.metadata, TableVersion, table=name)
        yield _table(workspace, name, newest, [batch for batch in held if batch.table == name])


def _table(workspace: Workspace, name: str, newest: TableVersion | None, held: Sequence[HeldBatch]) -> TableSummary:
    source = workspace.project.definitions.sources.get(name)
    report = latest(workspace.metadata, CheckReport, table=name)
    state, why = _freshness(workspace, name)
    return TableSummary(
        name=name,
        source=f"{type(source).__name__}: {source.origin}" if source else "",
        version=newest.version if newest else None,
        rows=newest.rows if newest else 0,
        added_rows=newest.added_rows if newest else 0,
        columns=len(newest.schema) if newest else 0,
        made_at=newest.created_at if newest else None,
        verdict=report.verdict if report else None,
        reason=report.reason if report else "not checked yet",
        freshness=state,
        why_freshness=why,
        held_rows=sum(batch.held for batch in held),
    )


def _freshness(workspace: Workspace, name: str) -> tuple[Freshness | None, str]:
    """Return if the newest row is as new as the policy asks, by the newest check of the whole table."""
    check = workspace.project.policy.checks.tables.get(name)
    if check is None or check.freshness is None:
        return None, "the policy has no limit (checks.TABLE.freshness)"
    for report in workspace.metadata.find(CheckReport, table=name, limit=REPORTS):
        result: CheckResult | None = next((each for each in report.results if each.check == "freshness"), None)
        if result is None or result.value is None or not result.limit:
            continue
        old = result.value + (workspace.now() - report.created_at).total_seconds()
        times = old / result.limit
        state: Freshness = "fresh" if times <= LATE else "late" if times <= STALE else "stale"
        limit = short(check.freshness.max_age)
        return state, f"the newest row was {wording.duration(old)} old at the last check; limit {limit}"
    return None, "not validated yet: trimtab validate"


def _columns(workspace: Workspace, version: TableVersion, source: Source | None) -> Iterator[ColumnSummary]:
    before = next(iter(workspace.metadata.find(TableVersion, table=version.table, before=version.id, limit=1)), None)
    old: Mapping[str, str] = before.schema if before else version.schema
    roles = {}
    if source is not None:
        roles = {**dict.fromkeys(source.key, "key"), source.known_column: "known at", source.timestamp: "timestamp"}
    pii = source.pii if source else ()
    for name, type_ in version.schema.items():
        change = "new" if name not in old else f"was {old[name]}" if old[name] != type_ else ""
        yield ColumnSummary(name=name, type=type_, role=roles.get(name, ""), personal=name in pii, change=change)
    for name in old.keys() - version.schema.keys():
        yield ColumnSummary(name=name, type=old[name], role="", personal=name in pii, change="gone")


def _version(workspace: Workspace, table: str, version: int) -> TableVersion:
    try:
        return workspace.metadata.get(TableVersion, f"{table}@{version}")
    except NotFound:
        raise NotFound(f"no ingest made version {version} of table '{table}'") from None


def _others(workspace: Workspace, tables: Sequence[TableSummary], find: str) -> Iterator[Found]:
    words = find.lower().split()
    if not words:
        return
    yield from (each for each in search(workspace, find) if each.kind != "feature")
    for table in tables:
        newest = latest(workspace.metadata, TableVersion, table=table.name)
        columns = list(newest.schema) if newest else []
        hits = [name for name in columns if all(word in name.lower() for word in words)]
        if hits or all(word in table.name.lower() for word in words):
            text = f"columns {wording.joined(hits[:10])}" if hits else table.source
            yield Found(kind="table", name=table.name, text=text, models=())


def _masked(workspace: Workspace, failure: CheckFailure) -> CheckFailure:
    pii = personal_columns(workspace.project.definitions)
    return msgspec.structs.replace(failure, example=mask(failure.column, failure.example, pii))


def _sentence(tables: Sequence[TableSummary], held: Sequence[HeldBatch]) -> str:
    present = [table for table in tables if table.version is not None]
    if not present:
        return wording.sentence("no table yet" if tables else "no source is defined", "next: trimtab ingest")
    judged = [table for table in present if table.freshness is not None]
    old = [f"{table.name} is {table.freshness}" for table in judged if table.freshness != "fresh"]
    failed = [f"{table.name} failed its checks" for table in present if table.verdict == "fail"]
    fresh = "all fresh" if len(judged) == len(present) > 1 else "" if not judged else f"{len(judged)} judged fresh"
    text = plural(len(present), "table") + (f", {fresh}" if fresh and not old else "")
    return wording.sentence(text, *old, *failed, _held_text(held) or "no row is held in quarantine")


def _held_text(held: Sequence[HeldBatch]) -> str:
    if not held:
        return ""
    rows = sum(batch.held for batch in held)
    names = wording.joined(list(dict.fromkeys(batch.table for batch in held)))
    failures = [failure for batch in held for failure in batch.failures]
    why = f" ({_failure_text(failures[0])})" if len(failures) == 1 else ""
    return f"{plural(rows, 'row')} of {names} {'is' if rows == 1 else 'are'} held in quarantine{why}"


def _failure_text(failure: CheckFailure) -> str:
    return f"{failure.column} {failure.example} fails {failure.check}"


def _table_sentence(shown: TableVersion, newest: TableVersion, summary: TableSummary) -> str:
    new = wording.count(shown.added_rows)
    text = f"table {shown.table} has {plural(shown.rows, 'row')} in version {shown.version}, {new} of them new"
    older = f"version {newest.version} is newer" if newest.version != shown.version else ""
    held = f"{plural(summary.held_rows, 'row')} held in quarantine" if summary.held_rows else ""
    checks = f"its checks say {summary.verdict}" if summary.verdict else "it was not checked"
    return wording.sentence(text, older, checks, held)
