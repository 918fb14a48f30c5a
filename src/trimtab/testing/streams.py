"""A seeded stream of predictions and labels for tests of monitoring, with optional drift.

The world: x ~ N(day's mean, 1) in four columns, y ~ Bernoulli(sigmoid(0.9 x0 - 0.6 x1 - 1)); x2, x3 are noise. The
means of the columns vary from day to day. A model's score is the true probability, or one with a wrong slope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trimtab.stores.predictions.contract import Predictions
from trimtab.units import MICROS

Floats = npt.NDArray[np.float64]

NAMES = ("distance", "wind", "month", "hour")
FIRST_DAY = 20_000
"""Number of the stream's first day since the epoch."""
DAY = MICROS["d"]
KEPT_DAYS = 4
"""Labels that become known later than this are not written."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day of traffic, in order of event time."""

    X: npt.NDArray[np.float32]
    y: Floats
    times: npt.NDArray[np.int64]
    known_at: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class World:
    """Generates days. shift: numbers added to columns, by the column's place. flip: share of inverted labels."""

    seed: int = 0
    rows: int = 300
    day_sd: float = 0.05
    shift: Mapping[int, float] = field(default_factory=dict)
    flip: float = 0.0
    label_hours: float = 3.0
    """Mean of the exponential delay of labels."""

    def day(self, number: int) -> Day:
        """Return a day. The same number always gives the same day."""
        rng = np.random.default_rng((self.seed, number))
        X = rng.normal(rng.normal(0, self.day_sd, 4), 1, (self.rows, 4))
        for column, by in self.shift.items():
            X[:, column] += by
        y = (rng.random(self.rows) < truth(X)).astype(np.float64)
        turned = rng.random(self.rows) < self.flip
        y[turned] = 1 - y[turned]
        times = (FIRST_DAY + number) * DAY + np.sort(rng.integers(0, DAY, self.rows))
        delay = rng.exponential(self.label_hours, self.rows) * MICROS["h"]
        return Day(X=X.astype(np.float32), y=y, times=times, known_at=times + delay.astype(np.int64) + 1)


def truth(X: npt.NDArray[np.floating]) -> Floats:
    """Return the true probability of each row, (rows,)."""
    z = 0.9 * X[:, 0].astype(np.float64) - 0.6 * X[:, 1] - 1
    p: Floats = 1 / (1 + np.exp(-z))
    return p


def worse(X: npt.NDArray[np.floating], *, slope: float = 0.2) -> Floats:
    """Return the scores of a model whose slope of the first column is too small, (rows,)."""
    z = slope * X[:, 0].astype(np.float64) - 0.6 * X[:, 1] - 1
    p: Floats = 1 / (1 + np.exp(-z))
    return p


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One version that scores the traffic."""

    version: int
    role: str = "champion"
    worse: bool = False
    failing: float = 0.0
    """Share of rows that fail."""
    latency_ms: float = 2.0


def play(
    log: Predictions,
    world: World | Callable[[int], World],
    numbers: Iterable[int],
    variants: Sequence[Variant] = (Variant(version=1),),
    *,
    model: str = "delay",
    ticks: int = 1,
    after_tick: Callable[[], object] = lambda: None,
) -> None:
    """Write days to a log in the order of event time: at each tick the labels known before it, then its rows.

    world: one for all days, or a function from a day's number to its world. ticks: number a day. after_tick: called
    after each tick, such as a monitor's step.
    """
    days: dict[int, Day] = {}
    for number in numbers:
        days[number] = day = (world if isinstance(world, World) else world(number)).day(number)
        start = (FIRST_DAY + number) * DAY
        for tick in range(start, start + DAY, DAY // ticks):
            log_labels(log, days, after=tick - DAY // ticks, until=tick, model=model)
            rows = np.flatnonzero((day.times >= tick) & (day.times < tick + DAY // ticks))
            for variant in variants:
                log_rows(log, day, number, rows, variant, served=variant is variants[0], model=model)
            after_tick()
        days = {n: d for n, d in days.items() if n > number - KEPT_DAYS}


def log_rows(
    log: Predictions, day: Day, number: int, rows: npt.NDArray[np.int64], variant: Variant, *, served: bool, model: str
) -> None:
    """Append the scores of a version for some rows of a day."""
    rng = np.random.default_rng((number, variant.version))
    failed = (rng.random(len(day.y)) < variant.failing)[rows].tolist()
    latency = rng.lognormal(np.log(variant.latency_ms * 1000), 0.3, len(day.y)).astype(np.int64)[rows]
    scores = (worse(day.X) if variant.worse else truth(day.X))[rows].tolist()
    count, times = len(rows), day.times[rows].tolist()
    log.append(
        {
            "prediction_id": [f"{model}-{number}-{row}" for row in rows],
            "model": [model] * count,
            "version": [variant.version] * count,
            "role": [variant.role] * count,
            "served": [served] * count,
            "route": ["split"] * count,
            "revision": [1] * count,
            "event_time": times,
            "logged_at": times,
            "entities": [None] * count,
            "features": list(day.X[rows]),
            "score": [None if bad else score for bad, score in zip(failed, scores, strict=True)],
            "confidence": [None if bad else max(s, 1 - s) for bad, s in zip(failed, scores, strict=True)],
            "latency_us": latency.tolist(),
            "cpu_us": [80] * count,
            "error": ["the model failed" if bad else None for bad in failed],
        }
    )


def log_labels(log: Predictions, days: Mapping[int, Day], *, after: int, until: int, model: str = "delay") -> None:
    """Append the labels of some days, by number, that became known in (after, until], in that order."""
    found: list[tuple[int, str, float]] = []
    for number, day in days.items():
        due = np.flatnonzero((day.known_at > after) & (day.known_at <= until))
        found += [(int(day.known_at[row]), f"{model}-{number}-{row}", float(day.y[row])) for row in due]
    found.sort()
    log.append_labels(
        {
            "prediction_id": [id_ for _, id_, _ in found],
            "model": [model] * len(found),
            "label": [label for _, _, label in found],
            "known_at": [known for known, _, _ in found],
            "received_at": [known for known, _, _ in found],
        }
    )
