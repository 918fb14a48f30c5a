"""Business KPIs of a project: the monitor of its streams, and the points that were pushed to the gateway."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros
from trimtab.data.connectors.database_access import DatabaseAccess
from trimtab.data.connectors.kpi_query import KpiQuery
from trimtab.definitions.kpis import Kpi
from trimtab.errors import Conflict, DefinitionError, UsageError, nearest
from trimtab.features.corrections import current
from trimtab.monitoring.kpi_windows import KpiMonitor
from trimtab.records.monitoring import KpiPoint
from trimtab.serving.inbox import Pushed
from trimtab.stores.metadata.contract import Metadata

log = logging.getLogger(__name__)

BY_GATEWAY = "gateway"


def open_kpi_monitor(workspace: Workspace) -> KpiMonitor:
    """Return the monitor of the streams that the definitions declare."""
    definitions, policy = workspace.project.definitions, workspace.project.policy

    def rows(kpi: Kpi, version: int) -> pl.LazyFrame:
        assert kpi.source is not None
        return current(workspace.tables.scan(kpi.source.name, version=version), kpi.source, as_of=None)

    def query(kpi: Kpi, windows: Sequence[tuple[int, int]]) -> list[tuple[int, float, int]]:
        if kpi.name not in queries:
            queries[kpi.name] = open_query(workspace, kpi)
        return [(one.rows, one.total, one.entities) for one in queries[kpi.name].sums(list(windows))]

    queries: dict[str, KpiQuery] = {}
    models = list(definitions.served)
    return KpiMonitor(workspace.metadata, definitions.kpis, models, policy.decide, rows, workspace.clock, query)


def open_query(workspace: Workspace, kpi: Kpi) -> KpiQuery:
    """Return the query of a stream that has one. Nothing is connected yet."""
    assert kpi.query is not None
    where, metadata = f"KPI '{kpi.name}'", workspace.environment.metadata
    given = (
        kpi.database.connection if kpi.database is not None else metadata or f"sqlite:///{workspace.root}/metadata.db"
    )
    database = DatabaseAccess(where, given, workspace.project.folder)
    return KpiQuery(
        where,
        database,
        kpi.query,
        timestamp=kpi.timestamp or "time",
        value=kpi.value or "value",
        entity=kpi.entity,
    )


def declared(workspace: Workspace, name: str) -> Kpi:
    """Return the declared stream. Raises DefinitionError."""
    kpis = workspace.project.definitions.kpis
    if name not in kpis:
        where = workspace.project.definitions.path
        hint = nearest(name, kpis) if kpis else " Add one with tt.Kpi(...), or below kpis in trimtab.yaml"
        raise DefinitionError(f"{where} declares no KPI '{name}'.{hint}")
    return kpis[name]


def add_point(
    workspace: Workspace, name: str, value: float, *, time: datetime, entity: str | None, model: str | None, by: str
) -> KpiPoint:
    """Write one point of a pushed stream; the same point again changes nothing.

    Raises DefinitionError for a stream that is not declared or is read from a table, Conflict when the stream has
    another value for the same time, entity and model.
    """
    kpi = declared(workspace, name)
    if not kpi.is_pushed:
        raise DefinitionError(f"KPI '{name}' is read from the {kpi.origin}; add rows there instead")
    if model is not None:
        workspace.served(model)
        if kpi.model is not None and kpi.model.name != model:
            raise UsageError(f"KPI '{name}' belongs to the model '{kpi.model.name}', not to '{model}'")
    made = _point(name, value, time, entity, model, by, workspace.now())
    workspace.metadata.put(made)
    return made


def take_point(metadata: Metadata, pushed: Pushed) -> bool:
    """Write a point; the first value for a time, entity and model stays."""
    made = _point(
        pushed.stream,
        pushed.value,
        from_micros(pushed.time),
        pushed.entity,
        pushed.model,
        BY_GATEWAY,
        from_micros(pushed.received_at),
    )
    try:
        metadata.put(made)
    except Conflict as error:
        log.warning("%s: %s", made.id, error)
        return False
    return True


def _point(
    stream: str, value: float, time: datetime, entity: str | None, model: str | None, by: str, now: datetime
) -> KpiPoint:
    at = time.isoformat().replace("+00:00", "Z")
    return KpiPoint(
        id=f"kpi/{stream}/{at}/{entity or ''}/{model or ''}",
        created_at=now,
        stream=stream,
        time=time,
        value=value,
        entity=entity,
        model=model,
        by=by,
    )
