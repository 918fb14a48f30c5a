"""Trainings of a backtest take what the policy adds: validation rows with their gap, their rounds, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier, early_stopping
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LinearRegression, QuantileRegressor

from trimtab.app.backtest.labelled_history import History
from trimtab.app.backtest.training_cache import Training, TrainingCache, threshold_of
from trimtab.definitions.models import Dataset, Model
from trimtab.definitions.sources import FileSource
from trimtab.policy.model import Policy
from trimtab.training.selection.validated_fit import Addition

HOUR = 3_600_000_000


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
def test_later_fits_take_the_rounds_and_the_calibration_of_the_judged_one() -> None:
    # given rows whose labels are known six hours later, and a trainer that stops early
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 2)).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=900) > 0).astype(np.float64)
    at = np.arange(900, dtype=np.int64) * HOUR
    history = History(task="binary", names=("a", "b"), X=X, y=y, at=at, known_at=at + 6 * HOUR)
    model = Model("m", task="binary", examples=FileSource("s", "s.csv", timestamp="at"), label="y", features=["a", "b"])
    seen: list[Dataset] = []

    @model.trainer
    def train(data: Dataset, params: dict[str, Any], seed: int) -> Any:
        seen.append(data)
        made = LGBMClassifier(
            n_estimators=data.rounds or 200, learning_rate=0.3, random_state=seed, n_jobs=1, verbose=-1
        )
        if data.validation is None:
            return made.fit(data.X, data.y)
        stop: Any = early_stopping(5, verbose=False)
        return made.fit(data.X, data.y, eval_set=[(data.validation.X, data.validation.y)], callbacks=[stop])

    cache = TrainingCache(model, history, code="", folder=None)
    addition, early, all_rows = Addition(validation=0.2, calibrate="sigmoid"), at < 700 * HOUR, at < 900 * HOUR

    # when a model is made, then fitted on all rows, and cross-fitted
    judged = cache.fit(early, {}, 0, addition=addition)
    again = cache.fit(all_rows, {}, 0, addition=addition, judged=judged)
    scores = cache.cross_scores(early, early, {}, 0, addition=addition, judged=judged)

    # then only the first had validation rows, after a gap
    first, *others = seen
    assert first.validation is not None
    assert first.known_at is not None
    assert first.known_at.max() <= first.validation.timestamps[0]
    assert judged.rounds is not None
    assert [(data.validation, data.rounds) for data in others] == [(None, judged.rounds)] * 5
    assert isinstance(again.estimator, CalibratedClassifierCV)
    assert again.rounds is None, "it did not stop early by itself"
    assert scores.shape == (700,)
    assert np.isfinite(scores).all()

    # and each is made once
    seen.clear()
    cache.fit(all_rows, {}, 0, addition=addition, judged=judged)
    assert seen == []


def test_a_quantile_is_judged_at_its_own_level() -> None:
    policy = Policy(project="p")
    found = [
        threshold_of(policy, "regression", Training("key", estimator, 0.0))
        for estimator in (QuantileRegressor(quantile=0.9), LinearRegression())
    ]
    assert found == [0.9, 0.5]
