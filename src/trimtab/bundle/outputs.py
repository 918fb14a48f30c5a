"""Checks the output of a model: one number a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.bundle.spec import Task
from trimtab.errors import DataError


def one_a_row(out: Any, rows: int, *, task: Task, what: str) -> np.ndarray[Any, Any]:
    """Return a model's output as float64 (rows,).

    Accepted shapes are (rows,) and (rows, 1), and of a binary model (rows, 2), whose second column is the positive
    class. Raises DataError for other shapes, which names `what` and the shape.
    """
    try:
        array = np.asarray(out, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what} returned {type(out).__name__}; expected one number a row") from None
    if array.ndim == 2 and array.shape[1] == 2 and task == "binary":
        array = array[:, 1]
    if array.shape not in ((rows,), (rows, 1)):
        also = ", or probabilities of two classes" if task == "binary" else ""
        raise DataError(f"{what} returned shape {array.shape} for {rows} rows; expected one number a row{also}")
    return array.reshape(rows)


def positive_column(classes: Sequence[Any], *, what: str) -> int | None:
    """Return the column of predict_proba with the positive class; None when it was fitted on negatives alone.

    The positive class is 1 of 0 and 1 (or True), and the second of two other classes, in scikit-learn's order.
    Raises DataError for other numbers of classes.
    """
    labels = [label.item() if isinstance(label, np.generic) else label for label in classes]
    if all(isinstance(label, bool | int | float) and label in (0, 1) for label in labels):
        return labels.index(1) if 1 in labels else None
    if len(labels) != 2:
        shown = ", ".join(repr(label) for label in labels[:5])
        raise DataError(f"{what} knows {len(labels)} classes ({shown}); expected two")
    return 1


def expect_probabilities(estimator: Any) -> int | None:
    """Return the column of predict_proba with the positive class. Raises DataError for an estimator without it."""
    kind = type(estimator).__name__
    if not hasattr(estimator, "predict_proba"):
        raise DataError(
            f"{kind} has no predict_proba; a binary model must give probabilities, for example "
            "with CalibratedClassifierCV around it"
        )
    return positive_column(list(estimator.classes_), what=kind)


def estimator_scores(estimator: Any, X: np.ndarray[Any, Any], task: Task) -> np.ndarray[Any, Any]:
    """Return one float64 score a row of a scikit-learn estimator. Raises DataError for another output."""
    if task == "regression":
        return one_a_row(estimator.predict(X), len(X), task=task, what=type(estimator).__name__)
    column = expect_probabilities(estimator)
    if column is None:
        return np.zeros(len(X))
    return np.asarray(estimator.predict_proba(X)[:, column], dtype=np.float64)
