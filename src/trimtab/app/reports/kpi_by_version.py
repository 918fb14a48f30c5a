"""A KPI by the version that answered for its entities: each point belongs to the last answer for its entity before it.

So versions that share the traffic are compared by what followed for the shops or customers that each of them answered.
"""

from __future__ import annotations

import math
from datetime import datetime

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.app.loop.kpi_points import open_query
from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.definitions.kpis import Kpi
from trimtab.definitions.models import Model
from trimtab.errors import UsageError
from trimtab.features.corrections import current
from trimtab.records.monitoring import KpiPoint
from trimtab.stats.exact_tests import t_quantile
from trimtab.stores.metadata.contract import Between
from trimtab.stores.predictions.contract import START

BLOCK_ROWS = 100_000
NO_VERSION = 0
"""Version of points whose entity had no answer before them."""
POINTS = {"time": pl.Int64, "value": pl.Float64, "entity": pl.String}


class VersionKpi(msgspec.Struct, frozen=True, kw_only=True):
    """What followed the answers of one version. per_entity: mean of the entities' totals, with its 95 % interval, which
    is None for fewer than two."""

    version: int
    role: str
    entities: int
    points: int
    total: float
    per_entity: float
    low: float | None
    high: float | None


def kpi_by_version(workspace: Workspace, kpi: Kpi, model: Model, start: datetime, end: datetime) -> list[VersionKpi]:
    """Return a stream in a stretch of event time, by version and role. Only answers of this stretch count.

    Raises UsageError where points cannot be joined to answers: without entities.
    """
    points = _points(workspace, kpi, model, start, end).drop_nulls("entity").sort("time").with_row_index("point")
    joined = points.with_columns(
        seen=pl.lit(None, pl.Int64), version=pl.lit(None, pl.Int64), role=pl.lit(None, pl.String)
    )
    key = _entity_key(kpi, model)
    block, cursor = workspace.predictions.read(START, limit=BLOCK_ROWS)
    while block.num_rows:
        answers = _answers(block, key, model.name, start, end)
        found = points.join_asof(answers, left_on="time", right_on="seen", by="entity", check_sortedness=False)
        joined = pl.concat([joined, found.select(joined.columns)]).sort("seen", nulls_last=False)
        joined = joined.unique("point", keep="last", maintain_order=True)
        block, cursor = workspace.predictions.read(cursor, limit=BLOCK_ROWS)
    by_entity = joined.group_by("version", "role", "entity").agg(pl.col("value").sum(), points=pl.len())
    groups = by_entity.sort("version", "role").group_by("version", "role", maintain_order=True)
    return [_row(version, role, rows) for (version, role), rows in groups]


def _points(workspace: Workspace, kpi: Kpi, model: Model, start: datetime, end: datetime) -> pl.DataFrame:
    """Return time (microseconds), value and entity of the points of a stream."""
    if kpi.query is not None:
        if kpi.entity is None:
            raise UsageError(f"KPI '{kpi.name}' names no column of entities, so no version can be told for its points")
        rows = open_query(workspace, kpi).rows(to_micros(start), to_micros(end))
        return pl.DataFrame(rows, schema=POINTS, orient="row")
    if kpi.source is None:
        found = workspace.metadata.find(KpiPoint, stream=kpi.name, time=Between(start, end))
        own = [(to_micros(p.time), p.value, p.entity) for p in found if p.model in (None, model.name)]
        return pl.DataFrame(own, schema=POINTS, orient="row")
    if kpi.entity is None:
        raise UsageError(f"KPI '{kpi.name}' names no column of entities, so no version can be told for its points")
    table = current(workspace.tables.scan(kpi.source.name), kpi.source, as_of=None)
    time = pl.col(kpi.time_column).cast(pl.Datetime("us")).to_physical()
    value, entity = pl.col(str(kpi.value)).cast(pl.Float64), pl.col(kpi.entity).cast(pl.String)
    chosen = table.select(time.alias("time"), value.alias("value"), entity.alias("entity"))
    inside = (pl.col("time") >= to_micros(start)) & (pl.col("time") < to_micros(end)) & pl.col("value").is_finite()
    return chosen.filter(inside).collect()


def _entity_key(kpi: Kpi, model: Model) -> str:
    """Return the entity key of the model that the entities of a stream are values of."""
    keys = model.entity_keys
    if kpi.entity in keys:
        return str(kpi.entity)
    if len(keys) == 1:
        return keys[0]
    have = ", ".join(keys) or "none"
    raise UsageError(
        f"the entities of KPI '{kpi.name}' are no entity key of model '{model.name}' (it has: {have}); name the column "
        "after the key"
    )


def _answers(block: pa.Table, key: str, model: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Return when each entity was answered by which version, by time."""
    entity = pc.map_lookup(block["entities"], pa.scalar(key), "first")
    rows = block.select(["model", "served", "event_time", "version", "role"]).append_column("entity", entity)
    frame = pl.DataFrame(pl.from_arrow(rows)).filter(pl.col("served") & (pl.col("model") == model))
    frame = frame.select(
        pl.col("entity"),
        pl.col("event_time").dt.epoch("us").alias("seen"),
        pl.col("version").cast(pl.Int64),
        pl.col("role"),
    )
    return frame.filter(pl.col("seen").is_between(to_micros(start), to_micros(end), closed="left")).sort("seen")


def _row(version: object, role: object, rows: pl.DataFrame) -> VersionKpi:
    totals = rows["value"]
    mean, half = float(totals.mean() or 0.0), None  # type: ignore[arg-type]  # of numbers
    if len(totals) > 1:
        half = t_quantile(0.95, len(totals) - 1) * float(totals.std()) / math.sqrt(len(totals))  # type: ignore[arg-type]
    return VersionKpi(
        version=NO_VERSION if version is None else int(str(version)),
        role="" if role is None else str(role),
        entities=len(totals),
        points=int(rows["points"].sum()),
        total=math.fsum(totals),
        per_entity=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
    )
