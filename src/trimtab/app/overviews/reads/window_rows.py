"""Rows of one window from the prediction log: some to look at, or all as Parquet.

Runs in the child process of `child_reader.py`. Columns with personal data stay masked.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow.compute as pc

from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.paired_rows import LABEL, VersionClasses
from trimtab.bundle.spec import read_spec
from trimtab.bundle.typed_packing import exact_values, feature_schema
from trimtab.clock import parse_time
from trimtab.data.personal_data import mask
from trimtab.definitions.personal_columns import personal_columns
from trimtab.errors import DataError
from trimtab.records.training import Bundle
from trimtab.stores.predictions import label_rule
from trimtab.stores.predictions.contract import START
from trimtab.tasks import RULES, UNKNOWN_CLASS

BLOCK_ROWS = 100_000
LOOKED_AT = 3_000_000
"""Newest predictions of the log among which the rows of a window are looked for."""
MOST_EXPORTED = 200_000
SAMPLED = 50


def sampled_rows(workspace: Workspace, model: str, version: int, start: str, end: str) -> dict[str, Any]:
    """Return SAMPLED rows of a window: mistakes first, each kind in equal parts, else by the hash of the id.

    `rows`: their fields, with `wrong`: what was wrong with the answer. `total`: rows of the window. `features`: names.
    """
    frame, names = _window(workspace, model, version, parse_time(start), parse_time(end))
    if frame.is_empty():
        return {"rows": [], "total": 0, "features": names}
    frame = frame.with_columns(wrong=pl.Series(_wrong(workspace, model, version, frame), dtype=pl.String))
    mixed = frame.with_columns(order=pl.col("prediction_id").hash(seed=0)).sort("order")
    part = pl.int_range(pl.len()).over("wrong")
    chosen = mixed.with_columns(part=part).sort("part", pl.col("wrong") == "", "order").head(SAMPLED)
    return {
        "rows": [_row(row) for row in chosen.drop("order", "part").to_dicts()],
        "total": frame.height,
        "features": names,
    }


def exported_rows(workspace: Workspace, model: str, version: int, start: str, end: str) -> str:
    """Return all rows of a window as Parquet, in base64. Raises DataError for more than MOST_EXPORTED."""
    frame, names = _window(workspace, model, version, parse_time(start), parse_time(end))
    if frame.height > MOST_EXPORTED:
        raise DataError(f"the window has {frame.height:,} rows; at most {MOST_EXPORTED:,} can be exported")
    values = frame["features"].to_list()
    columns = [pl.Series(name, [_at(row, place) for row in values], strict=False) for place, name in enumerate(names)]
    buffer = io.BytesIO()
    frame.drop("features").with_columns(columns).write_parquet(buffer)
    return base64.b64encode(buffer.getvalue()).decode()


def _window(
    workspace: Workspace, model: str, version: int, start: datetime, end: datetime
) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows of a window in order of event time with their labels, and the names of the features."""
    bundle = workspace.metadata.get(Bundle, f"{model}/{version}")
    log, parts = workspace.predictions, list[pl.DataFrame]()
    block, cursor = log.read(log.tail(LOOKED_AT), limit=BLOCK_ROWS)
    while block.num_rows:
        own = pc.and_(pc.equal(block["model"], model), pc.equal(block["version"], version))
        inside = pc.and_(pc.greater_equal(block["event_time"], start), pc.less(block["event_time"], end))
        found = pl.from_arrow(block.filter(pc.and_(own, inside)))
        assert isinstance(found, pl.DataFrame)
        if found.height:
            parts.append(found)
        block, cursor = log.read(cursor, limit=BLOCK_ROWS)
    if not parts:
        return pl.DataFrame(), list(bundle.features)
    rows = pl.concat(parts, how="vertical_relaxed").unique("prediction_id", keep="last").sort("event_time")
    rows = rows.join(_labels(workspace, model, rows["prediction_id"]), on="prediction_id", how="left")
    return _shown(workspace, rows, bundle), list(bundle.features)


def _labels(workspace: Workspace, model: str, ids: pl.Series) -> pl.DataFrame:
    """Return the labels that count of some predictions."""
    log, parts = workspace.predictions, list[pl.DataFrame]()
    wanted = ids.to_arrow()
    block, cursor = log.read_labels(START, limit=BLOCK_ROWS)
    while block.num_rows:
        block = block.filter(pc.is_in(block["prediction_id"], value_set=wanted))
        found = pl.from_arrow(label_rule.of_model(block, model, workspace.label_metrics))
        assert isinstance(found, pl.DataFrame)
        parts.append(found)
        block, cursor = log.read_labels(cursor, limit=BLOCK_ROWS)
    if not parts:
        return pl.DataFrame(schema={"prediction_id": pl.String, "label": pl.Float64, "class_name": pl.String})
    frame = pl.concat(parts, how="vertical_relaxed")
    order = label_rule.ordered(frame["known_at"].dt.epoch("us").to_numpy())
    return frame[order].unique("prediction_id", keep="last").select(LABEL)


def _shown(workspace: Workspace, rows: pl.DataFrame, bundle: Bundle) -> pl.DataFrame:
    """Return the rows with exact values of typed features, and without values of columns with personal data."""
    masked = personal_columns(workspace.project.definitions)
    schema = feature_schema(read_spec(workspace.artifacts.open(bundle.path)))
    values = [
        _values(
            bundle.features, features or (), {} if schema is None or not typed else exact_values(schema, typed), masked
        )
        for features, typed in zip(rows["features"].to_list(), rows["typed"].to_list(), strict=True)
    ]
    entities = [_entities(pairs or (), masked) for pairs in rows["entities"].to_list()]
    return rows.drop("typed", "features", "entities").with_columns(
        features=pl.Series(values, dtype=pl.Object), entities=pl.Series(entities, dtype=pl.String)
    )


def _values(
    names: Sequence[str], values: Sequence[float | None], exact: Mapping[str, Any], masked: Collection[str]
) -> list[Any]:
    given = dict(zip(names, values, strict=False)) | dict(exact)
    return [mask(name, given.get(name), masked) for name in names]


def _entities(pairs: Sequence[tuple[str, str]], masked: Collection[str]) -> str:
    return ", ".join(f"{key}={mask(key, value, masked)}" for key, value in dict(pairs).items())


def _wrong(workspace: Workspace, model: str, version: int, frame: pl.DataFrame) -> list[str]:
    """Return what was wrong with each answer: the kind of mistake, the error of a number; empty where nothing was."""
    bundle = workspace.metadata.get(Bundle, f"{model}/{version}")
    task = workspace.served(model).task
    classes = VersionClasses.read(workspace, workspace.served(model), [bundle])
    labels = frame["label"].to_numpy().astype(np.float64)
    if classes.names:
        index = {name: float(n) for n, name in enumerate(classes.names)}
        known = frame["class_name"].to_list()
        labels = np.array([np.nan if name is None else index.get(name, UNKNOWN_CLASS) for name in known])
    scores = classes.scores(frame) if classes.names else frame["score"].to_numpy().astype(np.float64)
    judged = np.isfinite(labels) & np.isfinite(RULES[task].main_score(scores))
    found = [error or "" for error in frame["error"].to_list()]
    made = RULES[task].mistakes(labels[judged], scores[judged], bundle.threshold)
    for place, row in enumerate(np.flatnonzero(judged)):
        kinds = {kind: float(values[place]) for kind, values in made.items() if values[place]}
        kinds.pop("absolute_error", None)
        if kinds:
            found[row] = next(iter(kinds)).replace("_", " ")
    return found


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "prediction_id": row["prediction_id"],
        "event_time": row["event_time"],
        "served": row["served"],
        "score": row["score"],
        "label": row["class_name"] if row["class_name"] is not None else row["label"],
        "wrong": row["wrong"],
        "latency_ms": row["latency_us"] / 1000,
        "entities": row["entities"],
        "features": row["features"],
    }


def _at(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else None
