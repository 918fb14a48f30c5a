"""How many rounds an estimator that stopped early took, so that a fit on more rows takes as many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = ("max_iter", "n_estimators", "num_boost_round", "num_iterations", "num_round", "iterations", "n_rounds")
"""Parameters that libraries of boosted trees take the number of rounds from."""


def rounds_of(estimator: Any) -> int | None:
    """Return the rounds after which an estimator stopped early; None when it did not, or it cannot be known.

    Of scikit-learn's boosted trees, LightGBM and XGBoost; of a pipeline, its last step counts.
    """
    if hasattr(estimator, "steps") and estimator.steps:
        return rounds_of(estimator.steps[-1][1])
    if getattr(estimator, "do_early_stopping_", False):  # scikit-learn, HistGradientBoosting*
        return _below(getattr(estimator, "n_iter_", None), getattr(estimator, "max_iter", None))
    if getattr(estimator, "n_iter_no_change", None) is not None and hasattr(estimator, "n_estimators_"):
        return _below(estimator.n_estimators_, getattr(estimator, "n_estimators", None))
    for name, first in (("best_iteration_", 0), ("best_iteration", 0 if _is_lightgbm(estimator) else 1)):
        found = _read(estimator, name)
        if isinstance(found, int) and found > 0:  # XGBoost counts from 0, LightGBM from 1
            return found + first
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


def _is_lightgbm(estimator: Any) -> bool:
    return type(estimator).__module__.partition(".")[0] == "lightgbm"


def _read(estimator: Any, name: str) -> Any:
    """Return an attribute, which XGBoost raises for when there was no early stopping."""
    try:
        return getattr(estimator, name, None)
    except AttributeError:
        return None
