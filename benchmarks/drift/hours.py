"""`python -m benchmarks.drift.hours [--streams N]`: windows of an hour beside windows of a day, on the same flights.

Days of the flights of 2013 in shuffled order: 60 are the reference, 5 are watched for false alarms, and in up to 14 a
change is looked for. A window of an hour is one scheduled hour with 15 rows or more. A change is seen when p_seq falls
below .05; its delay is the event time since the change began, to the end of that window, in days.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.drift.streams import (
    NUMERIC,
    REFERENCE,
    SEED,
    Flights,
    Window,
    detector_of,
    profiled,
    read_flights,
)

QUIET_DAYS, CHANGED_DAYS = 5, 14
FEWEST_ROWS = 15
Column = npt.NDArray[Any]
Change = Callable[[Window, np.random.Generator], Window]


def main() -> int:
    """Print false alarms and delays."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift.hours")
    parser.add_argument("--streams", type=int, default=12)
    seeds = range(SEED, SEED + parser.parse_args().streams)
    flights = read_flights()
    sd = {name: float(np.nanstd(flights.columns[name])) for name in NUMERIC}
    quiet = [list(_steps(flights, seed, hours=True, days=QUIET_DAYS)) for seed in seeds]
    p = np.array([step.p for steps in quiet for _, step in steps if step.tested])
    alarms = sum(min(step.p_seq for _, step in steps) < 0.05 for steps in quiet)
    print(
        f"no change, {len(p):,} windows of an hour: "
        f"p < .01 in {(p < 0.01).mean():.1%}, p < .05 in {(p < 0.05).mean():.1%}"
    )
    print(f"p_seq ever < .05 in {alarms} of {len(quiet)} streams of {QUIET_DAYS} days", flush=True)
    changes: dict[str, Change] = {
        "distance + .3 sd": _of("distance", lambda x, rng: x + 0.3 * sd["distance"]),
        "distance in km": _of("distance", lambda x, rng: x * 1.609),
        "air_time + 20 % missing": _of("air_time", lambda x, rng: np.where(rng.random(len(x)) < 0.2, np.nan, x)),
        "carrier UA renamed": _of("carrier", lambda x, rng: np.where(x == "UA", "ZZ", x)),
    }
    print(f"{'change':26} {'seen by hours':>14} {'median days':>12} {'seen by days':>13} {'median days':>12}")
    for name, change in changes.items():
        cells = [_seen(flights, seeds, change, hours=hours) for hours in (True, False)]
        print(f"{name:26} {cells[0][0]:>14} {cells[0][1]:>12} {cells[1][0]:>13} {cells[1][1]:>12}", flush=True)
    return 0


def _of(column: str, change: Callable[[Column, np.random.Generator], Column]) -> Change:
    return lambda window, rng: window | {column: change(window[column], rng)}


def _seen(flights: Flights, seeds: Sequence[int], change: Change, *, hours: bool) -> tuple[str, str]:
    """Return in how many streams a change is seen, and the median of the days that it took."""
    found = []
    for seed in seeds:
        steps = _steps(flights, seed, hours=hours, days=CHANGED_DAYS, change=change)
        found.append(next((end for end, step in steps if step.p_seq < 0.05), float("nan")))
    days = np.array(found)
    median = f"{np.nanmedian(days):.2f}" if np.isfinite(days).any() else "-"
    return f"{np.isfinite(days).sum()}/{len(days)}", median


def _steps(
    flights: Flights, seed: int, *, hours: bool, days: int, change: Change = lambda window, rng: window
) -> Iterator[tuple[float, Any]]:
    """Yield each window's end, in days since the change began, with what the detector says of it."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(int(flights.day[-1]) + 1)
    reference = [flights.rows(rows) for day in order[:REFERENCE] for _, rows in _windows(flights, day, hours=hours)]
    detector, schemes = detector_of(reference)
    for number, day in enumerate(order[REFERENCE : REFERENCE + days]):
        for end, rows in _windows(flights, day, hours=hours):
            yield number + end, detector.step(profiled(change(flights.rows(rows), rng), schemes))


def _windows(flights: Flights, day: int, *, hours: bool) -> Iterator[tuple[float, npt.NDArray[np.int64]]]:
    """Yield the windows of a day: where in the day they end, and their rows."""
    first, last = np.searchsorted(flights.day, [day, day + 1])
    rows = np.arange(first, last)
    if not hours:
        yield 1.0, rows
        return
    hour = flights.columns["hour"][rows]
    for each in range(24):
        own = rows[hour == each]
        if own.size >= FEWEST_ROWS:
            yield (each + 1) / 24, own


if __name__ == "__main__":
    sys.exit(main())
