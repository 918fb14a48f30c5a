"""Freezes a point-in-time frame as an immutable, content-addressed training set, and loads it again.

The frame has the columns `timestamp` (microseconds, UTC), `label` (null if unknown), the model's features, columns
to keep, such as sensitive groups, and `label_known_at` (microseconds, UTC; frames of earlier versions lack it).
Features that are no plain numbers are frozen with their exact values. Categories are unseen if the training part does
not have them, or not among its most frequent ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from trimtab.bundle.typed_matrix import OBJECTS, OTHER, WHOLE, Schema, TypedMatrix, decimal_of, objects
from trimtab.clock import Clock, from_micros, to_micros
from trimtab.definitions.models import Dataset, Model, Task
from trimtab.errors import DataError, StageError
from trimtab.records.training import DatasetVersion, FeatureSkew
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.tasks import RULES
from trimtab.training.columns.class_labels import check_part, check_weights, classes_of, indices, missing_in_holdout

DATA = "data.parquet"
ABOUT = "dataset.json"
TIMESTAMP = "timestamp"
LABEL = "label"
KNOWN_AT = "label_known_at"
MICROSECONDS_UTC = pl.Datetime("us", "UTC")
CATEGORIES = (pl.Categorical, pl.Enum)
TYPES: dict[Any, str] = {
    pl.String: "text",
    pl.Boolean: "boolean",
    pl.Int64: "integer",
    pl.Decimal: "decimal",
    pl.Date: "date",
    pl.Datetime: "timestamp",
}
"""Type of a frozen column -> type of the feature; a category is frozen as text."""
MOST_CATEGORIES = 10_000
"""Known categories of one feature; further ones count as unseen."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The content of dataset.json, which describes data.parquet."""

    version: DatasetVersion
    task: Task
    keep: tuple[str, ...]
    weight: str | None = None
    group: str | None = None
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A frozen dataset in memory. Rows are in order of time.

    train, holdout: labelled rows only; of a task that needs no labels all rows. frame: all rows, with null for an
    unknown label. holdout_groups: one value for each row of the holdout, by name of the kept column.
    """

    version: DatasetVersion
    frame: pl.DataFrame
    train: Dataset
    holdout: Dataset
    holdout_groups: dict[str, np.ndarray[Any, Any]]


def freeze(
    frame: pl.DataFrame,
    *,
    model: Model,
    tables: Mapping[str, str],
    as_of: datetime,
    start: datetime | None,
    holdout_share: float,
    min_examples: int,
    artifacts: Artifacts,
    clock: Clock,
    keep: Sequence[str] = (),
    warnings: Sequence[str] = (),
    without: Sequence[tuple[datetime, datetime]] = (),
    features_from: str = "offline",
    skew: Sequence[FeatureSkew] = (),
) -> DatasetVersion:
    """Publish the frame as `datasets/MODEL/HASH` and return its record. The same content returns the first record.

    Args:
        frame: the rows, as described above.
        model: the model whose features they have.
        tables: id of the TableVersion by table name.
        as_of: the time as of which the frame was built.
        start: earliest timestamp that was requested; None takes that of the first row.
        holdout_share: the last share of the labelled rows' time span, which becomes the holdout; between 0 and 1.
        min_examples: smallest accepted number of labelled rows.
        artifacts, clock: the store and the clock.
        keep: columns to keep in addition to the features.
        warnings: sentences about the frame, for the record.
        without: stretches of event time whose rows are left out of the frame, for the record.
        features_from, skew: where features come from, and how served ones differ from offline ones, for the record.

    Raises:
        DataError: the frame lacks a column, has a wrong type or label, or one part of the split is too small.
        StageError: there are too few labelled rows.
    """
    features = model.feature_names
    keep = tuple(dict.fromkeys(name for name in (*keep, *model.carried) if name not in (TIMESTAMP, LABEL, KNOWN_AT)))
    classes = classes_of(frame[LABEL], model) if LABEL in frame.columns else ()
    rows = _canonical(frame, model, keep, _span(start, as_of), classes)
    check_weights(rows, model)
    split_at, missed = _split(rows, model, holdout_share, min_examples, _span(start, as_of), classes)
    labelled = rows.filter(pl.col(LABEL).is_not_null())
    usable = labelled if RULES[model.task].needs_labels else rows
    types = {name: kind for name in features if (kind := TYPES.get(rows.schema[name].base_type())) is not None}
    types |= {name: "category" for name in features if frame.schema[name] in CATEGORIES}
    version = DatasetVersion(
        id="",
        created_at=clock.now(),
        model=model.name,
        start=start if start is not None else from_micros(rows[TIMESTAMP].to_physical()[0]),
        as_of=as_of,
        split_at=from_micros(split_at),
        rows=len(rows),
        labelled=len(labelled),
        holdout_rows=int((usable[TIMESTAMP].to_physical() >= split_at).sum()),
        label_mean=float(labelled[LABEL].to_numpy().mean()) if len(labelled) else 0.0,
        classes=classes,
        tables=dict(tables),
        views=tuple(view.version_id for view in model.views),
        code_hash=model.code_hash,
        features=features,
        path="",
        warnings=(*warnings, *missed),
        without=tuple(without),
        feature_types=types,
        feature_categories=_categories(usable.filter(pl.col(TIMESTAMP).to_physical() < split_at), types),
        input=model.input,
        unseen=model.unseen,
        features_from=features_from,
        skew=tuple(skew),
    )
    about = _about(version, model, keep)
    digest = _hash(rows, about)
    name = f"datasets/{model.name}/{digest}"
    version = msgspec.structs.replace(version, id=digest, path=name)
    if not artifacts.exists(name):
        folder = artifacts.staging()
        rows.write_parquet(folder / DATA, compression="zstd")
        written = msgspec.json.encode(msgspec.structs.replace(about, version=version))
        (folder / ABOUT).write_bytes(msgspec.json.format(written, indent=2) + b"\n")
        artifacts.publish(folder, name)
    return _read_about(artifacts.open(name)).version


def id_of(frame: pl.DataFrame, model: Model, version: DatasetVersion, keep: Sequence[str]) -> tuple[str, pl.DataFrame]:
    """Return the content hash of a frame that was made again for `version`, and its rows in the order of freezing.

    The frame is the same as the frozen one when the hash is the id of `version`. keep: the kept columns. Raises
    DataError for a frame without the columns or with wrong types.
    """
    rows = _canonical(frame, model, keep, _span(version.start, version.as_of), version.classes)
    return _hash(rows, _about(version, model, tuple(keep))), rows


def _about(version: DatasetVersion, model: Model, keep: tuple[str, ...]) -> About:
    extra = tuple(model.extra)
    return About(version=version, task=model.task, keep=keep, weight=model.weight, group=model.group, extra=extra)


def load(version: DatasetVersion, artifacts: Artifacts) -> Frozen:
    """Read a frozen dataset.

    Args:
        version: its record.
        artifacts: the store.

    Raises:
        NotFound: the store does not have it.
        DataError: its content has changed since it was frozen.
    """
    folder = artifacts.open(version.path)
    about = _read_about(folder)
    rows = pl.read_parquet(folder / DATA)
    found = _hash(rows, about)
    if found != version.id:
        raise DataError(f"{folder / DATA}: content hash {found[:12]}... is not the recorded {version.id[:12]}...")
    usable = rows.filter(pl.col(LABEL).is_not_null()) if RULES[about.task].needs_labels else rows
    is_holdout = usable[TIMESTAMP] >= version.split_at
    holdout = usable.filter(is_holdout)
    schema = schema_of(version)
    return Frozen(
        version=version,
        frame=rows,
        train=examples(usable.filter(~is_holdout), version.features, schema, about),
        holdout=examples(holdout, version.features, schema, about),
        holdout_groups={name: holdout[name].to_numpy() for name in about.keep},
    )


def examples(
    rows: pl.DataFrame, features: Sequence[str], schema: Schema | None = None, about: About | None = None
) -> Dataset:
    """Return rows of a frozen frame as arrays; an unknown label is NaN. X is a TypedMatrix when there is a schema.

    about: of the frozen dataset; without it the rows have neither classes nor columns for the trainer.
    """
    y = rows[LABEL].fill_null(float("nan")).to_numpy().astype(np.float64)
    timestamps = rows[TIMESTAMP].to_physical().to_numpy().astype("datetime64[us]")
    X: np.ndarray[Any, Any]
    if schema is not None:
        X = TypedMatrix.of(schema, {name: exact_column(rows[name], schema.types.get(name)) for name in features})
    else:
        X = np.empty((len(rows), len(features)), dtype=np.float32)
        for j, name in enumerate(features):
            X[:, j] = rows[name].to_numpy()
    known_at = rows[KNOWN_AT].to_physical().to_numpy().astype("datetime64[us]") if KNOWN_AT in rows.columns else None
    data = Dataset(X=X, y=y, feature_names=tuple(features), timestamps=timestamps, known_at=known_at)
    if about is None:
        return data
    return replace(
        data,
        classes=about.version.classes,
        weight=None if about.weight is None else rows[about.weight].to_numpy().astype(np.float64),
        group=None if about.group is None else rows[about.group].to_numpy(),
        extra={name: rows[name].to_numpy() for name in about.extra},
    )


def schema_of(version: DatasetVersion) -> Schema | None:
    """Return the types of a dataset's features; None when all are plain numbers."""
    given = version.feature_types, version.feature_categories, version.input, version.unseen
    return Schema.known(version.features, *given)


def exact_column(column: pl.Series, kind: str | None) -> Any:
    """Return a column of a frozen frame as `TypedMatrix.of` takes it."""
    if kind in WHOLE:
        return column.to_physical().fill_null(0).cast(pl.Int64).to_numpy(), column.is_null().to_numpy()
    if kind == "decimal":
        return objects([None if text is None else decimal_of(text) for text in column.cast(pl.String).to_list()])
    if kind in OBJECTS:
        return objects(column.to_list())
    return column.cast(pl.Float32).fill_null(float("nan")).to_numpy()


def _categories(rows: pl.DataFrame, types: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the known categories of the training rows, sorted; of more than MOST_CATEGORIES the most frequent."""
    found = {}
    for name in (name for name, kind in types.items() if kind == "category"):
        counts = rows[name].drop_nulls().value_counts().sort(["count", name], descending=[True, False])
        known = tuple(sorted(counts[name].head(MOST_CATEGORIES).to_list()))
        if OTHER in known:
            raise DataError(f"feature '{name}' has the category '{OTHER}', which stands for unseen ones; rename it")
        found[name] = known
    return found


def _span(start: datetime | None, as_of: datetime) -> str:
    """Return which rows were requested, for messages."""
    known = f"known by {as_of:%Y-%m-%d %H:%M} UTC"
    return known if start is None else f"from {start:%Y-%m-%d %H:%M} on (training.history, or --last) and {known}"


def _canonical(
    frame: pl.DataFrame, model: Model, keep: Sequence[str], span: str, classes: Sequence[str]
) -> pl.DataFrame:
    """Check columns and types, and sort the rows by all values, so that their order in `frame` has no influence.

    Names of classes become their indices; null where `classes` does not have the name.
    """
    wanted = (TIMESTAMP, LABEL, *model.feature_names, *keep)
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise DataError(f"dataset of model '{model.name}' lacks the columns {missing}; it has {frame.columns}")
    if frame.is_empty():
        raise StageError(f"model '{model.name}' has no examples {span}")
    if frame.schema[TIMESTAMP] != MICROSECONDS_UTC:
        raise DataError(f"'{TIMESTAMP}' is {frame.schema[TIMESTAMP]}; expected microseconds in UTC")
    if nulls := frame[TIMESTAMP].null_count():
        raise DataError(f"dataset of model '{model.name}': {nulls} rows have no timestamp")
    exact = {name: dtype for name in model.feature_names if (dtype := _exact_type(frame, model, name)) is not None}
    if classes:
        frame = frame.with_columns(indices(frame[LABEL], classes))
    for name in (LABEL, *model.feature_names):
        if not (frame.schema[name].is_numeric() or frame.schema[name] in (pl.Boolean, pl.Null) or name in exact):
            raise DataError(f"column '{name}' is {frame.schema[name]}; expected numbers")
    extra = [name for name in keep if name not in model.feature_names]
    texts = [name for name in extra if frame.schema[name] in (pl.Categorical, pl.Enum)]
    rows = frame.select(
        pl.col(TIMESTAMP),
        pl.col(LABEL).cast(pl.Float64).fill_nan(None),
        *(
            pl.col(name).cast(exact[name]) if name in exact else pl.col(name).cast(pl.Float32).fill_null(float("nan"))
            for name in model.feature_names
        ),
        *(pl.col(name).cast(pl.String) if name in texts else pl.col(name) for name in extra),
        *(pl.col(name).cast(MICROSECONDS_UTC) for name in (KNOWN_AT,) if name in frame.columns),
    )
    return rows.sort(rows.columns, nulls_last=True)


def _exact_type(frame: pl.DataFrame, model: Model, name: str) -> Any:
    """Return the type in which a feature is frozen, None for a plain number."""
    dtype = frame.schema[name]
    declared = (model.types or {}).get(name)
    if dtype in CATEGORIES or (dtype == pl.String and declared == "text"):
        return pl.String
    if dtype == pl.Date:
        return pl.Date
    if isinstance(dtype, pl.Datetime):
        return MICROSECONDS_UTC
    if declared == "number" or (declared is None and model.input == "matrix"):
        return None
    if dtype == pl.Boolean or isinstance(dtype, pl.Decimal):
        return dtype
    return pl.Int64 if dtype.is_integer() else None


def _split(
    rows: pl.DataFrame, model: Model, share: float, min_examples: int, span: str, classes: Sequence[str]
) -> tuple[int, tuple[str, ...]]:
    """Return the time (microseconds) from which rows are the holdout, and warnings about it."""
    labelled = rows.filter(pl.col(LABEL).is_not_null())
    name, of = f"model '{model.name}'", RULES[model.task]
    usable = labelled if of.needs_labels else rows
    if len(usable) < min_examples:
        labels = f"{len(labelled)} labelled examples among {len(rows)} rows" if of.needs_labels else f"{len(rows)} rows"
        raise StageError(
            f"{name} has {labels} {span}; training.min_examples asks for {min_examples}. Ingest more "
            f"{'labels' if of.needs_labels else 'rows'}, take a longer training.history (of a sample: --last), or "
            "lower min_examples"
        )
    times, y = usable[TIMESTAMP].to_physical().to_numpy(), usable[LABEL].fill_null(float("nan")).to_numpy()
    split_at = split_time(times, y, model, share, classes)
    return split_at, missing_in_holdout(y[times >= split_at], classes) if of.by_class else ()


def split_time(
    times: np.ndarray[Any, Any], y: np.ndarray[Any, Any], model: Model, share: float, classes: Sequence[str] = ()
) -> int:
    """Return the time from which rows are the holdout: the last share of their time span.

    Args:
        times: int64 microseconds since 1970, shape (rows,).
        y: labels, shape (rows,); NaN for an unknown one, where the task allows it.
        model: the model.
        share: of the time span, between 0 and 1.
        classes: names of the classes of a multiclass model.

    Raises:
        DataError: a label does not fit the task, or one part of the split is too small or lacks a class.
    """
    name, of = f"model '{model.name}'", RULES[model.task]
    if not 0 < share < 1:
        raise DataError(f"{name}: a holdout share of {share:g} leaves one part empty; expected between 0 and 1")
    first, last = int(times.min()), int(times.max())
    split_at = last - round((last - first) * share)
    late = times >= split_at
    others = of.wrong_labels(y, len(classes))
    if others.size:
        raise DataError(f"{name} is {model.task} but has labels {others[:5].tolist()}; expected {of.expected}")
    for side, mask in (("training part", ~late), ("holdout", late)):
        where = f"{name}: the {side} (cut at {from_micros(split_at):%Y-%m-%d %H:%M})"
        if mask.sum() < 2:
            rows = "labelled rows" if of.needs_labels else "rows"
            raise DataError(f"{where} has {mask.sum()} {rows}; take more history or another training.holdout")
        if of.needs_labels:
            check_part(where, y[mask], model.task, classes, all_of_them=side == "training part")
    return split_at


def _hash(rows: pl.DataFrame, about: About) -> str:
    """Return the hash of rows, split, tables, views, code and what was left out; the times of the request are not part
    of it."""
    version = about.version
    header: dict[str, Any] = {
        "format": 1,
        "model": version.model,
        "task": about.task,
        "split_at": to_micros(version.split_at),
        "tables": version.tables,
        "views": list(version.views),
        "code_hash": version.code_hash,
        "features": list(version.features),
        "keep": list(about.keep),
    }
    if version.feature_types:  # older hashes hold
        header["types"] = version.feature_types
        header["input"], header["unseen"] = version.input, version.unseen
    if version.classes:  # older hashes hold
        header["classes"] = list(version.classes)
    if about.weight or about.group or about.extra:  # older hashes hold
        header["carried"] = [about.weight, about.group, list(about.extra)]
    if version.without:  # older hashes hold
        header["without"] = [[to_micros(start), to_micros(end)] for start, end in version.without]
    if version.features_from != "offline":  # older hashes hold
        header["served"] = [version.features_from, [list(msgspec.structs.astuple(each)) for each in version.skew]]
    extra = [name for name in about.keep if name not in version.features]
    if KNOWN_AT in rows.columns:
        extra.append(KNOWN_AT)
    return content_hash(rows, (TIMESTAMP, LABEL, *version.features, *extra), header)


def _read_about(folder: Path) -> About:
    try:
        return msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)
    except (OSError, msgspec.ValidationError, msgspec.DecodeError) as error:
        raise DataError(f"{folder / ABOUT}: {error}") from None


def content_hash(frame: pl.DataFrame, columns: Sequence[str], header: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a header of plain values and of `columns` of `frame`.

    It covers values, not bytes of a file, which differ between versions of Parquet libraries: column after column in
    the order of names given, rows in order, as little-endian values with a mask of nulls.
    """
    digest = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode())
    for name in columns:
        column = frame[name]
        digest.update(f"\n{name}:{_kind(column.dtype)}:{len(column)}\n".encode())
        digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
        for part in _parts(column):
            digest.update(part)
    return digest.hexdigest()


def _kind(dtype: pl.DataType) -> str:
    if dtype.is_float():
        return "f4" if dtype == pl.Float32 else "f8"
    if dtype.is_integer() or dtype.is_temporal() or dtype == pl.Boolean:
        return "i8"
    return "text"


def _parts(column: pl.Series) -> list[bytes]:
    kind = _kind(column.dtype)
    if kind == "text":
        text = column.cast(pl.String).fill_null("")
        sizes = text.str.len_bytes().cast(pl.Int64).to_numpy()
        return [sizes.astype("<i8").tobytes(), "".join(text.to_list()).encode()]
    if kind == "i8":
        return [column.cast(pl.Int64).fill_null(0).to_numpy().astype("<i8").tobytes()]
    values = column.fill_null(0.0).to_numpy().astype(f"<{kind}") + 0.0  # -0.0 becomes 0.0
    values[np.isnan(values)] = np.nan  # one bit pattern for all NaN
    return [values.tobytes()]
