"""Baselines: what needs no model, of the training rows, and the champion on rows that it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trimtab.definitions.models import Dataset, Model, Task
from trimtab.definitions.sources import FileSource
from trimtab.stats.metrics import metric_value
from trimtab.training.selection.baselines import Rival, compared_with_baselines, metrics_of


def model(task: Task) -> Model:
    return Model("m", task=task, examples=FileSource("s", "s.csv", timestamp="at"), label="y", features=["a"])


def dataset(y: np.ndarray[Any, Any], days: int = 20) -> Dataset:
    times = np.datetime64("2026-01-01", "us") + np.arange(len(y)) * np.timedelta64(days * 24 * 60 // len(y), "m")
    return Dataset(X=np.zeros((len(y), 1), np.float32), y=y, feature_names=("a",), timestamps=times)


def test_a_good_model_beats_the_prior_of_the_training_rows_and_the_interval_says_so() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.3).astype(np.float64)
    train, holdout = dataset((np.arange(400) % 4 == 0).astype(np.float64)), dataset(y)
    scores = np.clip(0.2 + 0.5 * y + rng.normal(size=400) / 10, 0.01, 0.99)
    loss, area = compared_with_baselines(model("binary"), train, holdout, scores, threshold=0.5, seed=0)
    assert (loss.name, loss.metric, area.metric) == ("prior", "log_loss", "roc_auc")
    assert loss.value == pytest.approx(metric_value("log_loss", y, np.full(400, 0.25)))
    assert loss.gain == pytest.approx(loss.value - metric_value("log_loss", y, scores))
    assert area.value == 0.5
    for each in (loss, area):
        assert each.low is not None
        assert each.high is not None
        assert 0 < each.low < each.gain < each.high
        assert (each.unit, each.rows) == ("days", 400)


def test_a_constant_model_gains_nothing() -> None:
    y = (np.arange(400) % 4 == 0).astype(np.float64)
    loss, _ = compared_with_baselines(
        model("binary"), dataset(y), dataset(y), np.full(400, 0.25), threshold=0.5, seed=0
    )
    assert loss.gain == 0.0


def test_a_regression_is_compared_with_mean_and_median() -> None:
    y = np.random.default_rng(1).exponential(size=300)
    found = compared_with_baselines(model("regression"), dataset(y), dataset(y), y * 0.9, threshold=0.5, seed=0)
    assert [(each.name, each.metric) for each in found] == [("mean", "rmse"), ("median", "rmse")]
    assert found[0].value == pytest.approx(float(np.std(y)))
    assert found[1].value > found[0].value, "the mean has the smallest squared error"


def test_classes_have_their_frequencies_and_a_class_that_training_lacks_none() -> None:
    y = np.arange(300) % 3.0
    train = dataset(np.where(np.arange(300) % 2 == 0, 0.0, 1.0))
    scores = np.eye(3)[y.astype(int)] * 0.7 + 0.1
    loss, _ = compared_with_baselines(model("multiclass"), train, dataset(y), scores, threshold=0.5, seed=0)
    prior = np.tile([0.5, 0.5, 0.0], (300, 1))
    assert loss.value == pytest.approx(metric_value("log_loss", y, prior))
    assert loss.gain > 10, "a class that the training rows lack costs the prior dearly"


def test_the_champion_is_compared_on_rows_that_it_has_not_seen() -> None:
    y = (np.arange(400) % 2).astype(np.float64)
    unseen = np.arange(400) >= 250
    perfect_on_seen = np.where(unseen, 0.5, y)
    rival = Rival(name="m/3", scores=perfect_on_seen, unseen=unseen)
    found = compared_with_baselines(
        model("binary"), dataset(y), dataset(y), 0.3 + 0.4 * y, threshold=0.5, seed=0, rivals=[rival]
    )
    of_champion = [each for each in found if each.name == "m/3"]
    assert [each.rows for each in of_champion] == [150, 150]
    assert of_champion[0].value == pytest.approx(np.log(2))
    assert metrics_of(of_champion)["baseline.m.3.roc_auc"] == 0.5
    none = compared_with_baselines(
        model("binary"),
        dataset(y),
        dataset(y),
        y,
        threshold=0.5,
        seed=0,
        rivals=[Rival(name="m/3", scores=y, unseen=np.zeros(400, bool))],
    )
    assert {each.name for each in none} == {"prior"}
