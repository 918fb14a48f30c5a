"""Which loss a fitted regression has minimised, so that a quantile or a count is not judged as a mean."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from trimtab.runtimes.python_objects import is_booster, is_results

log = logging.getLogger(__name__)

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
LOSSES = ("objective", "loss_function", "loss", "criterion")
"""Parameters with the name of the loss."""
LEVELS = ("quantile", "alpha", "quantile_alpha")
"""Parameters with the level of a quantile."""
INNER = ("regressor_", "best_estimator_")
"""Attributes with the fitted estimator: of TransformedTargetRegressor, of searches."""


def objective_of(estimator: Any) -> str:
    """Return the loss of a fitted regression, such as "poisson" or "quantile:0.9"; "" where it is not known.

    Of estimators of scikit-learn, LightGBM, XGBoost and CatBoost, of Boosters, and of quantile regressions of
    statsmodels; of a pipeline, its last step counts. LightGBM and XGBoost say what they have fitted, defaults and
    aliases of parameters resolved. Parameters that cannot be read, and several levels, are no known loss.
    """
    try:
        return _objective(estimator)
    except Exception as error:  # attributes of user code may raise anything
        log.debug("the objective of %s cannot be read: %s", type(estimator).__name__, error)
        return ""


def level_of(objective: str) -> float:
    """Return the level of a quantile: 0.9 of "quantile:0.9"; 0.5 of another objective."""
    found = re.fullmatch(r"quantile:([0-9.e-]+)", objective)
    return float(found[1]) if found else 0.5


def _objective(estimator: Any) -> str:
    if getattr(estimator, "steps", None):
        return _objective(estimator.steps[-1][1])
    inner = next((each for name in INNER if (each := getattr(estimator, name, None)) is not None), None)
    if inner is not None:
        return _objective(inner)
    given = _parameters(estimator)
    told = next((value for name in LOSSES if isinstance(value := given.get(name), str) and value), "").lower()
    name, _, options = told.partition(":")  # CatBoost: Quantile:alpha=0.9;delta=0.01
    found = CLASSES.get(type(estimator).__name__) or NAMES.get(told) or NAMES.get(name, "")
    if found != "quantile":
        return found
    option = dict(part.split("=", 1) for part in options.split(";") if "=" in part)
    level = option.get("alpha") or next((given[name] for name in LEVELS if given.get(name) is not None), 0.5)
    levels = np.asarray(level, dtype=np.float64).ravel()
    return f"quantile:{levels[0]:.6g}" if len(levels) == 1 and 0 < levels[0] < 1 else ""


def _parameters(estimator: Any) -> Mapping[str, Any]:
    """Return the parameters of a fit by name."""
    if hasattr(estimator, "get_all_params") and hasattr(estimator, "tree_count_"):  # CatBoost
        return cast(Mapping[str, Any], estimator.get_all_params())
    if is_results(estimator):
        return {"loss": "quantile", "quantile": estimator.q} if hasattr(estimator, "q") else {}
    own = estimator.get_params() if hasattr(estimator, "get_params") else getattr(estimator, "params", {})
    own = own if isinstance(own, Mapping) else {}
    booster = estimator if is_booster(estimator) else getattr(estimator, "_Booster", None)
    if booster is None or callable(own.get("objective")):  # a Booster does not know a function
        return own
    if type(booster).__module__ == "lightgbm.basic":
        text = booster.model_to_string(num_iteration=1)
        return dict(re.findall(r"^\[(objective|alpha): (.+)\]$", text, flags=re.MULTILINE))
    told = json.loads(booster.save_config())["learner"]["objective"]
    level = told.get("quantile_loss_param", {}).get("quantile_alpha", "[]")
    return {"objective": told["name"], "quantile_alpha": json.loads(level) or None}
