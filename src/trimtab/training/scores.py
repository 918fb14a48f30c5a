"""Scores of rows by a fitted estimator itself, without ONNX, and cross-fitted scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.bundle.categories import CategoryTables, category_tables
from trimtab.bundle.typed_matrix import model_input
from trimtab.definitions.models import Dataset, Model, Task
from trimtab.errors import DataError, StageError, TrimtabError
from trimtab.lazy_library import LazyLibrary
from trimtab.runtimes.python_objects import fitted_names, object_scores
from trimtab.tasks import RULES
from trimtab.training.torch_modules import is_module, module_scores
from trimtab.training.trainer import fit

if TYPE_CHECKING:
    from sklearn.utils import validation
else:
    validation = LazyLibrary("sklearn.utils.validation")

FOLDS = 4


class EstimatorFailed(StageError):
    """The estimator that a trainer returned failed to score rows."""


def native_scores(estimator: Any, X: np.ndarray[Any, Any], task: Task, classes: int = 0) -> np.ndarray[Any, Any]:
    """Return the scores of rows X, float32 (rows, features), by the estimator itself: float64, as `trimtab.tasks` says.

    A binary estimator that was fitted on one class gives 0 or 1. classes: how many classes a multiclass model has; one
    that the estimator was not fitted on gets 0. Raises StageError if the estimator does not fit the task,
    EstimatorFailed if it raises an error.
    """
    try:
        return _scores(estimator, X, task, classes)
    except TrimtabError:
        raise
    except Exception as error:  # user code may raise anything
        raise EstimatorFailed(_failure(estimator, X, error)) from error


def _scores(estimator: Any, X: np.ndarray[Any, Any], task: Task, classes: int) -> np.ndarray[Any, Any]:
    if is_module(estimator):
        return module_scores(estimator, np.asarray(X), task)
    rows = model_input(X)
    if type(rows) is np.ndarray:
        try:
            tables = category_tables(estimator)
        except DataError as error:
            raise StageError(f"{type(estimator).__name__} cannot be served: {error}") from None
        rows = rows if tables is None else category_frame(estimator, rows, tables)
    if np.ndim(next(iter(getattr(estimator, "classes_", ())), 0)):
        raise StageError(f"{type(estimator).__name__} was fitted on several labels; a model has one")
    if task == "binary" and hasattr(estimator, "classes_"):
        known = [float(label) for label in estimator.classes_]
        if not set(known) <= {0.0, 1.0}:
            raise StageError(f"{type(estimator).__name__} was fitted on classes {known}; expected 0 and 1")
    try:
        return object_scores(estimator, rows, task, classes)
    except DataError as error:
        raise StageError(str(error)) from None


def _failure(estimator: Any, X: np.ndarray[Any, Any], error: Exception) -> str:
    """Return the error text: the error of the estimator, and a likely cause."""
    rows = int(np.isnan(X).any(axis=1).sum())
    hint = ""
    if _is_unfitted(estimator, error):
        hint = ". The trainer has to return a fitted estimator: estimator.fit(data.X, data.y)"
    elif rows:
        hint = (
            f". {rows:,} of {len(X):,} rows have missing values: fill them inside of what the trainer returns, such as "
            "make_pipeline(SimpleImputer(), ...)"
        )
    elif hasattr(estimator, "feature_names_in_"):
        hint = ". It was fitted on a DataFrame, and gets rows as numbers by position, without names"
    message = (str(error).strip() or "no message").splitlines()[0].rstrip(".")
    return (
        f"the trainer's {type(estimator).__name__} cannot score the training set: {type(error).__name__}: "
        f"{message}{hint}"
    )


def _is_unfitted(estimator: Any, error: Exception) -> bool:
    if type(error).__name__ == "NotFittedError":
        return True
    if hasattr(estimator, "is_fitted"):  # CatBoost
        return not estimator.is_fitted()
    if type(estimator).__module__.partition(".")[0] != "sklearn":
        return False  # an own estimator may have no attribute that only a fit makes
    try:
        validation.check_is_fitted(estimator)
    except Exception:  # NotFittedError
        return True
    return False


def flagging(scores: np.ndarray[Any, Any], share: float) -> float:
    """Return the score from which on a share of rows counts as anomalies. scores: float64 (rows,).

    Where several rows have that score, the next larger one if its share is nearer: a score that most rows have flags
    none of them. Above the largest score lies a threshold that no row reaches.
    """
    known = scores[np.isfinite(scores)]
    at = float(np.quantile(known, 1 - share, method="higher"))
    above = known[known > at]
    too_many, too_few = float((known >= at).mean()) - share, share - len(above) / len(known)
    if np.count_nonzero(known == at) == 1 or too_many <= too_few:
        return at
    return float(above.min() if len(above) else np.nextafter(at, np.inf))


def category_frame(estimator: Any, X: np.ndarray[Any, Any], tables: CategoryTables) -> Any:
    """Return rows as a DataFrame for an estimator of LightGBM or XGBoost that was fitted on pandas categories."""
    # imported here, because it takes a while to import and few trainers need it
    import pandas as pd

    columns: dict[str, Any] = {}
    for place, name in enumerate(fitted_names(estimator)):
        values = X[:, place].astype(np.float64)
        table = tables.values.get(place)
        if table is None:
            columns[name] = values
            continue
        known, new = list(tables.raw[place]), np.setdiff1d(values[~np.isnan(values)], table.astype(np.float64))
        whole = all(isinstance(value, int) for value in known) and bool((new == np.round(new)).all())
        columns[name] = pd.Categorical(values, categories=[*known, *(map(int, new) if whole else new)])
    return pd.DataFrame(columns)


def cross_fit(
    model: Model,
    data: Dataset,
    params: dict[str, Any],
    seed: int,
    *,
    folds: int = FOLDS,
    rows: Dataset | None = None,
    adapt: Callable[[Any], Any] | None = None,
) -> np.ndarray[Any, Any]:
    """Score each row by an estimator that was fitted without the rows of the same stretch of time.

    Args:
        model: the model, whose trainer is called once for each stretch.
        data: labelled examples in order of time, cut into `folds` stretches of about equal size; its `rounds` are those
            of each fit.
        params: for the trainer.
        seed: for the trainer.
        folds: the number of stretches.
        rows: the rows to score, such as the same span with unlabelled rows; None scores `data` itself.
        adapt: changes each fitted estimator before it scores, such as its calibration; None changes nothing.

    Returns:
        float64, shape (rows,), or (rows, classes) of a multiclass model.

    Raises:
        StageError: there are too few examples, or all lie in one stretch.
    """
    rows = data if rows is None else rows
    if len(data.y) < 2 * folds:
        raise StageError(f"model '{model.name}': {len(data.y)} examples are too few for {folds} stretches of time")
    edges = data.timestamps[[len(data.y) * fold // folds for fold in range(1, folds)]]
    own, theirs = (np.searchsorted(edges, d.timestamps, side="right") for d in (data, rows))
    classes = len(data.classes) if RULES[model.task].by_class else 0
    scores = np.full((len(rows.timestamps), classes) if classes else len(rows.timestamps), np.nan)
    for fold in np.unique(theirs):
        rest = own != fold
        if not rest.any():
            raise StageError(f"model '{model.name}': all examples lie in one stretch of time; take more history")
        estimator = fit(model, replace(data.take(rest), rounds=data.rounds), params, seed)
        wanted = theirs == fold
        adapted = adapt(estimator) if adapt else estimator
        scores[wanted] = native_scores(adapted, rows.X[wanted], model.task, classes)
    return scores
