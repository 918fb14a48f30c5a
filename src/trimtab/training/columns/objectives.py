"""Which loss a fitted regression has minimised, so that a quantile or a count is not judged as a mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NAMES: Mapping[str, str] = {
    "l1": "absolute_error",
    "mae": "absolute_error",
    "regression_l1": "absolute_error",
    "reg:absoluteerror": "absolute_error",
    "absolute_error": "absolute_error",
    "l2": "squared_error",
    "rmse": "squared_error",
    "regression": "squared_error",
    "regression_l2": "squared_error",
    "reg:squarederror": "squared_error",
    "squared_error": "squared_error",
    "friedman_mse": "squared_error",
    "quantile": "quantile",
    "reg:quantileerror": "quantile",
    "poisson": "poisson",
    "count:poisson": "poisson",
    "gamma": "gamma",
    "reg:gamma": "gamma",
    "tweedie": "tweedie",
    "reg:tweedie": "tweedie",
}
"""Names of losses, in lower case, as the libraries write them -> our names."""
CLASSES: Mapping[str, str] = {
    "QuantileRegressor": "quantile",
    "PoissonRegressor": "poisson",
    "GammaRegressor": "gamma",
    "TweedieRegressor": "tweedie",
}
LEVELS = ("quantile", "alpha", "quantile_alpha")
"""Parameters with the level of a quantile."""


def objective_of(estimator: Any) -> str:
    """Return the loss of a fitted regression, such as "poisson" or "quantile:0.9"; "" where it is not known.

    Of estimators of scikit-learn, LightGBM, XGBoost and CatBoost; of a pipeline, its last step counts.
    """
    if getattr(estimator, "steps", None):
        return objective_of(estimator.steps[-1][1])
    if hasattr(estimator, "regressor_"):  # TransformedTargetRegressor
        return objective_of(estimator.regressor_)
    given = _parameters(estimator)
    kind = type(estimator).__name__
    told = next((given[name] for name in ("objective", "loss_function", "loss", "criterion") if given.get(name)), "")
    name, _, options = str(told).lower().partition(":alpha=")  # CatBoost: Quantile:alpha=0.9
    found = CLASSES.get(kind) or NAMES.get(name, "")
    if found != "quantile":
        return found
    level = options or next((given[name] for name in LEVELS if isinstance(given.get(name), int | float)), 0.5)
    return f"quantile:{float(level):g}"


def level_of(objective: str) -> float | None:
    """Return the level of a quantile; None for another objective."""
    found = re.fullmatch(r"quantile:(.+)", objective)
    return float(found[1]) if found else None


def _parameters(estimator: Any) -> dict[str, Any]:
    if hasattr(estimator, "get_all_params") and hasattr(estimator, "tree_count_"):
        return dict(estimator.get_all_params())
    if hasattr(estimator, "get_params"):
        return dict(estimator.get_params())
    return dict(getattr(estimator, "params", {}))  # a Booster of LightGBM
