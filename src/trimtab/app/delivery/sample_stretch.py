"""Chooses the stretch of time whose examples a contract test trains on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from trimtab.definitions.models import Model
from trimtab.errors import StageError
from trimtab.features.table_columns import NEVER, micros
from trimtab.tasks import RULES

ENOUGH = 10
"""Examples of each class, in the older and in the newer part of the stretch, with which a stretch is as good as any."""
HOLDOUT = 0.2
MOST_CLASSES = 50
"""Further classes, the rarest, are not looked at."""
LONGER = 20
"""So many times the rows that are wanted are read before a class counts as missing."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch of event time, both ends included, in microseconds. known: when the last of its labels was known."""

    start: int
    end: int
    known: int
    labelled: int


def stretch_of(model: Model, frame: pl.DataFrame, rows: int) -> Stretch:
    """Return the newest stretch with at most `rows` labelled examples.

    Of a model with classes an earlier one is taken if it has more of the rarest class than the newest, up to ENOUGH of
    each class in both parts. Without labels every row counts.

    Raises StageError without a labelled example.
    """
    where = f"Model '{model.name}', source '{model.examples.name}'"
    at, known = (micros(frame[name], where=where) for name in (model.examples.timestamp, model.examples.known_column))
    usable = (at != NEVER) & (known != NEVER)
    if model.label is not None and RULES[model.task].needs_labels:
        usable &= frame[model.label].is_not_null().to_numpy()
    order = np.flatnonzero(usable)
    order = order[np.argsort(at[order], kind="stable")]
    if not len(order):
        raise StageError(f"{where}: none of {frame.height:,} rows has a label in '{model.label}'")
    count = min(rows, len(order))
    first = len(order) - count
    if model.label is not None and RULES[model.task].decides:
        first = _best(frame[model.label].gather(order), count)
    chosen = order[first : first + count]
    return Stretch(
        start=int(at[chosen[0]]), end=int(at[chosen[-1]]), known=int(known[chosen].max()), labelled=len(chosen)
    )


def is_good(model: Model, frame: pl.DataFrame, rows: int) -> bool:
    """Return True if rows give enough labelled examples of each class in one stretch."""
    if model.label is None or not RULES[model.task].needs_labels:
        return frame.height >= rows
    labels = frame[model.label].drop_nulls()
    if len(labels) < rows:
        return False
    return not RULES[model.task].decides or (labels.n_unique() > 1 and bool(_least(labels, rows).max() >= ENOUGH))


def _best(labels: pl.Series, count: int) -> int:
    """Return where the newest of the best stretches begins. labels: in order of time."""
    least = np.minimum(_least(labels, count), ENOUGH)
    return int(np.flatnonzero(least == least.max())[-1])


def _least(labels: pl.Series, count: int) -> np.ndarray[Any, Any]:
    """Return for each beginning of a stretch the examples of its rarest class, in the part that has fewer of them."""
    classes = labels.drop_nulls().value_counts(sort=True)[labels.name].head(MOST_CLASSES)
    if classes.is_empty():
        return np.zeros(len(labels) - count + 1, dtype=np.int64)
    split = count - max(1, round(count * HOLDOUT))
    parts = []
    for value in classes:
        total = np.concatenate([[0], np.cumsum((labels == value).fill_null(value=False).to_numpy())])
        begins = np.arange(len(labels) - count + 1)
        parts += [total[begins + split] - total[begins], total[begins + count] - total[begins + split]]
    least: np.ndarray[Any, Any] = np.min(parts, axis=0)
    return least
