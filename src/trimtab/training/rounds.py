"""How many rounds an estimator that stopped early took, so that a fit on more rows takes as many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = ("max_iter", "n_estimators", "num_boost_round", "num_iterations", "num_round", "iterations", "n_rounds")
"""Parameters that libraries of boosted trees take the number of rounds from."""
ADDING = ("lightgbm", "xgboost", "catboost")
"""Libraries that add so many rounds to those of the estimator that a fit starts from."""


def rounds_of(estimator: Any, previous: Any = None) -> int | None:
    """Return the rounds after which an estimator stopped early; None when it did not, or it cannot be known.

    Of scikit-learn's boosted trees, LightGBM, XGBoost and CatBoost; of a pipeline, its last step counts. previous: the
    estimator that it started from, whose rounds LightGBM and XGBoost count as well, but do not take from parameters.
    """
    if hasattr(estimator, "steps") and estimator.steps:
        return rounds_of(estimator.steps[-1][1], previous)
    if getattr(estimator, "do_early_stopping_", False):  # scikit-learn, HistGradientBoosting*
        return _below(getattr(estimator, "n_iter_", None), getattr(estimator, "max_iter", None))
    if getattr(estimator, "n_iter_no_change", None) is not None and hasattr(estimator, "n_estimators_"):
        return _below(estimator.n_estimators_, getattr(estimator, "n_estimators", None))
    first = 0 if _library(estimator) == "lightgbm" else 1  # XGBoost and CatBoost count from 0, LightGBM from 1
    for name in ("best_iteration_", "best_iteration"):
        found = _read(estimator, name)
        if isinstance(found, int) and found + first > 0:
            return found + first - (_fitted(previous) or 0 if _library(previous) in ADDING else 0)
    return None


def more_rounds(estimator: Any, rounds: int, previous: Any = None) -> int | None:
    """Return how many rounds an estimator has, where they are more than `rounds` and those that it started from."""
    if hasattr(estimator, "steps") and estimator.steps:
        return more_rounds(estimator.steps[-1][1], rounds, previous)
    found = _fitted(estimator)
    started = _fitted(previous) or 0 if _library(previous) in ADDING else 0
    return found if found is not None and found > rounds + started else None


def _fitted(estimator: Any) -> int | None:
    """Return the number of rounds that a fitted estimator has; None where it is not known."""
    for inner in ("booster_", "get_booster"):  # of LightGBM's and XGBoost's scikit-learn estimators
        if (found := _read(estimator, inner)) is not None:
            return _fitted(found() if callable(found) else found)
    for name in ("current_iteration", "num_boosted_rounds", "n_iter_", "n_estimators_", "tree_count_"):
        found = _read(estimator, name)
        rounds = found() if callable(found) else found
        if isinstance(rounds, int):
            return rounds
    return None


def with_rounds(params: Mapping[str, Any], rounds: int | None) -> dict[str, Any]:
    """Return the parameters with the number of rounds, where they name one."""
    if rounds is None:
        return dict(params)
    return {name: rounds if name in NAMES else value for name, value in params.items()}


def _below(rounds: Any, most: Any) -> int | None:
    if not isinstance(rounds, int) or (isinstance(most, int) and rounds >= most):
        return None
    return rounds


def _library(estimator: Any) -> str:
    return type(estimator).__module__.partition(".")[0]


def _read(estimator: Any, name: str) -> Any:
    """Return an attribute, which XGBoost raises for when there was no early stopping."""
    try:
        return getattr(estimator, name, None)
    except AttributeError:
        return None
