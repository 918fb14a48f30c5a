"""The share of changes after 50 windows that are detected, and the time until then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.drift.streams import (
    IID_ROWS,
    NUMERIC,
    REFERENCE,
    SEED,
    Flights,
    Window,
    detector_of,
    profiled,
    windows,
)
from benchmarks.drift.table import Line, at_least, share

Array = npt.NDArray[Any]

QUIET, WATCHED = 50, 12
JUDGED_BY_WINDOW_P = 4
POWER = 0.95
# Of columns that take 1 % of rows x 100 beyond their gross limits; a delay of -2 minutes becomes an ordinary -200.
# Columns that go together with another one: a correlation of .25 or more.
CORRELATED = tuple(name for name in NUMERIC if name != "minute")
UNIT_COLUMNS = tuple(name for name in NUMERIC if name != "dep_delay")


@dataclass(frozen=True)
class Change:
    """A change of one column from its first window on; `apply(values, sd, place, random)` with place 0, 1, ..."""

    claim: str
    within: int
    apply: Callable[[Array, float, int, np.random.Generator], Array]
    columns: tuple[str, ...] = NUMERIC
    window_power: bool = True
    extra: int = 0
    """Columns of noise beside those of the flights."""
    power: float = POWER


def _towards_one(values: Array, sd: float, place: int, random: np.random.Generator) -> Array:
    chance = 0.1 / (1 - (values == "UA").mean())  # ten percentage points more than before
    return np.where(random.random(len(values)) < chance, "UA", values)


CHANGES = (
    Change("shift of .3 sd in one column of 15", 4, lambda x, sd, place, random: x + 0.3 * sd),
    Change("one category of 17 columns + 10 pp", 4, _towards_one, columns=("carrier",), extra=2),
    Change("missing + 20 %", 4, lambda x, sd, place, random: np.where(random.random(len(x)) < 0.2, np.nan, x)),
    Change("unit x 100 in all rows", 4, lambda x, sd, place, random: x * 100),
    Change(
        "unit x 100 in 1 % of rows",
        4,
        lambda x, sd, place, random: np.where(random.random(len(x)) < 0.01, x * 100, x),
        columns=UNIT_COLUMNS,
    ),
    Change("shift of .1 sd", 12, lambda x, sd, place, random: x + 0.1 * sd, window_power=False),
    Change(
        "gradual, to 1 sd over 8 windows",
        8,
        lambda x, sd, place, random: x + min(1, (place + 1) / 8) * sd,
        window_power=False,
    ),
    Change(
        "one column shuffled: correlations gone, marginals equal",
        8,
        lambda x, sd, place, random: random.permutation(x),
        columns=CORRELATED,
        window_power=False,
        power=0.9,
    ),
)


def measure(flights: Flights, streams: int) -> Iterator[Line]:
    """Yield window power, the share of streams with p_seq < .05 in time, and the median windows it took."""
    for change in CHANGES:
        told = [run(flights, change, seed) for seed in range(SEED, SEED + streams)]
        delays = np.array([delay for _, delay in told])
        if change.window_power:
            yield at_least(f"{change.claim}: window p < .01", [power for power, _ in told], POWER)
        claim = f"{change.claim}: p_seq < .05 within {change.within} (median {np.median(delays):g})"
        yield at_least(claim, (delays <= change.within).astype(float), change.power)
        if (slowest := int(min(delays.max(), WATCHED))) > change.within:
            yield Line(f"    ... within {slowest}", share(float((delays <= slowest).mean())))


def run(flights: Flights, change: Change, seed: int) -> tuple[float, float]:
    """Return the share of the first changed windows with p < .01, and the windows until p_seq < .05 (inf: not seen)."""
    random = np.random.default_rng((1, seed))
    name = change.columns[seed % len(change.columns)]
    noise = {f"noise_{place}": random.standard_normal(IID_ROWS) for place in range(change.extra)}
    stream = [
        flights.rows(index) | {name: random.permutation(values) for name, values in noise.items()}
        for index in windows(flights, "iid", seed)[: REFERENCE + QUIET + WATCHED]
    ]
    reference = stream[:REFERENCE]
    sd = float(np.nanstd(np.concatenate([window[name] for window in reference]))) if name in NUMERIC else 0.0
    detector, schemes = detector_of(reference)
    for window in stream[REFERENCE : REFERENCE + QUIET]:
        detector.step(profiled(window, schemes))
    changed: list[Window] = [
        window | {name: change.apply(window[name], sd, place, random)}
        for place, window in enumerate(stream[REFERENCE + QUIET :])
    ]
    steps = [detector.step(profiled(window, schemes)) for window in changed]
    seen = [place + 1 for place, step in enumerate(steps) if step.p_seq < 0.05]
    power = float(np.mean([step.p < 0.01 for step in steps[:JUDGED_BY_WINDOW_P]]))
    return power, seen[0] if seen else np.inf
