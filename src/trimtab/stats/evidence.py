"""Anytime-valid evidence: bets against "nothing changed", added up over windows. Each detector has a Mixture.

An e-value is a bet whose expectation is at most 1 when nothing changed. The Shiryaev-Roberts e-detector sums the
stakes of all bettors who started at any window so far; with threshold T/a it fires within T windows with
probability at most a (Doob). Tempering by e^(1/tau) keeps the expectation at most 1 (Jensen) and holds dependent
windows back: that it is enough for autocorrelated windows is a heuristic, held by measurement.

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
        self, weights: Sequence[float], tempers: Sequence[Floats], stakes: Sequence[Floats] | None = None
    ) -> None:
        self.weights = tuple(weights)
        self.tempers = tuple(tempers)
        """tau of every detector, by group; shapes broadcast to those of the e-values."""
        self.stakes = list(stakes) if stakes is not None else [np.zeros(1) for _ in tempers]
        """R of every detector, by group."""

    def bet(self, e_values: Sequence[Floats]) -> float:
        """Add one window's e-values, by group: R <- (R + 1) e^(1/tau). Return the mixture's R."""
        self.stakes = [
            np.minimum((stake + 1) * e ** (1 / tau), R_MAX)
            for stake, e, tau in zip(self.stakes, e_values, self.tempers, strict=True)
        ]
        return self.total

    @property
    def total(self) -> float:
        """R of the mixture; groups without detectors leave their weight to the others."""
        parts = [(w, float(s.mean())) for w, s in zip(self.weights, self.stakes, strict=True) if s.size]
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
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Mixture:
        """Return the mixture that `state` described."""
        tempers, stakes = ([np.array(part, np.float64) for part in state[key]] for key in ("tempers", "stakes"))
        return cls(state["weights"], tempers, stakes)
