"""Scores of fits on folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import QuantileRegressor

from trimtab.definitions.models import Dataset, Model
from trimtab.stats.metrics import metric_value
from trimtab.training.selection.time_splits import expanding_folds
from trimtab.training.selection.validated_fit import Addition, score_folds


def test_a_quantile_is_scored_at_its_own_level(model: Model) -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 1)).astype(np.float32)
    y = X[:, 0] + random.exponential(size=200)
    times = np.datetime64("2026-01-01", "us") + np.arange(200) * np.timedelta64(3600, "s")
    data = Dataset(X=X, y=y, feature_names=("a",), timestamps=times, known_at=times)
    folds = expanding_folds(data, 2, model="price", task="regression", key="training.folds")

    def fit(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        return QuantileRegressor(quantile=params["level"], alpha=0.0).fit(data.X, data.y)

    model.task, model.fit = "regression", fit
    for level in (0.9, 0.2):
        found = score_folds(
            model, folds, {"level": level}, 0, Addition(), metrics=("mean_pinball_loss",), threshold=0.5
        )
        for fold, scored in zip(folds, found, strict=True):
            predicted = fit(fold.train, {"level": level}, 0).predict(fold.test.X)
            expected = metric_value("mean_pinball_loss", fold.test.y, predicted, threshold=level)
            assert scored.metrics["mean_pinball_loss"] == pytest.approx(float(expected), rel=1e-4)
