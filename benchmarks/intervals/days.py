"""Holdouts of few days whose true metrics are known: simulated days, and real days of flights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.drift.streams import read_flights
from trimtab.metric_catalog import Task

Array = np.ndarray[Any, Any]
Random = np.random.Generator
INPUTS = ("sched_dep_time", "distance", "hour", "dep_delay")
"""What the model of flights sees; its champion does not see the last."""
THINNED = 8
"""One row of so many is taken of each day of flights."""
MANY = 4_000
"""Days that the true figures are computed from."""


@dataclass(frozen=True)
class Holdout:
    """Labels, scores of the model and of a champion, and the day; all (rows,)."""

    y: Array
    model: Array
    champion: Array
    day: Array


@dataclass(frozen=True)
class World:
    """Days of one kind. expected: whether 93 % are promised; where not, the benchmark shows what is left."""

    name: str
    task: Task
    draw: Callable[[Random, int], Holdout]
    truth: Callable[[], Holdout]
    expected: bool = True


def _rows(random: Random, days: int) -> Array:
    sizes = np.clip(random.lognormal(np.log(100), 0.5, days), 20, 600).astype(int)
    return np.repeat(np.arange(days), sizes)


def _binary(level: Callable[[Random, int], Array]) -> Callable[[Random, int], Holdout]:
    def draw(random: Random, days: int) -> Holdout:
        day = _rows(random, days)
        x = random.normal(size=len(day)) + 0.3 * random.normal(size=days)[day]
        y = (random.random(len(day)) < expit(x - 1.2 + level(random, days)[day])) * 1.0
        return Holdout(y, expit(0.9 * x - 1.2), expit(0.6 * x - 1.2 + 0.3 * random.normal(size=len(day))), day)

    return draw


def _numbers(
    level: Callable[[Random, int], Array], spread: Callable[[Random, int], Array]
) -> Callable[[Random, int], Holdout]:
    def draw(random: Random, days: int) -> Holdout:
        day = _rows(random, days)
        x = random.normal(size=len(day)) + 0.3 * random.normal(size=days)[day]
        noise = random.normal(size=len(day)) * spread(random, days)[day]
        y = x + level(random, days)[day] + noise
        return Holdout(y, 0.9 * x, 0.6 * x + 0.3 * random.normal(size=len(day)), day)

    return draw


def _simulated(name: str, task: Task, draw: Callable[[Random, int], Holdout], *, expected: bool = True) -> World:
    return World(name, task, draw, cache(lambda: draw(np.random.default_rng(99), MANY)), expected)


def _normal(size: float) -> Callable[[Random, int], Array]:
    return lambda random, days: random.normal(0, size, days)


def _skewed(random: Random, days: int) -> Array:
    return 0.5 * (random.gamma(2, 1, days) - 2)


def _even(random: Random, days: int) -> Array:
    return np.ones(days)


def _spread(random: Random, days: int) -> Array:
    return np.exp(random.normal(0, 0.3, days))


@cache
def _flight_days() -> tuple[list[Array], Array, Array, Array]:
    """Rows of each day of 2013 that no model was fitted on, labels, and the scores of both models."""
    flights = read_flights()
    X = np.column_stack([flights.columns[name] for name in INPUTS])
    y = flights.late.astype(float)
    fitted = np.flatnonzero(flights.day % 3 == 0)[::10]
    scores = []
    for n in (len(INPUTS), len(INPUTS) - 1):
        model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(X[fitted, :n], y[fitted])
        scores.append(model.predict_proba(X[:, :n]))
    kept = [np.flatnonzero(flights.day == day) for day in range(365) if day % 3]
    return kept, y, scores[0][:, 1], scores[1][:, 1]


def _flights(days: list[Array]) -> Holdout:
    _, y, model, champion = _flight_days()
    rows = np.concatenate(days)
    return Holdout(y[rows], model[rows], champion[rows], np.repeat(np.arange(len(days)), [len(each) for each in days]))


def _draw_flights(random: Random, days: int) -> Holdout:
    pool = _flight_days()[0]
    drawn = [pool[n] for n in random.integers(0, len(pool), days)]
    return _flights([random.permutation(rows)[: len(rows) // THINNED] for rows in drawn])


WORLDS = (
    _simulated("binary, days differ (normal)", "binary", _binary(_normal(0.6))),
    _simulated("binary, days differ (skewed)", "binary", _binary(_skewed)),
    World("flights, real days", "binary", _draw_flights, lambda: _flights(_flight_days()[0])),
    _simulated("regression, spread differs", "regression", _numbers(_normal(0.0), _spread)),
    _simulated("regression, days shifted (normal)", "regression", _numbers(_normal(0.4), _even)),
    _simulated("regression, days shifted (skewed)", "regression", _numbers(_skewed, _even), expected=False),
)
