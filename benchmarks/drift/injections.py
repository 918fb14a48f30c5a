"""`python -m benchmarks.drift.injections [--seeds N]`: known changes in a log, and what the loop makes of them.

Monitor and controller run over a real prediction log and metadata store in a temporary folder, one step a day, with the
default matrix. 60 days are the reference, 10 are quiet, then the change begins. The table has, for each change, in how
many streams it was signalled and decided on, and after how many windows at the median: 1 is the first changed window.
A signal is a p_seq below .05 of inputs, answers, mistakes or missing values, a window p below .01 of the inputs or
answers, or an absolute rule. Decided means a review or a retraining. The last two rows have no drift.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.clock import EPOCH, ManualClock
from trimtab.control.controller import Controller
from trimtab.monitoring.monitor import Monitor
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Decision
from trimtab.records.monitoring import Signal
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.judged import MODEL, RecordingActions, champion_revision
from trimtab.testing.streams import FIRST_DAY, Day, play, truth
from trimtab.units import MICROS

NAMES = ("delay", "wind", "celsius", "hour", "carrier", "distance")
REFERENCE, QUIET, WATCHED = 60, 10, 14
CHANGED = REFERENCE + QUIET
ROWS = 500
POLICY = parse_policy(
    """
project: injections
impact: { currency: USD, cost: { false_negative: 40, false_positive: 5 }, medium: 100/day, high: 1000/day }
decide: { labels_mature_after: 1d }
"""
)
KINDS = ("data", "prediction", "concept", "quality")

Values = npt.NDArray[np.float64]
Change = Callable[[Values, Values, int, np.random.Generator], tuple[Values, Values]]


@dataclass(frozen=True)
class Stream:
    """Days with a weekly season: weekends have fewer rows and other carriers. `change` is applied from CHANGED on."""

    seed: int
    change: Change | None = None

    def day(self, number: int) -> Day:
        """Return a day; the same number always gives the same day."""
        rng = np.random.default_rng((17, self.seed, number))
        weekend = number % 7 >= 5
        rows = int(ROWS * (0.7 if weekend else 1.0))
        delay = rng.normal(rng.normal(0, 0.1), 1, rows)
        wind = 0.6 * delay + 0.8 * rng.normal(0, 1, rows)
        celsius = 10 + 8 * np.sin(2 * np.pi * number / 365) + rng.normal(0, 2.5) + rng.normal(0, 2, rows)
        hour = rng.choice(24, rows, p=HOURS)
        carrier = rng.choice(
            6, rows, p=[0.2, 0.3, 0.2, 0.15, 0.1, 0.05] if weekend else [0.3, 0.25, 0.2, 0.15, 0.07, 0.03]
        )
        X = np.column_stack([delay, wind, celsius, hour, carrier, rng.lognormal(6, 0.5, rows)])
        y = (rng.random(rows) < truth(X)).astype(np.float64)
        if self.change is not None and number >= CHANGED:
            X, y = self.change(X, y, number - CHANGED, rng)
        times = (FIRST_DAY + number) * MICROS["d"] + np.sort(rng.integers(0, MICROS["d"], len(X)))
        known_at = times + (rng.exponential(3.0, len(X)) * MICROS["h"]).astype(np.int64) + 1
        return Day(X=X.astype(np.float32), y=y, times=times, known_at=known_at)


WEEKDAY, WEEKEND = (0.3, 0.25, 0.2, 0.15, 0.07, 0.03), (0.2, 0.3, 0.2, 0.15, 0.1, 0.05)
HOURS = np.array([1, 1, 1, 1, 2, 4, 7, 9, 8, 6, 5, 5, 5, 5, 5, 6, 7, 8, 7, 5, 4, 3, 2, 1], np.float64)
HOURS /= HOURS.sum()


def _column(place: int, change: Callable[[Values, np.random.Generator], Values]) -> Change:
    def changed(X: Values, y: Values, day: int, rng: np.random.Generator) -> tuple[Values, Values]:
        X = X.copy()
        X[:, place] = change(X[:, place], rng)
        return X, y

    return changed


def _flip(share: float) -> Change:
    def changed(X: Values, y: Values, day: int, rng: np.random.Generator) -> tuple[Values, Values]:
        return X, np.where(rng.random(len(y)) < share, 1 - y, y)

    return changed


def _holiday(X: Values, y: Values, day: int, rng: np.random.Generator) -> tuple[Values, Values]:
    """One week with 60 % of the traffic, on days that are all like weekends."""
    if day >= 7:
        return X, y
    kept = (rng.random(len(X)) < 0.6) & ((X[:, 4] != 0) | (rng.random(len(X)) < 0.7))
    return X[kept], y[kept]


CHANGES: dict[str, Change | None] = {
    "unit of one column (Fahrenheit)": _column(2, lambda x, rng: x * 1.8 + 32),
    "a carrier renamed (28 % of the rows)": _column(4, lambda x, rng: np.where(x == 0, 9, x)),
    "a sensor gone": _column(5, lambda x, rng: np.full_like(x, np.nan)),
    "10 % of the labels flipped": _flip(0.1),
    "20 % of the labels flipped": _flip(0.2),
    "hour shifted by 5 (time zone)": _column(3, lambda x, rng: (x + 5) % 24),
    "correlation broken, equal marginals": _column(1, lambda x, rng: rng.permutation(x)),
    "a weekly season, no drift": None,
    "a holiday week": _holiday,
}


def reference(seed: int) -> Reference:
    """Return the reference of the first days of a stream."""
    every = [Stream(seed).day(n) for n in range(REFERENCE)]
    X, y, times = (np.concatenate(part) for part in zip(*((d.X, d.y, d.times) for d in every), strict=True))
    known: dict[str, Any] = {"categories": ("carrier",)}
    takes = "categories" in inspect.signature(build_reference).parameters  # so that earlier states can be measured
    return build_reference(
        X,
        truth(X),
        y,
        times,
        NAMES,
        window=POLICY.decide.window,
        task="binary",
        threshold=POLICY.impact.threshold,
        costs=POLICY.impact.cost_for("binary"),
        **(known if takes else {}),
    )


def run(name: str, seed: int) -> tuple[int | None, str, int | None, str]:
    """Return the window of the first signal with what gave it, and that of the first decision with its action."""
    known, stream = reference(seed), Stream(seed, CHANGES[name])
    with TemporaryDirectory() as folder:
        log, book = SegmentLog(Path(folder) / "log"), SqlMetadata(Path(folder) / "metadata.db")
        book.put(champion_revision(1, 1))
        clock = ManualClock(EPOCH)
        monitor = Monitor(book, log, POLICY, lambda model, version: known, clock)
        controller = Controller(book, POLICY, MODEL, RecordingActions(), clock)

        def step() -> None:
            monitor.step()
            controller.step()

        play(log, lambda number: stream, range(REFERENCE, CHANGED + WATCHED + 2), after_tick=step)  # type: ignore[arg-type, return-value]  # a stream has the verb of a world
        signals = [
            s for s in book.find(Signal, oldest_first=True, model=MODEL) if fires(s) and window_number(s.start) > 0
        ]
        acted = [
            d
            for d in book.find(Decision, model=MODEL, oldest_first=True)
            if d.action != "monitor" and window_number(d.start) > 0
        ]
        log.close()
        book.close()
    first = min(signals, key=lambda s: s.start, default=None)
    decided = min(acted, key=lambda d: d.start, default=None)
    return (
        None if first is None else window_number(first.start),
        "" if first is None else f"{first.kind} {first.subject}",
        None if decided is None else window_number(decided.start),
        "" if decided is None else decided.action,
    )


def window_number(start: datetime) -> int:
    """Return the number of a window since the change: 1 is the first."""
    return (start - EPOCH).days - FIRST_DAY - CHANGED + 1


def fires(signal: Signal) -> bool:
    """Return True if a signal counts as an alarm."""
    if signal.subject.startswith("absolute:"):
        return True
    if signal.kind not in KINDS or signal.subject != "all":
        return False
    alone = signal.kind in ("data", "prediction") and signal.p is not None and signal.p < 0.01
    return alone or (signal.p_seq is not None and signal.p_seq < 0.05)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift.injections")
    parser.add_argument("--seeds", type=int, default=5, help="streams of each change")
    seeds = range(1000, 1000 + parser.parse_args().seeds)
    print(f"{'change':38} {'signalled':>9} {'window':>6}  {'by':28} {'decided':>7} {'window':>6}  action")
    for name in CHANGES:
        found = [run(name, seed) for seed in seeds]
        signalled = [window for window, _, _, _ in found if window is not None]
        decided = [window for _, _, window, _ in found if window is not None]
        by = Counter(what for _, what, _, _ in found if what).most_common(1)
        action = Counter(what for _, _, _, what in found if what).most_common(1)
        print(
            f"{name:38} {len(signalled):>6}/{len(found):<2} {_median(signalled):>6}  {by[0][0] if by else '':28} "
            f"{len(decided):>4}/{len(found):<2} {_median(decided):>6}  {action[0][0] if action else ''}",
            flush=True,
        )
    return 0


def _median(windows: list[int]) -> str:
    return f"{np.median(windows):g}" if windows else "-"


if __name__ == "__main__":
    sys.exit(main())
