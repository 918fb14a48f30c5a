"""The effect of the number of rows on a window's statistics, so that it can be taken out.

A distance to the pool shrinks with the rows of the window: D^2 is about A/n + B, with A from chance alone and B from
real differences between windows. Without a correction, a fall of traffic by a quarter looks like drift in every
window. A is found by drawing windows from the pooled reference, B is what the reference has beyond it; both are fixed
when the detector is fitted, and applied to every window alike, so exchangeability stays. Windows of equal rows are
ranked as without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from trimtab.stats.distance import category_distances, distances, ordered_distances, pit_means, pit_weights, valid_rows
from trimtab.stats.schemes import MISSING, Floats
from trimtab.stats.window_pool import Cells

DRAWS = 200
# Of a normal distribution, the standard deviation in units of the median absolute deviation.
SD_PER_MAD = 1.4826
SMALLEST_VARIANCE = 1e-9


@dataclass(frozen=True)
class SizeEffect:
    """Variances by column: d columns, and two signed statistics for each of the o ordered ones."""

    sampling: Floats
    """[d]: typical D^2 times rows, when chance alone is at work."""
    between: Floats
    """[d]: typical D^2 of a window with endless rows."""
    centre: Floats
    """[2o]: typical signed statistics."""
    signed_sampling: Floats
    """[2o]: their variance times rows, when chance alone is at work."""
    signed_between: Floats
    """[2o]: their variance between windows with endless rows."""

    @classmethod
    def fit(cls, cells: Cells, *, seed: int) -> Self:
        """Return the effect for windows like these."""
        n = cells.rows[:, None]
        sampling = _chance(cells, np.random.default_rng(seed))
        between = np.maximum(np.median(distances(cells) ** 2 - sampling / n, axis=0), 0)
        total, _ = cells.total_shares()
        signed = pit_means(cells.ordered, total)
        centre = np.median(signed, axis=0)
        signed_sampling = _variance(total)
        spread = (SD_PER_MAD * np.median(np.abs(signed - centre), axis=0)) ** 2
        expected = np.median(signed_sampling / np.maximum(valid_rows(cells), 1), axis=0)
        return cls(sampling, between, centre, signed_sampling, np.maximum(spread - expected, 0))

    def distance(self, n: Floats) -> Floats:
        """Return the typical distance of windows with so many rows, [w, d]."""
        typical: Floats = np.sqrt(self.sampling[:, None] / n + self.between[:, None]).T
        return typical

    def standardized(self, signed: Floats, valid: Floats) -> Floats:
        """Return signed statistics [w, 2o] in their standard deviations; valid is [w, 2o], rows with a value."""
        variance = self.signed_sampling / np.maximum(valid, 1) + self.signed_between
        standard: Floats = (signed - self.centre) / np.sqrt(np.maximum(variance, SMALLEST_VARIANCE))
        return standard

    def state(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the effect that `state` described."""
        return cls(**{name: np.array(state[name], np.float64) for name in cls.__dataclass_fields__})


def _chance(cells: Cells, random: np.random.Generator) -> Floats:
    """Return the median of D^2 n over windows drawn from the pooled shares, [d]."""
    rows = max(1, int(np.median(cells.rows)))
    ordered, category = cells.total_shares()

    def draw(shares: Floats) -> Floats:
        drawn = np.stack([random.multinomial(rows, p, size=DRAWS) for p in shares.T], axis=1)
        return drawn.T.astype(np.float64) / rows

    found = []
    if ordered.shape[1]:
        drawn = draw(np.diff(ordered, axis=0, prepend=0))
        found.append(ordered_distances(drawn.cumsum(axis=0) - ordered[..., None]))
    if category.shape[1]:
        p = category[..., None]
        found.append(category_distances(draw(category) - p, p, np.full(DRAWS, float(rows))))
    chance: Floats = np.median(np.concatenate(found, axis=1) ** 2, axis=0) * rows
    return chance


def _variance(total: Floats) -> Floats:
    """Return the variance of a row's PIT, then of its |PIT - 1/2|, by column, [2o]; total is cumulated, [35, o]."""
    weights = pit_weights(total)
    shares = np.diff(total, axis=0, prepend=0)
    shares[MISSING] = 0
    having = shares.sum(axis=0)
    shares /= np.where(having > 0, having, 1)
    mean = (shares * weights).sum(axis=1, keepdims=True)
    variance: Floats = (shares * (weights - mean) ** 2).sum(axis=1).ravel()
    return variance
