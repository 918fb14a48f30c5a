"""Harms that are put into a stream, to see what a policy makes of them. Losses are counted by what really happened.

Where a harm is a fault of the labels, models are trained and judged on the wrong ones, and losses count the right ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trimtab.app.backtest.labelled_history import History
from trimtab.units import MICROS

DAY = MICROS["d"]
SHORT, LONG, REGIME = 10, 30, 40
"""Windows of a fault, of a slow poison, of another regime."""
LONG_DELAY = 30
FLIPPED = 0.2


@dataclass(frozen=True)
class Harm:
    """One harm. apply: returns the history with it, from a window (by its number since 1970) on. delay: of labels."""

    name: str
    apply: Callable[[History, int], History]
    delay: int | None = None


def _within(history: History, first: int, windows: int) -> npt.NDArray[np.bool_]:
    number = history.at // DAY
    found: npt.NDArray[np.bool_] = (number >= first) & (number < first + windows)
    return found


def _unit_error(history: History, first: int) -> History:
    """One column comes in another unit for some windows: the column that varies most by day, times 1.8 plus 32."""
    place = next(
        (n for n, name in enumerate(history.names) if name in ("temp", "temperature")),
        next(n for n, name in enumerate(history.names) if name not in ("weekday", "hour", "weekend")),
    )
    X = history.X.copy()
    rows = _within(history, first, SHORT)
    X[rows, place] = X[rows, place] * np.float32(1.8) + np.float32(32.0)
    return replace(history, X=X)


def _gross_labels(history: History, first: int) -> History:
    """All labels of some windows are wrong: the other class, or three times the value."""
    rows = _within(history, first, SHORT)
    wrong = 1.0 - history.y if history.task == "binary" else 3.0 * history.y
    return replace(history, y=np.where(rows, wrong, history.y), truth=history.y)


def _flips(history: History, first: int) -> History:
    """A fifth of the labels of many windows are wrong: the other class, or those of other rows."""
    generator = np.random.default_rng(11)
    rows = _within(history, first, LONG) & (generator.random(len(history)) < FLIPPED)
    wrong = 1.0 - history.y if history.task == "binary" else generator.permutation(history.y)
    return replace(history, y=np.where(rows, wrong, history.y), truth=history.y)


def _regime(history: History, first: int) -> History:
    """The world is another one for many windows, and then the old one again: more positives, or larger values."""
    generator = np.random.default_rng(13)
    rows = _within(history, first, REGIME)
    if history.task == "binary":
        other = np.maximum(history.y, (generator.random(len(history)) < 0.25).astype(np.float64))
    else:
        other = history.y * 1.25
    return replace(history, y=np.where(rows, other, history.y))


def _same(history: History, first: int) -> History:
    return history


HARMS: dict[str, Harm] = {
    harm.name: harm
    for harm in (
        Harm("unit error", _unit_error),
        Harm("gross label error", _gross_labels),
        Harm("20 % flips", _flips),
        Harm("label delay", _same, delay=LONG_DELAY),
        Harm("regime that returns", _regime),
    )
}
HARMED = ("flights", "restaurants")
"""Streams that they are put into."""
