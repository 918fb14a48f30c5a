"""What the loop watches in addition to the prediction log: KPIs, volume, confidence, judges, tables, machines."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from trimtab.app.llm.watching.judge_shares import JudgeShares
from trimtab.app.loop.intake import kpi_intake, request_intake
from trimtab.app.loop.kpi_points import open_kpi_monitor
from trimtab.app.loop.machine_use import MachineUse
from trimtab.app.loop.monitors import references
from trimtab.app.project.workspace import Workspace
from trimtab.definitions.collection import Served
from trimtab.definitions.models import Model
from trimtab.definitions.sources import Source
from trimtab.features.state.position import read_position
from trimtab.monitoring.window_series import WindowSeries
from trimtab.records.data import TableVersion
from trimtab.records.monitoring import Signal


class Watch:
    """Steps each monitor once. Its records depend on the stores alone, but for those of machines."""

    def __init__(self, workspace: Workspace) -> None:
        self._pushed, self._asked = kpi_intake(workspace), request_intake(workspace)
        self._kpis = open_kpi_monitor(workspace)
        self._machine = MachineUse(workspace)
        self._judges = JudgeShares(workspace)
        self._series = [open_series(workspace, model) for model in workspace.project.definitions.served.values()]

    def step(self) -> list[Signal]:
        """Write what follows from new records, before decisions are made on them."""
        self._pushed.step()
        self._asked.step()
        found = [signal for series in self._series for signal in series.step()]
        return [*found, *self._judges.step(), *self._kpis.step(), *self._machine.step()]


def open_series(workspace: Workspace, model: Served) -> WindowSeries:
    """Return the series of a model's windows and tables."""
    sources = sources_of(model)
    return WindowSeries(
        model.name,
        list(sources),
        workspace.metadata,
        references(workspace),
        newest_time(workspace, sources),
        workspace.project.policy.decide,
        workspace.clock,
        lambda start, end: ages_of_views(workspace, model, start, end),
    )


def ages_of_views(workspace: Workspace, model: Served, start: int, end: int) -> dict[str, tuple[int, int]]:
    """Return how old the values of a model's views were at most in a stretch of time, and the policy's limits.

    All in microseconds; for views with a limit that have values. Steps are remembered, so the age of a stretch that has
    passed is the same whenever it is asked for.
    """
    found = {}
    for view in model.views:
        limit = workspace.project.policy.features.freshness.get(view.name)
        watermark = workspace.online.watermark(view.version_id)
        position = read_position(workspace.online, view.version_id)
        if limit is not None and watermark is not None and position is not None:
            found[view.name] = position.age(watermark, start, end), limit
    return found


def sources_of(model: Served) -> dict[str, Source]:
    """Return the sources that a model learns from or is labelled by, by name."""
    if not isinstance(model, Model):
        return {}
    views = [view.source for view in model.views]
    outcomes = [] if model.outcomes is None else [model.outcomes.source]
    return {source.name: source for source in (model.examples, *views, *outcomes)}


def newest_time(workspace: Workspace, sources: dict[str, Source]) -> Callable[[TableVersion], int | None]:
    """Return a function that gives the largest event time of a table version, in microseconds."""

    def newest(version: TableVersion) -> int | None:
        column = sources[version.table].timestamp
        rows = workspace.tables.scan(version.table, version=version.version)
        found = rows.select(pl.col(column).max().cast(pl.Datetime("us")).to_physical()).collect().item()
        return None if found is None else int(found)

    return newest
