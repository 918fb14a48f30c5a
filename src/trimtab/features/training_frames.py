"""Builds the training frame of a model: labelled examples with features as they could be known at their timestamps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from trimtab.clock import to_micros
from trimtab.definitions.models import Model
from trimtab.definitions.views import FeatureView
from trimtab.errors import DefinitionError
from trimtab.features.point_in_time import view_values
from trimtab.features.rules import try_rule
from trimtab.features.table_columns import NEVER, floats, kind_of, micros, require, transform_input
from trimtab.features.transforms import check_rows_apart, run
from trimtab.features.value_types import Array, Kind

TIMESTAMP, LABEL, KNOWN_AT = "timestamp", "label", "label_known_at"
TRIED_ROWS = 1000
"""Number of examples, evenly spread, on which the fallback rule is tried."""

Scan = Callable[[str], pl.LazyFrame]
"""Returns the rows of a source by its name, in the same order each time they are collected."""


def training_frame(
    model: Model, scan: Scan, *, as_of: datetime, start: datetime | None = None, keep: Sequence[str] = ()
) -> pl.DataFrame:
    """Return the examples of a model with their features.

    Args:
        model: the model.
        scan: returns the rows of a source by its name.
        as_of: only examples with an earlier timestamp are taken, and only labels known by then.
        start: only examples from this timestamp on are taken; None: all.
        keep: further columns of the examples to keep, such as groups for a gate.

    Returns:
        One row for each example, in order of (timestamp, order in the table): `timestamp` (microseconds, UTC),
        `label` (float64; null if the outcome is not known at `as_of`), `label_known_at` (when it became known; null
        without a label), the model's features (float32; null for NaN; views as of the row's timestamp), and the columns
        of `keep` that are no features.

    Raises:
        DefinitionError: a column is missing or has a wrong type, or a transform or the fallback rule fails.
    """
    examples = _examples(model, scan(model.examples.name), keep, as_of=as_of, start=start)
    where = f"Model '{model.name}', source '{model.examples.name}'"
    at = micros(examples[model.examples.timestamp], where=where)
    features = _features(model, scan, examples, at)
    _try_rule(model, examples)
    columns = [
        pl.Series(TIMESTAMP, at).cast(pl.Datetime("us", "UTC")),
        *_label(model, examples, as_of=to_micros(as_of)),
        *(pl.Series(name, as_float32(features[name]), nan_to_null=True) for name in model.feature_names),
    ]
    taken = {column.name for column in columns}
    return pl.DataFrame([*columns, *(examples[name] for name in dict.fromkeys(keep) if name not in taken)])


def request_types(model: Model, scan: Scan) -> dict[str, Kind]:
    """Return the kind of value that a request brings for each of the model's request columns.

    Args:
        model: the model.
        scan: returns the rows of a source by its name.

    Returns:
        By column the kind that follows from the type of the examples' column, for `OnlinePlan`.

    Raises:
        DefinitionError: a column is missing or has a type that requests cannot bring.
    """
    schema = scan(model.examples.name).collect_schema()
    require(schema, model.request_columns, source=model.examples.name, needed_by=f"Model '{model.name}'")
    return {
        column: kind_of(schema[column], where=f"Model '{model.name}': column '{column}'")
        for column in model.request_columns
    }


def as_float32(values: Array) -> Array:
    """Return values as a model's float32 inputs, converted to float64 first, as for requests."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float64, copy=False).astype(np.float32)


def _examples(
    model: Model, rows: pl.LazyFrame, keep: Sequence[str], *, as_of: datetime, start: datetime | None
) -> pl.DataFrame:
    source, user = model.examples, f"Model '{model.name}'"
    for name in (*model.feature_names, *keep):
        if name in (TIMESTAMP, LABEL, KNOWN_AT) and name not in (source.timestamp, model.label, source.known_column):
            raise DefinitionError(f"{user}: column '{name}' has a name that the training frame needs; rename it")
    needed = dict.fromkeys([source.timestamp, source.known_column, model.label, *model.request_columns, *keep])
    require(rows.collect_schema(), needed, source=source.name, needed_by=user)
    frame = rows.select(*needed).collect()
    moments = micros(frame[source.timestamp], where=f"{user}, source '{source.name}'")
    chosen = np.flatnonzero((moments < to_micros(as_of)) & (moments != NEVER))
    if start is not None:
        chosen = chosen[moments[chosen] >= to_micros(start)]
    order = chosen[np.argsort(moments[chosen], kind="stable")]
    return frame[order]


def _label(model: Model, examples: pl.DataFrame, *, as_of: int) -> tuple[pl.Series, pl.Series]:
    """Return the labels that are known at `as_of`, and when they became known."""
    where = f"Model '{model.name}', source '{model.examples.name}'"
    values = floats(examples[model.label], where=where).copy()
    known = micros(examples[model.examples.known_column], where=where)
    values[(known == NEVER) | (known > as_of)] = np.nan
    labels = pl.Series(LABEL, values, nan_to_null=True)
    times = pl.Series(KNOWN_AT, known).cast(pl.Datetime("us", "UTC"))
    return labels, pl.DataFrame([times]).select(pl.when(labels.is_not_null()).then(KNOWN_AT)).to_series()


def _features(model: Model, scan: Scan, examples: pl.DataFrame, at: Array) -> dict[str, Array]:
    where = f"Model '{model.name}', source '{model.examples.name}'"
    found: dict[str, Array] = {}
    for view in model.views:
        found.update(_of_view(view, scan, examples, at))
    for item in model.features:
        if isinstance(item, str):
            found[item] = floats(examples[item], where=where)
    made = {name: values for name, values in found.items() if name not in model.request_columns}
    for transform in model.transforms:
        inputs = [
            made[name].copy()
            if name in made
            else transform_input(examples[name], where=f"on_demand '{transform.name}'")
            for name in transform.inputs
        ]
        with np.errstate(all="ignore"):
            outputs = run(transform, inputs, examples.height)
            check_rows_apart(transform, inputs, outputs)
        found.update(zip(transform.feature_names, outputs, strict=True))
    return found


def _try_rule(model: Model, examples: pl.DataFrame) -> None:
    """Try the fallback rule on some examples, so that a broken rule fails in training and not in serving."""
    rule = model.rule
    if rule is None or examples.is_empty():
        return
    some = examples[np.unique(np.linspace(0, examples.height - 1, TRIED_ROWS).astype(np.int64))]
    try_rule(model, rule, [transform_input(some[name], where=rule.called) for name in rule.inputs])


def _of_view(view: FeatureView, scan: Scan, examples: pl.DataFrame, at: Array) -> dict[str, Array]:
    values = view_values(view, scan(view.source.name), examples.select(view.entity.keys), at)
    return {column.name: column.to_numpy() for column in values}
