"""Anytime-valid evidence: bets against "nothing changed", added up over windows. Each detector has a Mixture.

An e-value is a bet whose expectation is at most 1 when nothing changed. The Shiryaev-Roberts e-detector sums the
stakes of all bettors who started at any window so far; with threshold T/a it fires within T windows with
probability at most a (Doob). Tempering by e^(1/tau) keeps the expectation at most 1 (Jensen) and holds dependent
windows back: that it is enough for autocorrelated windows is a heuristic, held by measurement.

A bettor leaves after 26 to 30 windows. The stakes of those who stay are a part of the whole sum, so the bound of Doob
holds for them as well; and what was seen in a change that is over is forgotten 30 windows later.

References: Vovk & Wang, E-values: calibration, combination and applications; Shin, Ramdas & Rinaldo, E-detectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.stats.schemes import Floats

KAPPAS = np.array([0.1, 0.3, 0.5, 0.7])
# More evidence changes no decision, and would take long to fade.
R_MAX = 1e9
# Bettors are kept by the block of windows in which they started; the oldest of so many blocks leaves first.
BLOCKS = 6
BLOCK_WINDOWS = 5


def calibrate(p: npt.ArrayLike) -> Floats:
    """Return e(p) = (1 - p + p ln p) / (p (ln p)^2), the e-value of a p-value: the mean of all bets k p^(k-1)."""
    p = np.asarray(p, np.float64)
    length = -np.log(p)
    near_one = length < 1e-4
    safe = np.where(near_one, 1.0, length)
    e: Floats = np.where(near_one, 0.5 + length / 6, (1 - p - p * length) / (p * safe * safe))
    return e


def power_bets(p: npt.ArrayLike) -> Floats:
    """Return the four bets k p^(k-1) on each p, [..., 4]."""
    bets: Floats = KAPPAS * np.asarray(p, np.float64)[..., None] ** (KAPPAS - 1)
    return bets


def smoothed_ranks(reference: Floats, value: Floats, uniform: Floats) -> Floats:
    """Return the smoothed conformal p of `value` [c] being as large as it is among `reference` [m, c].

    Exactly uniform for exchangeable windows; `uniform` [c] in [0, 1) breaks ties and fills the gaps between ranks.
    """
    larger = (reference > value).sum(axis=0)
    ties = (reference == value).sum(axis=0)
    ranks: Floats = (larger + uniform * (1 + ties)) / (len(reference) + 1)
    return np.maximum(ranks, np.finfo(np.float64).tiny)


def p_floor(m: int) -> float:
    """Return the smallest p that m reference windows can carry into a bet."""
    return 1 / (10 * (m + 1))


class Mixture:
    """A weighted mean of e-detectors, in groups: the detectors of a group share its weight evenly."""

    def __init__(
        self,
        weights: Sequence[float],
        tempers: Sequence[Floats],
        stakes: Sequence[Floats] | None = None,
        windows: int = 0,
    ) -> None:
        self.weights = tuple(weights)
        self.tempers = tuple(tempers)
        """tau of every detector, by group; shapes broadcast to those of the e-values."""
        self.stakes = list(stakes) if stakes is not None else [np.zeros((BLOCKS, 1)) for _ in tempers]
        """R of every detector, by group: [BLOCKS, ...], one part for the bettors of each block of windows."""
        self.windows = windows
        """Windows that were bet on."""

    def bet(self, e_values: Sequence[Floats]) -> None:
        """Add one window's e-values, by group: R <- (R + 1) e^(1/tau)."""
        factors = [e ** (1 / tau) for e, tau in zip(e_values, self.tempers, strict=True)]
        if not self.windows:
            self.stakes = [np.zeros((BLOCKS, *factor.shape)) for factor in factors]
        block = self.windows // BLOCK_WINDOWS % BLOCKS
        for stakes, factor in zip(self.stakes, factors, strict=True):
            if self.windows % BLOCK_WINDOWS == 0:
                stakes[block] = 0
            stakes[block] += 1
            np.minimum(stakes * factor, R_MAX / BLOCKS, out=stakes)
        self.windows += 1

    def continue_from(self, other: Mixture) -> None:
        """Take over the stakes of another mixture; those of a group that has other detectors here begin anew."""
        self.windows = other.windows
        self.stakes = [
            stakes.copy() if stakes.shape[1:] == mine.shape else np.zeros((BLOCKS, *mine.shape), np.float64)
            for mine, stakes in zip(self.tempers, other.stakes, strict=True)
        ]

    @property
    def total(self) -> float:
        """R of the mixture; groups without detectors leave their weight to the others."""
        parts = [
            (weight, float(stakes.sum(axis=0).mean()))
            for weight, stakes in zip(self.weights, self.stakes, strict=True)
            if stakes.size
        ]
        return sum(w * s for w, s in parts) / sum(w for w, _ in parts)

    def p_value(self, horizon: int) -> float:
        """Return min(1, T / R): P(it is ever below a within T windows) <= a."""
        return min(1.0, horizon / self.total) if self.total > 0 else 1.0

    def state(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "weights": list(self.weights),
            "tempers": [tau.tolist() for tau in self.tempers],
            "stakes": [stake.tolist() for stake in self.stakes],
            "windows": self.windows,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Mixture:
        """Return the mixture that `state` described."""
        tempers, stakes = ([np.array(part, np.float64) for part in state[key]] for key in ("tempers", "stakes"))
        return cls(state["weights"], tempers, stakes, state["windows"])
