"""A small stream for backtests, with a trainer that takes milliseconds, openable in any process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.app.backtest.labelled_history import History
from trimtab.app.backtest.running import Subject
from trimtab.definitions.models import Dataset, Model
from trimtab.definitions.sources import FileSource
from trimtab.metric_catalog import Task
from trimtab.policy.model import Policy
from trimtab.units import MICROS

DAY = MICROS["d"]
FIRST_DAY = 20_000
ROWS_A_DAY = 12


class Linear:
    """Least squares, or its logistic cousin, without a library: exact and quick."""

    def __init__(self, data: Dataset, task: Task) -> None:
        X = np.column_stack([np.ones(len(data.y)), data.X]).astype(np.float64)
        target = data.y if task == "regression" else 4.0 * (data.y - data.y.mean())
        self.weights = np.linalg.solve(X.T @ X + 1e-6 * np.eye(X.shape[1]), X.T @ target)
        self.base = 0.0 if task == "regression" else float(np.log(data.y.mean() / (1 - data.y.mean())))
        self.task = task

    def predict(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(self.base + np.column_stack([np.ones(len(X)), X]).astype(np.float64) @ self.weights)


class Logistic(Linear):
    """The logistic cousin."""

    classes_ = (0.0, 1.0)

    def predict_proba(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        p = 1 / (1 + np.exp(-self.predict(X)))
        return np.column_stack([1 - p, p])


def fit_regression(data: Dataset, params: dict[str, Any], seed: int) -> Linear:
    """Train a regression."""
    return Linear(data, "regression")


def fit_binary(data: Dataset, params: dict[str, Any], seed: int) -> Linear:
    """Train a binary model."""
    return Logistic(data, "binary")


@dataclass(frozen=True)
class SmallSource:
    """A stream whose relation of feature and label drifts from day `turn` on. delay: of labels, in days."""

    task: Task = "regression"
    days: int = 90
    turn: int = 50
    delay: int = 2
    seed: int = 3

    def open(self) -> Subject:
        """Return model and history."""
        rows = FileSource("rows", "rows.parquet", timestamp="at", known_at="known_at")
        model = Model("small", task=self.task, examples=rows, label="y", features=["a", "b"])
        model.trainer(fit_regression if self.task == "regression" else fit_binary)
        return Subject(model=model, history=self.history(), code="small")

    def history(self) -> History:
        """Return the rows."""
        generator = np.random.default_rng(self.seed)
        n = self.days * ROWS_A_DAY
        day = np.repeat(np.arange(self.days), ROWS_A_DAY)
        X = generator.normal(size=(n, 2)).astype(np.float32)
        slope = np.where(day < self.turn, 1.0, -1.0)
        z = slope * X[:, 0] + 0.5 * X[:, 1] + generator.normal(0, 0.5, n)
        at = (FIRST_DAY + day) * DAY + (np.arange(n) % ROWS_A_DAY) * (DAY // (ROWS_A_DAY + 1))
        return History(
            task=self.task,
            names=("a", "b"),
            X=X,
            y=z if self.task == "regression" else (z > 0).astype(np.float64),
            at=at,
            known_at=(FIRST_DAY + day + 1 + self.delay) * DAY,
        )


def small_policy(task: Task = "regression", **sections: Any) -> Policy:
    """Return a policy for the stream, without gates."""
    costs = {"absolute_error": 10.0} if task == "regression" else {"false_negative": 10.0, "false_positive": 10.0}
    return Policy.model_validate(
        {
            "project": "small",
            "training": {"min_examples": 50},
            "gates": {"accuracy": None, "leakage": None, "performance": None},
            "impact": {"cost": costs, "medium": 5.0, "high": 20.0},
            "decide": {"labels_mature_after": "2d", "cooldown": "7d"},
            **sections,
        }
    )


START = (FIRST_DAY + 40) * DAY
"""First window that counts."""
