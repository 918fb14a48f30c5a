"""Splits of labelled rows by time, with a gap: no part is trained on labels that were not known when the next begins.

A model that is trained at a time knows the outcomes that were known then. So the rows just before a split, whose labels
became known after it, are in no part; with them a validation would be better than any model can be in service.

Source: Bergmeir & Benitez, On the use of cross-validation for time series predictor evaluation, Information Sciences
191 (2012); the gap is that of Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 7.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trimtab.definitions.models import Dataset, Task
from trimtab.errors import StageError
from trimtab.tasks import RULES


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows before a time whose labels were known then, and rows from it on.

    train, test: in order of time. at: datetime64[us]. left_out: number of rows between, whose labels were not known.
    """

    train: Dataset
    test: Dataset
    at: np.datetime64
    left_out: int


def validated(data: Dataset, share: float | None, *, model: str, task: Task) -> tuple[Dataset, int]:
    """Return the rows to train on with the latest ones as their `validation`, and how many rows are in neither.

    Args:
        data: labelled rows in order of time.
        share: of their time span, between 0 and 1; None returns the data as they are.
        model, task: of the rows.

    Raises:
        StageError: the times at which labels became known are missing, or a part is too small or of one class.
    """
    if share is None:
        return data, 0
    first, last = data.timestamps[0], data.timestamps[-1]
    at = last - np.timedelta64(round((last - first).astype("timedelta64[us]").astype(np.int64) * share), "us")
    split = _split(data, at, None, what=f"model '{model}': training.validation", task=task)
    return replace(split.train, validation=split.test), split.left_out


def expanding_folds(data: Dataset, folds: int, *, model: str, task: Task, key: str) -> list[Split]:
    """Return folds of expanding windows: each tests on a stretch of time, and trains on what was known before it.

    Args:
        data: labelled rows in order of time, cut into one more stretches of about equal size than folds.
        folds: number of folds.
        model, task: of the rows.
        key: of the policy, for messages.

    Raises:
        StageError: as `validated`.
    """
    edges = [data.timestamps[len(data.timestamps) * n // (folds + 1)] for n in range(1, folds + 1)]
    ends = [*edges[1:], None]
    pairs = enumerate(zip(edges, ends, strict=True), 1)
    return [_split(data, at, end, what=f"model '{model}': fold {n} of {key}", task=task) for n, (at, end) in pairs]


def _split(data: Dataset, at: np.datetime64, end: np.datetime64 | None, *, what: str, task: Task) -> Split:
    if data.known_at is None:
        raise StageError(
            f"{what}: the training set was frozen without the times at which labels became known; make a new one: "
            "trimtab features"
        )
    before = data.timestamps < at
    known = before & ~(data.known_at > at)  # a row without a label, as of an anomaly model, has no such time
    after = data.timestamps >= at
    if end is not None:
        after &= data.timestamps < end
    parts = {"rows known before": known, "rows from": after}
    for name, rows in parts.items():
        _expect_enough(f"{what}: the {name} {_shown(at)}", data.y[rows], task)
    return Split(train=data.take(known), test=data.take(after), at=at, left_out=int(before.sum()) - int(known.sum()))


def _expect_enough(where: str, y: np.ndarray[Any, Any], task: Task) -> None:
    if y.size < 2:
        raise StageError(f"{where} are {y.size}; take more history, or another share or number of folds")
    if RULES[task].confidence is not None and y.min() == y.max():
        raise StageError(f"{where} are {y.size}, all of class {y[0]:g}; expected more than one class")


def _shown(at: np.datetime64) -> str:
    return str(at.astype("datetime64[m]")).replace("T", " ")
