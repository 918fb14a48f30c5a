"""Classes of labels, and checks of labels and weights before a training set is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from trimtab.definitions.models import Model, Task
from trimtab.errors import DataError, nearest
from trimtab.tasks import RULES

SHOWN = 5
"""How many classes a message names."""


def classes_of(labels: pl.Series, model: Model) -> tuple[str, ...]:
    """Return the names of a model's classes in their order: those declared, or the distinct labels, sorted.

    Empty where labels are numbers. Raises DataError for a label that is none of the declared classes, and for labels of
    one class alone.
    """
    if not model.names_classes:
        return ()
    where, counts = f"model '{model.name}'", labels.cast(pl.String).drop_nulls().value_counts(sort=True)
    found = dict(counts.iter_rows())
    if model.classes is None:
        whole = all(name.removeprefix("-").isdecimal() for name in found)
        names = tuple(sorted(found, key=int) if whole else sorted(found))
        if len(names) == 1:
            raise DataError(f"{where} has labels of one class alone, '{names[0]}'; expected two or more")
        return names
    names = tuple(str(name) for name in model.classes)
    for name in found:
        if name not in names:
            raise DataError(
                f"{where}: {found[name]} rows of column '{model.label}' have the label '{name}', which is none of its "
                f"classes.{nearest(name, names)}"
            )
    return names


def indices(labels: pl.Series, classes: Sequence[str]) -> pl.Series:
    """Return the index of each label's class, Float64; null where `classes` does not have it."""
    places = {name: float(place) for place, name in enumerate(classes)}
    return labels.cast(pl.String).replace_strict(places, default=None, return_dtype=pl.Float64)


def check_part(where: str, y: np.ndarray[Any, Any], task: Task, classes: Sequence[str], *, all_of_them: bool) -> None:
    """Check the labels of one part of the split, float64 (rows,). where: the part, for messages.

    all_of_them: whether each class needs a row; else two of them do. Raises DataError.
    """
    of = RULES[task]
    if of.label == "zero_one" and y.min() == y.max():
        named = classes[int(y[0])] if classes else f"{y[0]:g}"
        raise DataError(f"{where} has {y.size} labelled rows, all of class {named}; expected both classes")
    if not of.by_class:
        return
    rows = np.bincount(y.astype(np.int64), minlength=len(classes))
    lacking = [name for name, count in zip(classes, rows, strict=True) if not count]
    if lacking and (all_of_them or len(classes) - len(lacking) < 2):
        named = ", ".join(f"'{name}'" for name in lacking[:SHOWN])
        raise DataError(
            f"{where} has {y.size} labelled rows, none of class {named}; take more history or another "
            "training.holdout, or declare the classes without it: Model(..., classes=[...])"
        )


def missing_in_holdout(y: np.ndarray[Any, Any], classes: Sequence[str]) -> tuple[str, ...]:
    """Return a warning that names the classes without a row among the labels of the holdout, float64 (rows,)."""
    lacking = [name for place, name in enumerate(classes) if not (y == place).any()]
    if not lacking:
        return ()
    named = ", ".join(f"'{name}'" for name in lacking[:SHOWN])
    return (f"the holdout has no row of class {named}, so no gate judges the model on it",)


def check_weights(rows: pl.DataFrame, model: Model) -> None:
    """Check the weights of the rows. Raises DataError for one that is missing, negative or not finite."""
    if model.weight is None:
        return
    column, where = rows[model.weight], f"model '{model.name}': weight '{model.weight}'"
    if not column.dtype.is_numeric():
        raise DataError(f"{where} is {column.dtype}; expected numbers")
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{where} is {column[row]} at {rows['timestamp'][row]:%Y-%m-%d %H:%M}, and so are {int(wrong.sum())} of "
            f"{len(values)} rows; expected numbers from 0 on"
        )
    if not values.any():
        raise DataError(f"{where} is 0 in all rows")
