"""Policies on histories of multiclass and anomaly models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kit.backtests import DAY, FIRST_DAY, START, SmallSource, small_policy
from trimtab.app.backtest.policy_run import PolicyRun
from trimtab.app.backtest.running import Subject
from trimtab.app.backtest.training_cache import TrainingCache
from trimtab.app.backtest.triggers import Every, Never
from trimtab.app.backtest.world import Plan, World
from trimtab.definitions.models import Dataset, Model
from trimtab.definitions.sources import FileSource
from trimtab.policy.model import Policy
from trimtab.stats.metrics import metric_value

CLASSES = ("low", "middle", "high")


class Nearest:
    """Probabilities of classes by the distance from their means: exact and quick."""

    def __init__(self, data: Dataset) -> None:
        assert data.classes == CLASSES
        self.classes_ = np.unique(data.y)
        self.means = np.array([data.X[data.y == label].mean(axis=0) for label in self.classes_])

    def predict(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

    def predict_proba(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        away = ((X[:, None, :].astype(np.float64) - self.means) ** 2).sum(axis=2)
        p = np.exp(-away)
        return np.asarray(p / p.sum(axis=1, keepdims=True))


class Away:
    """How far rows are from the middle of those that it was fitted on."""

    def __init__(self, data: Dataset) -> None:
        self.middle = np.median(data.X, axis=0)

    def predict(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.sign(self.score_samples(X) + 3.0)

    def score_samples(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(-np.abs(X.astype(np.float64) - self.middle).sum(axis=1))


def fit_classes(data: Dataset, params: dict[str, Any], seed: int) -> Nearest:
    return Nearest(data)


def fit_away(data: Dataset, params: dict[str, Any], seed: int) -> Away:
    return Away(data)


def classes() -> Subject:
    """A stream of three classes whose relation to the features turns round on day 50."""
    history = SmallSource(turn=50).history()
    y = np.digitize(history.y, [-0.5, 0.5]).astype(np.float64)
    model = Model("small", task="multiclass", examples=rows(), label="y", features=["a", "b"], classes=CLASSES)
    model.trainer(fit_classes)
    return Subject(model=model, history=replace(history, task="multiclass", y=y, classes=CLASSES), code="classes")


def strange() -> Subject:
    """A stream whose middle moves on day 50; rows far from the middle of their time are anomalies."""
    history = SmallSource().history()
    moved = 4.0 * (history.at >= (FIRST_DAY + 50) * DAY)
    X = (history.X + moved[:, None]).astype(np.float32)
    y = (np.abs(history.X).sum(axis=1) > 2.8).astype(np.float64)
    model = Model("small", task="anomaly", examples=rows(), label="y", features=["a", "b"])
    model.trainer(fit_away)
    return Subject(model=model, history=replace(history, task="anomaly", X=X, y=y), code="strange")


def rows() -> FileSource:
    return FileSource("rows", "rows.parquet", timestamp="at", known_at="known_at")


def run(subject: Subject, plan: Plan) -> tuple[PolicyRun, World]:
    cache = TrainingCache(subject.model, subject.history, code=subject.code, folder=None)
    world = World(plan, subject.history, cache, start=START)
    return world.run(), world


def policy(cost: dict[str, Any], **training: Any) -> Policy:
    impact = {"cost": cost, "medium": 5.0, "high": 20.0}
    return small_policy("binary", impact=impact, training={"min_examples": 50, **training})


COST = {"misclassification": 10.0, "matrix": {"low": {"high": 30.0}}}


def test_losses_and_money_of_classes_are_those_of_the_metrics() -> None:
    found, world = run(classes(), Plan(name="never", policy=policy(COST), trigger=Never()))
    served = np.isfinite(world._served).all(axis=1)
    y, p = world._history.y[served], world._served[served]
    assert found.loss == pytest.approx(metric_value("log_loss", y, p))
    said = p.argmax(axis=1)
    lost = 10.0 * (said != y).sum() + 20.0 * ((y == 0) & (said == 2)).sum()
    assert found.total_money == pytest.approx(lost)
    weekly, _ = run(classes(), Plan(name="every:7d", policy=policy(COST), trigger=Every(7 * DAY)))
    assert weekly.loss < found.loss
    assert (weekly.total_money or 0) < lost


def test_the_matrix_sees_the_change_of_classes_through_monitor_and_controller() -> None:
    found, _ = run(classes(), Plan(name="matrix", policy=policy(COST), approve=True))
    made = [each for each in found.retrained if each.version is not None]
    assert made
    assert made[0].began_at > (FIRST_DAY + 50) * DAY


def test_anomalies_are_flagged_from_the_threshold_of_each_training_on() -> None:
    chosen = policy({"false_negative": 10.0, "false_positive": 5.0}, contamination=0.1)
    never, world = run(strange(), Plan(name="never", policy=chosen, trigger=Never()))
    served = np.isfinite(world._served)
    y, score = world._history.y[served], world._served[served]
    assert never.loss == pytest.approx(((score >= 0) != y).mean())
    weekly, _ = run(strange(), Plan(name="every:7d", policy=chosen, trigger=Every(7 * DAY)))
    assert weekly.loss < never.loss
    assert (weekly.total_money or 0) < (never.total_money or 0)


def test_the_matrix_watches_anomalies() -> None:
    chosen = policy({"false_negative": 10.0, "false_positive": 5.0}, contamination=0.1)
    found, _ = run(strange(), Plan(name="matrix", policy=chosen, approve=True))
    assert any(each.began_at > (FIRST_DAY + 50) * DAY for each in found.retrained)
