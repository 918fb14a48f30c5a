"""Judges the correlations of one window against those of the pool.

Score of a window: the largest leave-one-out z-score over its pairs of Fisher's transform of the correlation, in either
direction. What the number of rows does to a transform, whose variance is 1/n and what windows differ by beyond that, is
taken out first. The window p follows as for columns (tail.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from trimtab.stats.correlations import Correlations
from trimtab.stats.schemes import Floats
from trimtab.stats.score import leave_one_out_z
from trimtab.stats.size import SD_PER_MAD
from trimtab.stats.step import CorrelationDrift
from trimtab.stats.tail import tail_p

SD_FLOOR = 0.5
"""Smallest standard deviation of standardized transforms: two columns that repeat each other vary less by chance."""


@dataclass(frozen=True)
class CorrelationTest:
    """What the correlations of reference windows are and vary by, [pairs]."""

    pairs: Correlations
    centre: Floats
    between: Floats
    """Variance between windows of endless rows."""

    @classmethod
    def fit(cls, pairs: Correlations, rows: Floats, y: Floats) -> Self:
        """Return the test for windows like those of the reference; rows [m], Fisher's transforms y [m, pairs]."""
        centre = np.median(y, axis=0)
        spread = (SD_PER_MAD * np.median(np.abs(y - centre), axis=0)) ** 2
        return cls(pairs, centre, np.maximum(spread - np.median(1 / np.maximum(rows, 1)), 0))

    def z(self, rows: Floats, y: Floats) -> Floats:
        """Return the sizes of the leave-one-out z-scores of windows, [w, pairs]."""
        variance = 1 / np.maximum(rows, 1)[:, None] + self.between
        return np.abs(leave_one_out_z((y - self.centre) / np.sqrt(variance), sd_floor=SD_FLOOR))

    def scores(self, rows: Floats, y: Floats) -> Floats:
        """Return the score of each window against all others, [w]."""
        largest: Floats = self.z(rows, y).max(axis=1)
        return largest

    def judge(self, rows: Floats, y: Floats, smallest: float) -> CorrelationDrift:
        """Judge the last of the windows against all others; a pair that changed by less than `smallest` is left out."""
        z = self.z(rows, y)
        r, usual = np.tanh(y[-1]), np.tanh(y[:-1].mean(axis=0))
        counted = np.where(np.abs(r - usual) >= smallest, z[-1], 0.0)
        pair = int(counted.argmax())
        return CorrelationDrift(
            columns=self.pairs.name(pair),
            correlation=float(r[pair]),
            usual=float(usual[pair]),
            z=float(counted[pair]),
            p=float(tail_p(z[:-1].max(axis=1), counted[pair])),
        )

    def state(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"centre": self.centre.tolist(), "between": self.between.tolist()}

    @classmethod
    def from_state(cls, pairs: Correlations, state: Mapping[str, Any]) -> Self:
        """Return the test that `state` described."""
        return cls(pairs, np.array(state["centre"], np.float64), np.array(state["between"], np.float64))
