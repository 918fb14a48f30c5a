"""Checks the output of a model: what `trimtab.tasks` says of the scores of its task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Task
from trimtab.errors import DataError
from trimtab.tasks import RULES

SUM = 1e-3
"""Probabilities of the classes of one row add up to 1, give or take this much."""


def one_a_row(out: Any, rows: int, *, task: Task, what: str) -> np.ndarray[Any, Any]:
    """Return a model's output as float64 (rows,), or (rows, classes) of a multiclass model.

    Accepted shapes are (rows,) and (rows, 1), and of a binary model (rows, 2), whose second column is the positive
    class. A multiclass model gives probabilities of two or more classes. Raises DataError for other shapes, which names
    `what` and the shape, and for numbers that are no probabilities of classes.
    """
    by_class = RULES[task].by_class
    try:
        array = np.asarray(out, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{what} returned {type(out).__name__}; expected {'numbers' if by_class else 'one number'} a row"
        ) from None
    if by_class:
        return _of_classes(array, rows, what)
    if array.ndim == 2 and array.shape[1] == 2 and task == "binary":
        array = array[:, 1]
    if array.shape not in ((rows,), (rows, 1)):
        also = ", or probabilities of two classes" if task == "binary" else ""
        raise DataError(f"{what} returned shape {array.shape} for {rows} rows; expected one number a row{also}")
    return array.reshape(rows)


def _of_classes(array: np.ndarray[Any, Any], rows: int, what: str) -> np.ndarray[Any, Any]:
    if array.ndim != 2 or len(array) != rows or array.shape[1] < 2:
        raise DataError(
            f"{what} returned shape {array.shape} for {rows} rows; a multiclass model must give the probability of "
            "each class, (rows, classes)"
        )
    sums = array.sum(axis=1)
    wrong = np.abs(sums - 1) > SUM
    if wrong.any():
        raise DataError(
            f"{what} returned numbers that add up to {sums[wrong][0]:.4g} over the classes of a row; a multiclass "
            "model must give probabilities"
        )
    return array


class OrderedScorer:
    """A multiclass scorer whose probabilities come in the order of other classes.

    A class that the scorer does not know has probability 0; one that is not asked for is left out.
    """

    def __init__(self, scorer: Scorer, given: Sequence[str], wanted: Sequence[str]) -> None:
        self.task, self.in_process = scorer.task, scorer.in_process
        self._scorer = scorer
        self._places = [(place, given.index(name)) for place, name in enumerate(wanted) if name in given]
        self._width = len(wanted)

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the probabilities of rows, float64 (rows, classes wanted)."""
        scores = self._scorer.score(X)
        found = np.zeros((len(scores), self._width))
        for place, own in self._places:
            found[:, place] = scores[:, own]
        return found

    def close(self) -> None:
        """Close the model."""
        self._scorer.close()


def in_order(scorer: Scorer, given: Sequence[str], wanted: Sequence[str]) -> Scorer:
    """Return a scorer whose classes come in the order of `wanted`; itself where they do, or it has no classes."""
    if not RULES[scorer.task].by_class or tuple(given) == tuple(wanted):
        return scorer
    return OrderedScorer(scorer, given, wanted)


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


def expect_probabilities(estimator: Any, task: Task = "binary") -> None:
    """Raise DataError for an estimator of a task with probabilities that gives none."""
    if RULES[task].confidence is not None and not hasattr(estimator, "predict_proba"):
        raise DataError(
            f"{type(estimator).__name__} has no predict_proba; a {task} model must give probabilities, for example "
            "with CalibratedClassifierCV around it"
        )


def is_detector(estimator: Any) -> bool:
    """Return True for an outlier detector of scikit-learn, or a pipeline that ends with one."""
    tags = getattr(estimator, "__sklearn_tags__", None)
    return tags is not None and tags().estimator_type == "outlier_detector"


def check_estimator(estimator: Any, task: Task) -> None:
    """Raise DataError for a scikit-learn estimator that does not fit a task."""
    kind = type(estimator).__name__
    if task == "anomaly":
        if not (hasattr(estimator, "score_samples") or hasattr(estimator, "decision_function")):
            raise DataError(
                f"{kind} has neither score_samples nor decision_function; an anomaly model is an outlier detector such "
                "as IsolationForest or LocalOutlierFactor(novelty=True)"
            )
    elif task == "regression":
        if hasattr(estimator, "predict_proba"):
            raise DataError(f"{kind} is a classifier; its predictions are no values of a regression")
        if is_detector(estimator):
            raise DataError(f"{kind} is an outlier detector; its task is anomaly")
    else:
        expect_probabilities(estimator, task)
        if task == "binary":
            positive_column(list(estimator.classes_), what=kind)


def estimator_scores(estimator: Any, X: Any, task: Task, classes: int = 0) -> np.ndarray[Any, Any]:
    """Return the scores of a scikit-learn estimator, float64. Raises DataError for another output.

    An outlier detector's score is `-score_samples(X)`, so that more is more anomalous. classes: how many classes a
    multiclass model has; an estimator that was fitted on rows of some of them gives 0 for the others. 0: as many as it
    was fitted on.
    """
    kind = type(estimator).__name__
    check_estimator(estimator, task)
    if task == "regression":
        return one_a_row(estimator.predict(X), len(X), task=task, what=kind)
    if task == "anomaly":
        score = estimator.score_samples if hasattr(estimator, "score_samples") else estimator.decision_function
        return one_a_row(-np.asarray(score(X), dtype=np.float64), len(X), task=task, what=kind)
    if task == "multiclass":
        return _class_scores(estimator, X, classes)
    column = positive_column(list(estimator.classes_), what=kind)
    if column is None:
        return np.zeros(len(X))
    return np.asarray(estimator.predict_proba(X)[:, column], dtype=np.float64)


def _class_scores(estimator: Any, X: Any, classes: int) -> np.ndarray[Any, Any]:
    found = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    known = list(getattr(estimator, "classes_", range(found.shape[1])))
    if classes and known != list(range(classes)):
        try:
            places = np.array([int(label) for label in known])
            fits = (places == np.array(known, dtype=np.float64)).all() and 0 <= places.min() <= places.max() < classes
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise DataError(
                f"{type(estimator).__name__} was fitted on the classes {', '.join(map(repr, known[:5]))}; fit it on "
                f"data.y, whose classes are 0 to {classes - 1}"
            )
        whole = np.zeros((len(found), classes))
        whole[:, places] = found
        found = whole
    return one_a_row(found, len(X), task="multiclass", what=type(estimator).__name__)
