"""What a regression has minimised is read from the estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, PoissonRegressor, QuantileRegressor
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
        (boosted("lightgbm", objective="poisson"), "poisson"),
        (boosted("xgboost", objective="reg:quantileerror", quantile_alpha=0.9), "quantile:0.9"),
        (boosted("xgboost"), "squared_error"),
        (boosted("catboost", loss_function="Quantile:alpha=0.9"), "quantile:0.9"),
        (boosted("catboost", loss_function="Poisson"), "poisson"),
    ],
)
def test_the_objective_is_known(estimator: Any, objective: str) -> None:
    random = np.random.default_rng(0)
    X = random.random((60, 2))
    assert objective_of(estimator.fit(X, random.poisson(2 + X[:, 0]))) == objective


def test_the_level_is_that_of_the_quantile() -> None:
    assert (level_of("quantile:0.9"), level_of("poisson"), level_of("")) == (0.9, None, None)
