"""What a regression has minimised is read from the estimator."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, PoissonRegressor, QuantileRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trimtab.training.columns.objectives import level_of, objective_of


def boosted(library: str, **params: Any) -> Any:
    """Return a regressor of a library of boosted trees."""
    if library == "lightgbm":
        from lightgbm import LGBMRegressor

        return LGBMRegressor(n_estimators=3, verbose=-1, **params)
    if library == "xgboost":
        from xgboost import XGBRegressor

        return XGBRegressor(n_estimators=3, **params)
    from catboost import CatBoostRegressor

    return CatBoostRegressor(iterations=3, verbose=False, allow_writing_files=False, **params)


@pytest.mark.parametrize(
    ("estimator", "objective"),
    [
        (LinearRegression(), ""),
        (QuantileRegressor(quantile=0.9, alpha=0.0), "quantile:0.9"),
        (PoissonRegressor(), "poisson"),
        (HistGradientBoostingRegressor(loss="quantile", quantile=0.1, max_iter=3), "quantile:0.1"),
        (HistGradientBoostingRegressor(loss="poisson", max_iter=3), "poisson"),
        (GradientBoostingRegressor(loss="quantile", alpha=0.75, n_estimators=3), "quantile:0.75"),
        (RandomForestRegressor(3, criterion="absolute_error"), "absolute_error"),
        (make_pipeline(StandardScaler(), QuantileRegressor(quantile=0.2)), "quantile:0.2"),
        (TransformedTargetRegressor(PoissonRegressor()), "poisson"),
        (boosted("lightgbm", objective="quantile", alpha=0.9), "quantile:0.9"),
        (boosted("lightgbm", objective="quantile"), "quantile:0.9"),  # its default
        (boosted("lightgbm", application="quantile", alpha=0.2), "quantile:0.2"),
        (boosted("lightgbm", objective="poisson"), "poisson"),
        (boosted("xgboost", objective="reg:quantileerror", quantile_alpha=0.9), "quantile:0.9"),
        (boosted("xgboost", objective="reg:quantileerror", quantile_alpha=[0.9]), "quantile:0.9"),
        (boosted("xgboost", objective="reg:quantileerror", quantile_alpha=np.float32(0.9)), "quantile:0.9"),
        (boosted("xgboost", objective="reg:quantileerror", quantile_alpha=np.array([0.9])), "quantile:0.9"),
        (boosted("xgboost", objective="reg:quantileerror", quantile_alpha=[0.1, 0.9]), ""),
        (boosted("xgboost"), "squared_error"),
        (boosted("catboost", loss_function="Quantile:alpha=0.9"), "quantile:0.9"),
        (boosted("catboost", loss_function="Quantile:alpha=0.9;delta=0.01"), "quantile:0.9"),
        (boosted("catboost", loss_function="Quantile"), "quantile:0.5"),
        (boosted("catboost", loss_function="Poisson"), "poisson"),
        (GridSearchCV(QuantileRegressor(alpha=0.0), {"quantile": [0.8]}, cv=2), "quantile:0.8"),
    ],
)
def test_the_objective_is_known(estimator: Any, objective: str) -> None:
    random = np.random.default_rng(0)
    X = random.random((60, 2))
    assert objective_of(estimator.fit(X, random.poisson(2 + X[:, 0]))) == objective


def test_boosters_say_their_objective() -> None:
    random = np.random.default_rng(0)
    X, y = random.random((60, 2)), random.random(60)
    import lightgbm
    import xgboost

    tree = lightgbm.train({"application": "quantile", "verbose": -1}, lightgbm.Dataset(X, y), 3)
    params = {"objective": "reg:quantileerror", "quantile_alpha": 0.3}
    booster = xgboost.train(params, xgboost.DMatrix(X, y), 3)
    assert (objective_of(tree), objective_of(booster)) == ("quantile:0.9", "quantile:0.3")


def test_results_of_statsmodels_say_their_level() -> None:
    from statsmodels.regression.linear_model import OLS
    from statsmodels.regression.quantile_regression import QuantReg

    random = np.random.default_rng(0)
    X, y = random.random((60, 2)), random.random(60)
    assert (objective_of(QuantReg(y, X).fit(q=0.8)), objective_of(OLS(y, X).fit())) == ("quantile:0.8", "")


@pytest.mark.parametrize("params", [[1.0, 2.0], 3.0, "quantile"])
def test_an_attribute_params_of_an_own_class_is_no_error(params: object) -> None:
    assert objective_of(SimpleNamespace(params=params)) == ""


def test_the_level_is_that_of_the_quantile() -> None:
    assert (level_of("quantile:0.9"), level_of("poisson"), level_of("")) == (0.9, 0.5, 0.5)
