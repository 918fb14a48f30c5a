"""Reads the predictions that two versions both scored, with their labels, from the prediction log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.definitions.collection import Served
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.stores.predictions import label_rule
from trimtab.stores.predictions.contract import START
from trimtab.tasks import RULES, UNKNOWN_CLASS

Floats = npt.NDArray[np.float64]
Span = tuple[datetime, datetime]
"""Start and end of a window."""

BLOCK_ROWS = 100_000
SEGMENT = "segment "
"""Before the name of a column that makes segments."""
LABEL = ("prediction_id", "label", "class_name")
OUTPUTS = ("score", "probabilities")
AGAINST = "against "
"""Before the name of a column of the other version."""
INPUT = "input "
"""Before the name of an input of the project's impact function."""


@dataclass(frozen=True, kw_only=True)
class PairedRows:
    """Rows that both versions scored and that have a label, in order of event time; all [rows] but the last two."""

    window: npt.NDArray[np.int64]
    """Number of the span of each row."""
    y: Floats
    score: Floats
    """Of a multiclass model (rows, classes), as is `against`."""
    against: Floats
    traffic: Floats
    """Requests of the model that were answered in each span, [spans]."""
    columns: Mapping[str, pl.Series]
    """Values of the columns that make segments, as text, by name."""
    inputs: Mapping[str, Floats] = field(default_factory=dict)
    """Values of the features that the project's impact function takes, by name."""
    classes: tuple[str, ...] = ()
    """Of a multiclass model: those that one of the versions knows, which y is the index of."""
    category_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the categories of inputs whose values are codes."""


def paired_rows(workspace: Workspace, model: str, versions: tuple[int, int], spans: Sequence[Span]) -> PairedRows:
    """Return the common rows of two versions within some spans. spans: in order of time, without overlap."""
    starts, ends = (np.array([to_micros(span[side]) for span in spans]) for side in (0, 1))
    segments = _segment_columns(workspace)
    bundles = workspace.metadata.find(Bundle, model=model)
    features = {bundle.version: bundle.features for bundle in bundles if bundle.version in versions}
    function = workspace.served(model).money
    inputs = function.inputs if function is not None else ()
    named = [*(SEGMENT + name for name in segments), *(INPUT + name for name in inputs)]
    traffic, parts = np.zeros(len(spans)), list[pl.DataFrame]()
    block, cursor = workspace.predictions.read(START, limit=BLOCK_ROWS)
    while block.num_rows or not parts:
        frame = _with_segments(block, segments, features).filter(pl.col("model") == model)
        frame = frame.with_columns(_number(name, features).alias(INPUT + name) for name in inputs)
        at = frame["event_time"].dt.epoch("us").to_numpy()
        place = np.searchsorted(starts, at, side="right") - 1
        inside = (place >= 0) & (at < ends[np.maximum(place, 0)])
        frame = frame.with_columns(window=pl.Series(place, dtype=pl.Int64)).filter(pl.Series(inside, dtype=pl.Boolean))
        traffic += np.bincount(frame.filter("served")["window"].to_numpy(), minlength=len(spans))
        frame = frame.filter(pl.col("version").is_in(versions) & pl.col("score").is_finite())
        parts.append(frame.select("prediction_id", "version", "event_time", "window", *OUTPUTS, *named))
        block, cursor = workspace.predictions.read(cursor, limit=BLOCK_ROWS)
    rows = pl.concat(parts)
    own, other = (rows.filter(version=version).unique("prediction_id", keep="last") for version in versions)
    first = next((b.dataset for b in bundles if b.version == versions[0]), None)  # the inputs are those of its rows
    categories = workspace.metadata.get(DatasetVersion, first).feature_categories if function and first else {}
    known = VersionClasses.read(workspace, workspace.served(model), [b for b in bundles if b.version in versions])
    labels = known.labels(latest_labels(workspace, model))
    other = other.select("prediction_id", *(pl.col(name).alias(AGAINST + name) for name in ("version", *OUTPUTS)))
    both = own.join(other, on="prediction_id").join(labels, on="prediction_id").sort("event_time", "prediction_id")
    return PairedRows(
        window=both["window"].to_numpy().astype(np.int64),
        y=both["label"].to_numpy(),
        score=known.scores(both),
        against=known.scores(both, AGAINST),
        classes=known.names,
        traffic=traffic,
        columns={name: both[SEGMENT + name] for name in segments},
        inputs={name: both[INPUT + name].to_numpy() for name in inputs},
        category_names=categories,
    )


@dataclass(frozen=True)
class VersionClasses:
    """The classes of some versions of a multiclass model; of other models there are none.

    names: of all versions together. of_versions: by version, in the order of its probabilities.
    """

    names: tuple[str, ...] = ()
    of_versions: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, workspace: Workspace, model: Served, bundles: Iterable[Bundle]) -> VersionClasses:
        """Read the classes of the training sets of some bundles."""
        if not RULES[model.task].by_class:
            return cls()
        found = {each.version: workspace.metadata.get(DatasetVersion, each.dataset).classes for each in bundles}
        return cls(tuple(dict.fromkeys(name for own in found.values() for name in own)), found)

    def labels(self, latest: pl.DataFrame) -> pl.DataFrame:
        """Return the labels that are known, as numbers: of a multiclass model the index of the class in `names`."""
        if not self.names:
            return latest.filter(pl.col("label").is_finite()).select("prediction_id", "label")
        index = pl.col("class_name").replace_strict(
            self.names, np.arange(float(len(self.names))), default=UNKNOWN_CLASS, return_dtype=pl.Float64
        )
        return latest.filter(pl.col("class_name").is_not_null()).select("prediction_id", label=index)

    def spread(self, scores: Floats, version: int) -> Floats:
        """Return scores of one version, (rows,), or (rows, classes) in the order of `names`."""
        if not self.names:
            return scores
        found = np.zeros((len(scores), len(self.names)))
        found[:, [self.names.index(name) for name in self.of_versions[version]]] = scores
        return found

    def scores(self, rows: pl.DataFrame, prefix: str = "") -> Floats:
        """Return scores of rows of the log, (rows,), or (rows, classes) in the order of `names`.

        prefix: of the columns version, score and probabilities.
        """
        if not self.names:
            return rows[f"{prefix}score"].to_numpy()
        version, found = rows[f"{prefix}version"].to_numpy(), np.zeros((rows.height, len(self.names)))
        for number in self.of_versions:
            mine = version == number
            if mine.any():
                given = np.array(rows[f"{prefix}probabilities"].filter(pl.Series(mine)).to_list(), np.float64)
                found[mine] = self.spread(given, number)
        return found


def _segment_columns(workspace: Workspace) -> tuple[str, ...]:
    """Return the columns by which the policy's gates compare groups."""
    gates = workspace.project.policy.gates.sections().values()
    return tuple(dict.fromkeys(column for gate in gates for _, column in gate.columns()))


def _with_segments(block: pa.Table, columns: Sequence[str], features: Mapping[int, tuple[str, ...]]) -> pl.DataFrame:
    """Return rows of the log with the columns that make segments, from the entities or the features of a request."""
    keys = [pc.map_lookup(block["entities"], pa.scalar(column), "first") for column in columns]
    frame = pl.from_arrow(block)
    assert isinstance(frame, pl.DataFrame)
    for column, key in zip(columns, keys, strict=True):
        value = pl.lit(pl.Series(SEGMENT + column, key.to_pylist(), dtype=pl.String))
        for version, names in features.items():
            if column in names:
                number = _feature(names.index(column))
                whole = number.cast(pl.Int64, strict=False)
                text = pl.when(number == whole).then(whole.cast(pl.String)).otherwise(number.cast(pl.String))
                value = pl.coalesce(value, pl.when(pl.col("version") == version).then(text))
        frame = frame.with_columns(value.alias(SEGMENT + column))
    return frame


def _feature(place: int) -> pl.Expr:
    return pl.col("features").list.get(place, null_on_oob=True).cast(pl.Float64)


def _number(name: str, features: Mapping[int, tuple[str, ...]]) -> pl.Expr:
    """Return the values of a feature; NaN in a row of a version without it."""
    values = [
        pl.when(pl.col("version") == version).then(_feature(names.index(name)))
        for version, names in features.items()
        if name in names
    ]
    return pl.coalesce(*values, pl.lit(math.nan))


def latest_labels(workspace: Workspace, model: str) -> pl.DataFrame:
    """Return prediction_id, label and class_name: of several labels of a prediction the one that counts."""
    table, _ = workspace.predictions.read_labels()
    frame = pl.from_arrow(label_rule.of_model(table, model, workspace.label_metrics))
    assert isinstance(frame, pl.DataFrame)
    order = label_rule.ordered(frame["known_at"].dt.epoch("us").to_numpy())
    return frame[order].unique("prediction_id", keep="last").select(LABEL)
