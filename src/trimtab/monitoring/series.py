"""Tests one value a window against the windows before it: KPIs, rows, confidence, waiting times, use of machines.

The first windows of a series are its reference: four weeks of them, at least 30 and at most 1,000. From then on each
window is judged by `stats.upward_test`, on the value (a rise), on its negative (a fall), or on both, whose p-values are
then doubled (Bonferroni). If the reference shows that values repeat from week to week, the mean of the hour of the week
(of the day, for daily windows) is taken off first. The reference values are compared with the mean of the other weeks,
so that they vary as much as values to come.

The state depends on the values alone: a series that is stepped through its stored signals again goes on bit for bit.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trimtab.stats.autocorrelation import tempering
from trimtab.stats.sequential import ENOUGH_WINDOWS
from trimtab.stats.upward_test import UpwardDetector, UpwardStep
from trimtab.units import MICROS

Direction = Literal["rise", "fall", "both"]

WEEKS = 4
MOST_REFERENCE = 1_000
"""Windows of less than 40 minutes have a reference of less than four weeks."""
FEWEST_OF_A_PHASE = 3
"""Windows of each hour (day) of the week without which no weekly pattern is looked for."""
HOLDBACK = 10
HELD_BELOW_TAU = 3.0
"""Windows wait before they join the reference, so that an outage does not become usual within days. Where windows are
autocorrelated more than that, they join at once, because alarms would else be more than promised."""
SEASONAL = 0.8
"""A weekly pattern is used when the distances from it have at most this share of the variance of the values."""


@dataclass(frozen=True, kw_only=True)
class SeriesStep:
    """The judgement of one window. p and p_seq are None while the reference is gathered and for held windows."""

    value: float
    expected: float | None
    """Mean of the reference, at this hour of the week where values repeat from week to week."""
    change_sd: float | None
    """How far the value lies from it, in standard deviations between windows."""
    p: float | None
    p_seq: float | None
    m: int
    """Windows that it was compared with."""
    reason: str

    @property
    def effect(self) -> dict[str, float | None]:
        """What a signal says of the size of the change."""
        return {"expected": self.expected, "change_sd": self.change_sd}


class Series:
    """One series. Not shared between threads.

    name: seeds the numbers that break ties. window: length of a window in microseconds. smallest_sd: spread between
    windows below which differences are noise, in the unit of the values.

    >>> day = MICROS["d"]
    >>> sales = Series("sales", direction="fall", window=day, horizon=100)
    >>> usual = [sales.step(n * day, 100.0 + n % 3) for n in range(40)]
    >>> usual[29].p, usual[-1].p > 0.05, sales.step(40 * day, 50.0).p < 0.01
    (None, True, True)
    """

    def __init__(self, name: str, *, direction: Direction, window: int, horizon: int, smallest_sd: float = 0.0) -> None:
        self._seed = zlib.crc32(name.encode())
        self._signs = {"rise": (1.0,), "fall": (-1.0,), "both": (1.0, -1.0)}[direction]
        self._window = window
        self._horizon = horizon
        self._smallest_sd = smallest_sd
        self.needed = reference_windows(window)
        """Windows that are gathered before the first one is judged."""
        self._first: list[tuple[int, float, int]] = []
        self._season: Mapping[int, float] = {}
        self._detectors: list[UpwardDetector] = []

    def step(self, start: int, value: float, rows: int = 1) -> SeriesStep:
        """Judge the next window.

        start: microseconds since the epoch. value: finite. rows: what the value is a mean of; a sum has one.
        """
        if not self._detectors:
            self._first.append((start, value, rows))
            if len(self._first) == self.needed:
                self.fit(*zip(*self._first, strict=True))
                self._first.clear()
            return self._gathered(value)
        level = self._season.get(self._phase(start), 0.0)
        steps = [
            detector.step(sign * (value - level), rows)
            for sign, detector in zip(self._signs, self._detectors, strict=True)
        ]
        return self._judged(value, level, steps)

    def fit(self, starts: Sequence[int], values: Sequence[float], rows: Sequence[int]) -> None:
        """Take windows of a known reference, oldest first. Raises DataError for fewer than three of them."""
        self._season, plain = self._weekly(starts, np.asarray(values, np.float64))
        self._detectors = [
            UpwardDetector.fit(
                (sign * plain).tolist(),
                rows,
                horizon=self._horizon,
                seed=self._seed,
                smallest_sd=self._smallest_sd,
                holdback=HOLDBACK if tempering(plain.tolist()) <= HELD_BELOW_TAU else None,
            )
            for sign in self._signs
        ]

    @property
    def is_seasonal(self) -> bool:
        """Return True if a weekly pattern was found in the reference."""
        return bool(self._season)

    def _phase(self, start: int) -> int:
        return start % MICROS["w"] // self._window

    def _weekly(
        self, starts: Sequence[int], values: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> tuple[dict[int, float], np.ndarray[tuple[int], np.dtype[np.float64]]]:
        """Return by how much each hour of the week differs from the mean, and the values without that."""
        places: dict[int, list[int]] = defaultdict(list)
        for n, start in enumerate(starts):
            places[self._phase(start)].append(n)
        phases = MICROS["w"] // self._window
        if MICROS["w"] % self._window or len(places) < max(phases, 2):
            return {}, values
        if min(len(found) for found in places.values()) < FEWEST_OF_A_PHASE:
            return {}, values
        mean, plain = float(values.mean()), values.copy()
        for found in places.values():
            others = (values[found].sum() - values[found]) / (len(found) - 1)
            plain[found] = values[found] - others + mean
        if plain.var() > SEASONAL * values.var():
            return {}, values
        return {phase: float(values[found].mean()) - mean for phase, found in places.items()}, plain

    def _gathered(self, value: float) -> SeriesStep:
        known = len(self._first) or self.needed
        reason = f"{value:,.6g}; compared from {self.needed} windows on, {known} are known"
        return SeriesStep(value=value, expected=None, change_sd=None, p=None, p_seq=None, m=0, reason=reason)

    def _judged(self, value: float, level: float, steps: Sequence[UpwardStep]) -> SeriesStep:
        sign, first = self._signs[0], steps[0]
        expected = sign * first.expected + level
        if not first.tested:
            return SeriesStep(
                value=value, expected=expected, change_sd=None, p=None, p_seq=None, m=first.m, reason=first.reason
            )
        p, p_seq = (min(1.0, len(steps) * min(each)) for each in zip(*((s.p, s.p_seq) for s in steps), strict=True))
        usual = "usual at this time of the week" if self._season else "usual"
        reason = f"{value:,.6g} where {expected:,.6g} is {usual} ({first.m} windows): p {p:.2g}, p_seq {p_seq:.2g}"
        if not first.enough_reference:
            reason += f"; only {first.m} windows to compare with, {ENOUGH_WINDOWS} are needed to act"
        return SeriesStep(
            value=value,
            expected=expected,
            change_sd=sign * first.rise_sd,
            p=p,
            p_seq=p_seq,
            m=first.m,
            reason=reason,
        )


def reference_windows(window: int) -> int:
    """Return how many windows of a length in microseconds are gathered before the first one is judged."""
    return min(MOST_REFERENCE, max(ENOUGH_WINDOWS, -(-WEEKS * MICROS["w"] // window)))
