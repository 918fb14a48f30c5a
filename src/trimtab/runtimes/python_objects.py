"""Scores of any fitted Python object with `predict`: estimators, boosters, results of statsmodels, own classes.

A model that was fitted on a table with named columns gets the rows as a DataFrame with the names of the features
(NamedColumns). All other models get the matrix of float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.bundle.outputs import estimator_scores, one_a_row
from trimtab.bundle.spec import Task
from trimtab.errors import DataError
from trimtab.tasks import RULES

CLASSIFIER = ("predict_proba", "classes_", "decision_function")
"""Attributes of classifiers, whose `predict` gives labels."""
PYTHON_MODEL = "mlflow.pyfunc.model.PythonModel"


class NamedColumns:
    """A model whose `predict` takes a DataFrame with the features as columns.

    model: results of a statsmodels formula, or an mlflow.pyfunc.PythonModel.
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        self.model = model
        self.feature_names_in_ = np.array(names, dtype=object)

    def predict(self, X: np.ndarray[Any, Any]) -> Any:
        """Return what the model predicts for float32 (rows, features)."""
        # imported here, because only few models need it
        import pandas as pd

        frame: Any = X
        if isinstance(X, np.ndarray):
            frame = pd.DataFrame(X.astype(np.float64), columns=self.feature_names_in_)
        if not _is_python_model(self.model):
            return self.model.predict(frame)
        takes_context = "context" in inspect.signature(self.model.predict).parameters
        return self.model.predict(None, frame) if takes_context else self.model.predict(frame)


def by_name(model: Any, names: Sequence[str]) -> Any:
    """Return a fitted model that takes a matrix: the model itself, or NamedColumns for one that asks for names."""
    formula = is_results(model) and getattr(model.model, "formula", None)
    return NamedColumns(model, names) if formula or _is_python_model(model) else model


def fitted_names(model: Any) -> list[str]:
    """Return the names of the columns that a model was fitted on; empty when it knows none."""
    if is_booster(model):
        names = model.feature_name() if hasattr(model, "feature_name") else model.feature_names
    elif is_results(model):
        names = [name for name in model.model.exog_names if name != "const"]
    else:
        names = getattr(model, "feature_names_in_", None)
        names = getattr(model, "feature_names_", None) if names is None else names
    return [] if names is None else [str(name) for name in names]


def is_booster(model: Any) -> bool:
    """Return True for a Booster of LightGBM or XGBoost. Imports neither."""
    kind = type(model)
    return kind.__name__ == "Booster" and kind.__module__ in ("lightgbm.basic", "xgboost.core")


def is_results(model: Any) -> bool:
    """Return True for the results of a statsmodels fit. Does not import statsmodels."""
    return type(model).__module__.partition(".")[0] == "statsmodels" and hasattr(model, "model")


def object_scores(model: Any, X: Any, task: Task, classes: int = 0) -> np.ndarray[Any, Any]:
    """Return the scores of any fitted Python object with `predict`, float64, for float32 (rows, features).

    classes: how many a multiclass model has; 0: as many as it was fitted on.

    A booster gives those of its best round when it stopped early. What `predict` returns for a binary model must be
    the probability of class 1. Raises DataError when the model does not fit the task.
    """
    kind = type(model).__name__
    if is_booster(model):
        found = _boosted(model, X)
    elif is_results(model):
        found = model.predict(_with_constant(model, X))
    elif RULES[task].confidence is None or any(hasattr(model, name) for name in CLASSIFIER):
        return estimator_scores(model, X, task, classes)
    else:
        found = model.predict(X)
    scores = one_a_row(found, len(X), task=task, what=kind)
    if task == "binary":
        _expect_probabilities(scores, kind)
    return scores


def _expect_probabilities(scores: np.ndarray[Any, Any], kind: str) -> None:
    known = scores[~np.isnan(scores)]
    if len(known) and (known.min() < 0 or known.max() > 1):
        raise DataError(
            f"{kind}.predict gave {known.min():.3g} to {known.max():.3g}; a binary model must give the probability of "
            "class 1"
        )
    if len(known) > 1 and bool(np.isin(known, (0.0, 1.0)).all()):
        raise DataError(
            f"{kind}.predict gave only 0 and 1, as labels; a binary model must give the probability of class 1, by "
            "predict or by predict_proba (rows, 2) with classes_"
        )


def _boosted(booster: Any, X: Any) -> Any:
    if type(booster).__module__ == "lightgbm.basic":
        return booster.predict(X)
    # imported here, because only projects that use it have it
    import xgboost

    best = booster.attr("best_iteration")
    types = booster.feature_types if isinstance(X, np.ndarray) else None  # a DataFrame brings its own
    rows = xgboost.DMatrix(X, feature_types=types, enable_categorical=True)
    rounds = (0, 0) if best is None else (0, int(best) + 1)
    return booster.predict(rows, iteration_range=rounds, validate_features=False)


def _with_constant(results: Any, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return rows as float64, with the column of ones that `add_constant` put before the fit."""
    rows, names = X.astype(np.float64), list(results.model.exog_names)
    if len(names) == X.shape[1] + 1 and "const" in names:
        return np.insert(rows, names.index("const"), 1.0, axis=1)
    return rows


def _is_python_model(model: Any) -> bool:
    return any(f"{kind.__module__}.{kind.__qualname__}" == PYTHON_MODEL for kind in type(model).__mro__)
