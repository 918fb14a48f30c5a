"""Joins a training frame with the prediction log: which features were served, and where they differ from offline ones.

A row of the frame was served when the log has one answer for it, with features, by

prediction id            where the examples have the column of prediction ids, else
entity keys and time     of the request, which must be the keys and the timestamp of the example.

A row that fits several answers, or an answer that fits several rows, stays as it is. So does a feature whose
definition (view, on-demand code, type) was another one in the version that answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.app.project.workspace import Workspace
from trimtab.bundle.typed_matrix import OBJECTS, WHOLE, typed_places
from trimtab.bundle.typed_packing import unpack_rows
from trimtab.definitions.models import Model
from trimtab.errors import StageError
from trimtab.features.training_frames import TIMESTAMP, Scan, chosen_examples, training_frame
from trimtab.records.training import Bundle, DatasetVersion, FeatureSkew
from trimtab.serving.core.routing import key_text
from trimtab.stores.predictions.contract import START
from trimtab.training.dataset import CATEGORIES, TYPES, schema_of
from trimtab.units import plural

BLOCK_ROWS = 100_000
PREDICTION_ID = "prediction_id"
ROW = "row"
"""Number of the row of the training frame."""
MOST_NAMED = 10
"""Features that differ which warnings name."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A training frame beside the log. skew: by feature."""

    frame: pl.DataFrame
    features_from: str = "offline"
    skew: tuple[FeatureSkew, ...] = ()
    warnings: tuple[str, ...] = ()


def training_rows(
    workspace: Workspace,
    model: Model,
    scan: Scan,
    *,
    as_of: datetime,
    start: datetime | None,
    keep: Sequence[str],
    without: Sequence[tuple[datetime, datetime]],
    features_from: str | None = None,
    logged_by: datetime | None = None,
) -> Served:
    """Return the rows of a training set, compared with what was served unless features are offline ones alone.

    Args:
        workspace: has the prediction log and the bundles.
        model: the model.
        scan: returns the rows of a source by its name.
        as_of, start, keep: as for `training_frame`.
        without: stretches of event time, from and to, whose rows are left out.
        features_from: offline, compare or log; None: as the policy says.
        logged_by: only answers that were logged by then count; None: all.

    Raises:
        StageError: the examples have neither prediction ids nor entity keys.
        DefinitionError: a definition does not fit its tables.
    """
    frame = training_frame(model, scan, as_of=as_of, start=start, keep=keep)
    stays = pl.Series([True]).new_from_index(0, len(frame))
    for begin, end in without:
        stays &= ~frame[TIMESTAMP].is_between(begin, end, closed="left")
    frame = frame.filter(stays)
    chosen = features_from or workspace.project.policy.training.features_from
    if chosen == "offline" or frame.is_empty():
        return Served(frame=frame)
    columns = _key_columns(model, scan)
    examples = chosen_examples(model, scan(model.examples.name), columns, as_of=as_of, start=start).filter(stays)
    found = _served(workspace, model, frame, examples.select(columns), logged_by)
    return replace(found, features_from=chosen, frame=found.frame if chosen == "log" else frame)


def _served(
    workspace: Workspace, model: Model, frame: pl.DataFrame, examples: pl.DataFrame, logged_by: datetime | None
) -> Served:
    """Return the frame with the features that were served. examples: the columns that say which answer is a row's."""
    columns = examples.columns
    texts = {name: [None if v is None else key_text(v) for v in examples[name].to_list()] for name in columns}
    keys = pl.DataFrame({name: pl.Series(values, dtype=pl.String) for name, values in texts.items()})
    by_id = len(columns) == 1 and columns[0] not in model.entity_keys
    if not by_id:
        keys = keys.with_columns(frame[TIMESTAMP].alias(TIMESTAMP))
    wanted = keys.with_row_index(ROW).drop_nulls()
    once = wanted.filter(pl.struct(keys.columns).is_unique())
    found = _answers(workspace, model, once, columns, by_id=by_id, logged_by=logged_by)
    found = found.unique([ROW, PREDICTION_ID], keep="first", maintain_order=True)  # an id that was sent again
    single = found.filter(pl.col(ROW).is_unique())
    several = found[ROW].n_unique() - len(single) + len(wanted) - len(once)
    made, skew = _compared(workspace, model, frame, single)
    how = "prediction id" if by_id else "entity keys and timestamp"
    counts = f"{len(single):,} of {len(frame):,} rows were served, by {how}"
    unclear = f"; {several:,} fit several answers, or share one, and stay offline" if several else ""
    return Served(frame=made, skew=skew, warnings=(counts + unclear, *_warnings(skew)))


def _key_columns(model: Model, scan: Scan) -> list[str]:
    """Return the columns of the examples that say which answer belongs to a row."""
    id_ = model.outcomes.prediction_id if model.outcomes is not None else PREDICTION_ID
    if id_ in scan(model.examples.name).collect_schema():
        return [id_]
    if model.entity_keys:
        return list(model.entity_keys)
    raise StageError(
        f"training.features_from: the answers for the examples of model '{model.name}' cannot be found in the "
        f"prediction log: it has no entity, and source '{model.examples.name}' has no column '{id_}'. Add the ids that "
        "the gateway returned as that column, or take training.features_from: offline"
    )


def _answers(
    workspace: Workspace,
    model: Model,
    wanted: pl.DataFrame,
    columns: Sequence[str],
    *,
    by_id: bool,
    logged_by: datetime | None,
) -> pl.DataFrame:
    """Return the answers of the log for some rows, in the order of the log."""
    taken = (PREDICTION_ID, "version", "features", "typed")
    parts: list[pl.DataFrame] = []
    block, cursor = workspace.predictions.read(START, limit=BLOCK_ROWS)
    while block.num_rows or not parts:
        own = block.filter(pc.and_(pc.equal(block["model"], model.name), block["served"]))
        own = own.filter(own["features"].is_valid())
        if logged_by is not None:
            own = own.filter(pc.less_equal(own["logged_at"], pa.scalar(logged_by, pa.timestamp("us", tz="UTC"))))
        rows = pl.from_arrow(own.select(taken))
        assert isinstance(rows, pl.DataFrame)
        if by_id:
            keys = [pl.Series(columns[0], own[PREDICTION_ID].to_pylist(), dtype=pl.String)]
        else:
            given = [pc.map_lookup(own["entities"], pa.scalar(name), "first").to_pylist() for name in columns]
            keys = [pl.Series(name, values, dtype=pl.String) for name, values in zip(columns, given, strict=True)]
            keys.append(pl.Series(TIMESTAMP, pl.from_arrow(own["event_time"])))
        key = [f"key {series.name}" for series in keys]
        rows = rows.with_columns(series.alias(name) for series, name in zip(keys, key, strict=True))
        joined = rows.join(wanted, left_on=key, right_on=[series.name for series in keys], maintain_order="left")
        parts.append(joined.select(ROW, *taken))
        block, cursor = workspace.predictions.read(cursor, limit=BLOCK_ROWS)
    return pl.concat(parts)


def _compared(
    workspace: Workspace, model: Model, frame: pl.DataFrame, answers: pl.DataFrame
) -> tuple[pl.DataFrame, tuple[FeatureSkew, ...]]:
    parts: dict[str, list[pl.DataFrame]] = {name: [] for name in model.feature_names}
    bundles = {each.version: each for each in workspace.metadata.find(Bundle, model=model.name)}
    for (version,), rows in answers.group_by("version", maintain_order=True):
        if version not in bundles:
            continue
        dataset = workspace.metadata.get(DatasetVersion, bundles[version].dataset)
        rows, X = served_matrix(dataset, rows)
        if X is None:
            continue
        for name in _unchanged(model, frame, dataset):
            values = served_column(X, dataset.features.index(name), frame.schema[name])
            parts[name].append(pl.DataFrame([rows[ROW], values.alias(name)]))
    made, skew = [], []
    for name in model.feature_names:
        served = pl.concat(parts[name]) if parts[name] else None
        offline = frame[name]
        if served is None or served.is_empty():
            skew.append(FeatureSkew(feature=name, rows=0, differ=0))
            continue
        skew.append(_skew(name, offline.gather(served[ROW]), served[name]))
        plain = pl.String if offline.dtype in CATEGORIES else offline.dtype
        made.append(offline.cast(plain).scatter(served[ROW], served[name].cast(plain)).cast(offline.dtype))
    return frame.with_columns(made), tuple(skew)


def served_matrix(dataset: DatasetVersion, rows: pl.DataFrame) -> tuple[pl.DataFrame, Any]:
    """Return the answers of one version that have its features, and the features: a matrix or a typed one, or None.

    dataset: of the version. rows: with the columns `features` and `typed` of the log.
    """
    width = len(dataset.features)
    rows = rows.filter(pl.col("features").list.len() == width)
    schema = schema_of(dataset)
    if rows.is_empty() or (schema is not None and rows["typed"].null_count()):
        return rows, None
    matrix = rows["features"].explode().to_numpy().reshape(-1, width).astype(np.float32)
    return rows, matrix if schema is None else unpack_rows(schema, matrix, rows["typed"].to_list())


def _unchanged(model: Model, frame: pl.DataFrame, dataset: DatasetVersion) -> list[str]:
    """Return the features whose definition is that of the data set."""
    stale = {n for view in model.views if view.version_id not in dataset.views for n in view.feature_names}
    for transform in model.transforms:
        if model.code_hash != dataset.code_hash or stale & set(transform.inputs):
            stale |= set(transform.feature_names)
    return [
        name
        for name in model.feature_names
        if name in dataset.features
        and name not in stale
        and dataset.feature_types.get(name) == _kind(frame.schema[name])
    ]


def _kind(dtype: pl.DataType) -> str | None:
    return "category" if dtype in CATEGORIES else TYPES.get(dtype.base_type())


def served_column(X: np.ndarray[Any, Any], place: int, dtype: pl.DataType) -> pl.Series:
    """Return one feature of served rows in the type of the frame, null where it is missing."""
    kind, numbers = typed_places(X).get(place), np.asarray(X)[:, place]
    if kind in WHOLE:
        exact = pl.Series(X.exact[place], dtype=pl.Int64)  # type: ignore[attr-defined]  # typed rows alone have kinds
        return exact.set(pl.Series(np.isnan(numbers)), None).cast(dtype)
    if kind in OBJECTS:
        values = X.exact[place].tolist()  # type: ignore[attr-defined]
        return pl.Series(values, dtype=dtype if kind == "decimal" else pl.String).cast(dtype)
    return pl.Series(numbers, nan_to_null=True).cast(dtype)


def differing(offline: pl.Series, served: pl.Series) -> pl.Series:
    """Return in which rows a served value is another one than the offline one; bool. Two missing values are equal."""
    if offline.dtype in CATEGORIES:
        offline, served = offline.cast(pl.String), served.cast(pl.String)
    return offline.ne_missing(served)


def _skew(name: str, offline: pl.Series, served: pl.Series) -> FeatureSkew:
    differ = differing(offline, served)
    missing = differ & (offline.is_null() | served.is_null())
    largest = None
    if offline.dtype.is_numeric():
        apart = (offline.cast(pl.Float64) - served.cast(pl.Float64)).abs().filter(differ & ~missing)
        largest = apart.filter(apart.is_finite()).max()
    return FeatureSkew(
        feature=name,
        rows=len(served),
        differ=int(differ.sum()),
        missing=int(missing.sum()),
        largest=None if largest is None else float(largest),  # type: ignore[arg-type]  # of a float column
    )


def _warnings(skew: Sequence[FeatureSkew]) -> list[str]:
    differ = sorted((each for each in skew if each.differ), key=lambda each: (-each.differ / each.rows, each.feature))
    lines = []
    for each in differ[:MOST_NAMED]:
        parts = [f"by at most {each.largest:.6g}"] if each.largest is not None else []
        parts += [f"{each.missing:,} of them missing on one side"] if each.missing else []
        lines.append(
            f"feature '{each.feature}': the served value differs from the offline one in {each.differ:,} of "
            f"{each.rows:,} rows ({each.differ / each.rows:.1%})" + "".join(f", {part}" for part in parts)
        )
    if len(differ) > MOST_NAMED:
        lines.append(
            f"served values of {plural(len(differ) - MOST_NAMED, 'more feature')} differ from the offline ones"
        )
    served = max((each.rows for each in skew), default=0)
    if fewer := [each for each in skew if each.rows < served]:
        lines.append(
            f"{plural(len(fewer), 'feature')}, such as '{fewer[0].feature}' ({fewer[0].rows:,} rows), had fewer rows: "
            "a version that answered lacked them, or had another definition of them"
        )
    elif not served:
        lines.append("no feature was compared with its served values")
    return lines
