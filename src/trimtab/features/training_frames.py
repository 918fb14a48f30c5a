"""Builds the training frame of a model: labelled examples with features as they could be known at their timestamps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from trimtab.clock import to_micros
from trimtab.definitions.models import Model
from trimtab.errors import DefinitionError
from trimtab.features.point_in_time import view_values
from trimtab.features.table_columns import (
    NEVER,
    TEXT_HINT,
    floats,
    kind_of,
    micros,
    require,
    require_numbers,
    transform_input,
    typed_column,
    value_kind,
)
from trimtab.features.transforms import as_series, check_rows_apart, run, try_rule
from trimtab.features.value_types import Array, Kind
from trimtab.tasks import class_names

TIMESTAMP, LABEL, KNOWN_AT = "timestamp", "label", "label_known_at"
TRIED_ROWS = 1000
"""Number of examples, evenly spread, on which the fallback rule is tried."""

LIKE_A_NUMBER = r"^\s*[-+]?\d[\d.,' ]*([eE][-+]?\d+)?\s*%?$"

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
        `label` (float64, or the name of the class as text; null if the outcome is not known at `as_of`),
        `label_known_at` (when it became known; null
        without a label), the model's features (views as of the row's timestamp), and the columns of `keep`, and of the
        model's `weight`, `group` and `extra`, that are no features. Features are float32 with null for NaN; those of
        another type are String, Categorical, Boolean, Int64, Decimal, Date or Datetime.

    Raises:
        DefinitionError: a column is missing or has a wrong type, or a transform or the fallback rule fails.
    """
    keep = tuple(dict.fromkeys((*keep, *model.carried)))
    examples = chosen_examples(model, scan(model.examples.name), keep, as_of=as_of, start=start)
    where = f"Model '{model.name}', source '{model.examples.name}'"
    at = micros(examples[model.examples.timestamp], where=where)
    features = _features(model, scan, examples, at)
    _try_rule(model, examples)
    columns = [
        pl.Series(TIMESTAMP, at).cast(pl.Datetime("us", "UTC")),
        *_label(model, examples, as_of=to_micros(as_of)),
        *(features[name] for name in model.feature_names),
    ]
    taken = {column.name for column in columns}
    return pl.DataFrame([*columns, *(examples[name] for name in dict.fromkeys(keep) if name not in taken)])


def request_types(model: Model, scan: Scan, typed: Mapping[str, str] | None = None) -> dict[str, Kind]:
    """Return the kind of value that a request brings for each of the model's request columns.

    Args:
        model: the model.
        scan: returns the rows of a source by its name.
        typed: type of each feature that is no plain number; a date and a decimal are then kinds of their own.

    Returns:
        By column the kind that follows from the type of the examples' column, for `OnlinePlan`.

    Raises:
        DefinitionError: a column is missing or has a type that requests cannot bring.
    """
    schema = scan(model.examples.name).collect_schema()
    require(schema, model.request_columns, source=model.examples.name, needed_by=f"Model '{model.name}'")
    own: dict[str, Kind] = {"decimal": "decimal", "date": "date"}
    return {
        column: own.get((typed or {}).get(column, ""))
        or kind_of(schema[column], where=f"Model '{model.name}': column '{column}'")
        for column in model.request_columns
    }


def chosen_examples(
    model: Model, rows: pl.LazyFrame, keep: Sequence[str], *, as_of: datetime, start: datetime | None
) -> pl.DataFrame:
    """Return the examples of a training frame as their table has them, row by row in the order of the frame.

    Args:
        model: the model.
        rows: the table of its examples.
        keep: further columns to read.
        as_of, start: of the frame.

    Raises:
        DefinitionError: a column is missing, or has a name that the frame needs.
    """
    source, user = model.examples, f"Model '{model.name}'"
    for name in (*model.feature_names, *keep):
        if name in (TIMESTAMP, LABEL, KNOWN_AT) and name not in (source.timestamp, model.label, source.known_column):
            raise DefinitionError(f"{user}: column '{name}' has a name that the training frame needs; rename it")
    labels = [] if model.label is None else [model.label]
    needed = dict.fromkeys([source.timestamp, source.known_column, *labels, *model.request_columns, *keep])
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
    known = micros(examples[model.examples.known_column], where=where)
    if model.label is None:
        labels = pl.Series(LABEL, [None] * len(examples), pl.Float64)
    elif model.names_classes:
        labels = class_names(examples[model.label], where=where).rename(LABEL)
    else:
        if model.task == "binary" and examples[model.label].dtype == pl.String:
            _ask_for_classes(examples[model.label], where=where)
        labels = pl.Series(LABEL, floats(examples[model.label], where=where), nan_to_null=True)
    unknown = pl.Series((known == NEVER) | (known > as_of))
    labels = pl.DataFrame([labels]).select(pl.when(~unknown).then(LABEL)).to_series()
    times = pl.Series(KNOWN_AT, known).cast(pl.Datetime("us", "UTC"))
    return labels, pl.DataFrame([times]).select(pl.when(labels.is_not_null()).then(KNOWN_AT)).to_series()


def _ask_for_classes(column: pl.Series, *, where: str) -> None:
    """Raise DefinitionError for texts as the labels of a binary model that declares no classes."""
    names = column.drop_nulls().unique().sort().to_list()
    shown = ", ".join(repr(name) for name in names[:5])
    if len(names) == 2:
        raise DefinitionError(
            f"{where}: the labels of column '{column.name}' are the texts {shown}; declare them, the positive one "
            f"last: Model(..., classes=[{shown}])"
        )
    raise DefinitionError(
        f"{where}: column '{column.name}' has {len(names)} texts as labels ({shown}); a binary model has two classes. "
        "For more of them: task='multiclass'"
    )


def _features(model: Model, scan: Scan, examples: pl.DataFrame, at: Array) -> dict[str, pl.Series]:
    where = f"Model '{model.name}', source '{model.examples.name}'"
    found: dict[str, pl.Series] = {}
    for view in model.views:
        found.update({column.name: column for column in view_values(view, scan(view.source.name), examples, at)})
    made = {name: values for name, values in found.items() if name not in model.request_columns}
    for item in model.features:
        if isinstance(item, str):
            found[item] = examples[item]
    for transform in model.transforms:
        inputs = [
            transform_input(made[name] if name in made else examples[name], where=f"on_demand '{transform.name}'")
            for name in transform.inputs
        ]
        with np.errstate(all="ignore"):
            outputs = run(transform, inputs, examples.height)
            check_rows_apart(transform, inputs, outputs)
        found.update(
            (name, as_series(name, values)) for name, values in zip(transform.feature_names, outputs, strict=True)
        )
    plain = [item for item in model.features if isinstance(item, str)]
    return {name: _typed(model, found[name], where=where, computed=name not in plain) for name in model.feature_names}


def _typed(model: Model, column: pl.Series, *, where: str, computed: bool) -> pl.Series:
    """Return a feature in its type. computed: by a view or a transform, whose numbers are floats."""
    if isinstance(column.dtype, pl.Time | pl.Duration | pl.List | pl.Struct | pl.Array | pl.Object | pl.Binary):
        require_numbers(column.name, column.dtype, where=where)
    declared = (model.types or {}).get(column.name)
    if declared is None and column.dtype == pl.String:
        _refuse_numbers(column, where=where)
    values = value_kind(column.dtype)
    if computed and values in ("number", "integer", "boolean"):
        values = "computed"
    kind = model.type_of(column.name, values)
    return typed_column(column, kind, where=where)


def _refuse_numbers(column: pl.Series, *, where: str) -> None:
    """Raise DefinitionError if most texts of a column read like numbers, as in a file with decimal commas."""
    texts = column.drop_nulls().unique()
    numbers = texts.filter(texts.str.contains(LIKE_A_NUMBER))
    if len(numbers) * 2 > len(texts):
        raise DefinitionError(
            f"{where}: feature '{column.name}' is {column.dtype}, and most of its texts read like numbers, such as "
            f"'{numbers.sort()[0]}'{TEXT_HINT}. If they are names: Model(..., types={{'{column.name}': 'category'}})"
        )


def _try_rule(model: Model, examples: pl.DataFrame) -> None:
    """Try the fallback rule on some examples, so that a broken rule fails in training and not in serving."""
    rule = model.rule
    if rule is None or examples.is_empty():
        return
    some = examples[np.unique(np.linspace(0, examples.height - 1, TRIED_ROWS).astype(np.int64))]
    try_rule(model, rule, [transform_input(some[name], where=rule.called) for name in rule.inputs])
