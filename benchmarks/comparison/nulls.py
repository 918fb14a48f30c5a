"""Streams of paired differences of windows without a difference, of unit spread: simulated, and blocks of real days."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from benchmarks.drift.labels import score
from benchmarks.drift.streams import read_flights
from trimtab.stats.paired_sequence import window_means

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]
"""(random, streams, windows) -> differences, [streams, windows]; mean 0, standard deviation 1."""

WARM_UP = 60
"""Windows of a correlated stream before its first."""


def nulls() -> dict[str, Draw]:
    """Return the nulls by name, in the order of the table."""
    return {
        "iid": lambda random, s, n: random.normal(size=(s, n)),
        "flights 7d blocks": lambda random, s, n: _blocks(random, s, n, 7),
        "flights 14d blocks": lambda random, s, n: _blocks(random, s, n, 14),
        "AR(1) .2": lambda random, s, n: _correlated(random, s, n, 0.2),
        "AR(1) .4": lambda random, s, n: _correlated(random, s, n, 0.4),
        "AR(1) .6": lambda random, s, n: _correlated(random, s, n, 0.6),
        "left-skewed": lambda random, s, n: 1 - random.exponential(size=(s, n)),
        "rare losses": _rare_losses,
        "right-skewed": lambda random, s, n: random.exponential(size=(s, n)) - 1,
        "t3": lambda random, s, n: random.standard_t(3, size=(s, n)) / np.sqrt(3),
        "t3, AR(1) .4": lambda random, s, n: _correlated(random, s, n, 0.4, heavy=True),
        "weekly": _weekly,
    }


@cache
def flight_days() -> Floats:
    """Return the paired differences of two models on each day of the flights, [365]; mean 0, standard deviation 1.

    The losses are squared errors of out-of-sample scores.
    """
    flights = read_flights()
    scored = score(flights)
    rows = (scored.y - scored.champion) ** 2 - (scored.y - scored.challenger) ** 2
    days = window_means(rows, flights.day)
    standard: Floats = (days - days.mean()) / days.std(ddof=1)
    return standard


def _blocks(random: np.random.Generator, streams: int, windows: int, length: int) -> Floats:
    """Return blocks of consecutive days, each with a random sign: no difference, whatever the season of a block."""
    days = flight_days()
    count = -(-windows // length)
    first = random.integers(0, days.size - length + 1, (streams, count))
    sign = random.choice([-1.0, 1.0], (streams, count))
    drawn = days[first[..., None] + np.arange(length)] * sign[..., None]
    found: Floats = drawn.reshape(streams, -1)[:, :windows]
    return found


def _correlated(random: np.random.Generator, streams: int, windows: int, phi: float, *, heavy: bool = False) -> Floats:
    size = (streams, windows + WARM_UP)
    noise = random.standard_t(3, size=size) / np.sqrt(3) if heavy else random.normal(size=size)
    x = np.empty_like(noise)
    x[:, 0] = noise[:, 0]
    for window in range(1, x.shape[1]):
        x[:, window] = phi * x[:, window - 1] + np.sqrt(1 - phi**2) * noise[:, window]
    return x[:, WARM_UP:]


def _rare_losses(random: np.random.Generator, streams: int, windows: int) -> Floats:
    """Return the mirror image of a log-normal distribution: many small gains, rare large losses."""
    x = random.lognormal(size=(streams, windows))
    found: Floats = (np.exp(0.5) - x) / np.sqrt((np.e - 1) * np.e)
    return found


def _weekly(random: np.random.Generator, streams: int, windows: int) -> Floats:
    """Return noise with a pattern of weekdays, which explains a third of the variance."""
    first = random.integers(0, 7, (streams, 1))
    pattern = np.sin(2 * np.pi * (np.arange(windows) + first) / 7) * np.sqrt(2 / 3)
    found: Floats = pattern + random.normal(size=(streams, windows)) * np.sqrt(2 / 3)
    return found
