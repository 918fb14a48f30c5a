"""What a fitted estimator itself says about rows; cross-fitted scores. Called by train.py and parity.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from trimtab.definitions import Dataset, Model, Task
from trimtab.errors import StageError
from trimtab.training.fit import fit

FOLDS = 4


def native_scores(estimator: Any, X: np.ndarray[Any, Any], task: Task) -> np.ndarray[Any, Any]:
    """Return one float64 score a row of X, shape (rows, features), without ONNX.

    Binary: the probability of class 1; an estimator that has seen one class only gives 0 or 1.
    Raises StageError when the estimator cannot do what the task asks for.
    """
    if task == "regression":
        return np.asarray(estimator.predict(X), dtype=np.float64).reshape(len(X))
    if not hasattr(estimator, "predict_proba"):
        raise StageError(
            f"{type(estimator).__name__} has no predict_proba; a binary model must give probabilities, for example "
            "with CalibratedClassifierCV around it"
        )
    classes = [float(label) for label in estimator.classes_]
    if not set(classes) <= {0.0, 1.0}:
        raise StageError(f"{type(estimator).__name__} was fitted on classes {classes}; expected 0 and 1")
    if 1.0 not in classes:
        return np.zeros(len(X))
    return np.asarray(estimator.predict_proba(X)[:, classes.index(1.0)], dtype=np.float64)


def cross_fit(
    model: Model,
    data: Dataset,
    params: dict[str, Any],
    seed: int,
    *,
    folds: int = FOLDS,
    rows: Dataset | None = None,
) -> np.ndarray[Any, Any]:
    """Score each row by a model that was fitted without its stretch of time; float64, shape (rows,).

    data: labelled examples, cut into `folds` stretches of about equal size. rows: what to score, such as
    the same span with unlabelled rows; None scores `data` itself. Raises StageError when a stretch is empty.
    """
    rows = data if rows is None else rows
    if len(data.y) < 2 * folds:
        raise StageError(f"model '{model.name}': {len(data.y)} examples are too few for {folds} stretches of time")
    edges = data.timestamps[[len(data.y) * fold // folds for fold in range(1, folds)]]
    own, theirs = (np.searchsorted(edges, d.timestamps, side="right") for d in (data, rows))
    scores = np.full(len(rows.timestamps), np.nan)
    for fold in np.unique(theirs):
        rest = own != fold
        if not rest.any():
            raise StageError(f"model '{model.name}': all examples lie in one stretch of time; take more history")
        others = Dataset(
            X=data.X[rest], y=data.y[rest], feature_names=data.feature_names, timestamps=data.timestamps[rest]
        )
        estimator = fit(model, others, params, seed)
        wanted = theirs == fold
        scores[wanted] = native_scores(estimator, rows.X[wanted], model.task)
    return scores
