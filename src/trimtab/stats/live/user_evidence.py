"""Evidence from live traffic that is split by user; it may be looked at after every pair of users.

The same user returns with the same version, so users are the unit: what a user of the challenger says is compared with
what a user of the champion says, in the order in which both are complete. If both versions are alike, the difference of
a pair has the mean 0, and the wealth of a bettor who stakes a share of it on each pair, prod (1 + lambda D), never
exceeds 1 in expectation. Evidence is the mean wealth of 24 bettors, and ever reaches 1 / (1 - confidence) with a
probability of at most 1 - confidence.

Sources: Ville 1939; I. Waudby-Smith & A. Ramdas, Estimating means of bounded random variables by betting, JRSS B 86
(2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.live.conversation_evidence import GRID, LARGEST, WIDEST, LiveVerdict, RatioBounds, mean_of_products
from trimtab.stats.paired.pass_rates import one_sided
from trimtab.stats.schemes import as_floats

STAKES = np.linspace(0.05, 0.95, 24)
"""Shares of the wealth that the bettors stake."""


class UserPairEvidence:
    """Evidence on a challenger from pairs of users.

    >>> evidence = UserPairEvidence()
    >>> evidence.add([0.4, 0.3, 0.5] * 20, [0.1, 0.2, 0.1] * 20)
    >>> evidence.verdict, evidence.pairs
    ('promote', 60)
    >>> UserPairEvidence.from_state(evidence.state()).verdict
    'promote'
    """

    def __init__(self, *, tolerate: float = 0.0, smallest_effect: float = 0.0, confidence: float = 0.95) -> None:
        """Begin without pairs.

        Args:
            tolerate: by how much the challenger's rate may at worst be larger, relative to the champion's; 0 or more.
            smallest_effect: the smallest relative reduction worth having, from 0 to below 1; a challenger whose
                reduction is shown to be less is futile. 0, or something tolerated: none is.
            confidence: of each verdict, at all looks together.

        Raises:
            DataError: for a setting that is out of range.
        """
        one_sided(confidence)
        if not 0 <= tolerate < math.inf or not 0 <= smallest_effect < 1:
            raise DataError(
                f"tolerate {tolerate}, smallest_effect {smallest_effect}: expected 0 or more, and from 0 to below 1"
            )
        self._settings = {"tolerate": tolerate, "smallest_effect": smallest_effect, "confidence": confidence}
        worst = 1 + tolerate
        self._names: tuple[LiveVerdict, ...] = ("promote", "harm", "futile")
        if tolerate > 0 or smallest_effect == 0:
            self._names = self._names[:2]
        self._weights = np.array([[worst, -1.0], [-worst, 1.0], [-(1 - smallest_effect), 1.0]])[: len(self._names)]
        """Of the rates of champion and challenger: what is bet on, whose mean is at most 0 without the verdict."""
        self._weights /= np.maximum(1.0, np.abs(self._weights).max(axis=1, keepdims=True))
        self._wealth = np.zeros((len(self._names), STAKES.size))
        self._rates = np.empty((0, 2))
        self._verdict: LiveVerdict = "continue"
        self._decided_after = 0

    @property
    def verdict(self) -> LiveVerdict:
        """The first verdict that the evidence reached; later pairs do not change it."""
        return self._verdict

    @property
    def decided_after(self) -> int:
        """Number of pairs after which it did; 0 while it has not."""
        return self._decided_after

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return len(self._rates)

    @property
    def rates(self) -> tuple[float, float]:
        """Mean rates of the champion's and of the challenger's users; NaN without pairs."""
        champion, challenger = self._rates.mean(axis=0) if len(self._rates) else (math.nan, math.nan)
        return float(champion), float(challenger)

    def value(self, name: LiveVerdict) -> float:
        """Return the present evidence for a verdict, which is reached at 1 / (1 - confidence); 1 without pairs."""
        if name not in self._names:
            raise DataError(f"no evidence for '{name}' is collected; expected one of {', '.join(self._names)}")
        return math.exp(min(float(mean_of_products(self._wealth)[self._names.index(name)]), LARGEST))

    def add(self, champion: npt.ArrayLike, challenger: npt.ArrayLike) -> None:
        """Add pairs of users in the order in which they became complete. How they are grouped has no effect.

        Args:
            champion: mean bad rate of a user of the champion, from 0 to 1, [pairs].
            challenger: that of the user of the challenger that it is paired with, [pairs].

        Raises:
            DataError: for a rate outside of [0, 1], and for arrays of different lengths.
        """
        a, b = (as_floats(x).astype(np.float64).ravel() for x in (champion, challenger))
        if a.size != b.size or not all(((x >= 0) & (x <= 1)).all() for x in (a, b)):
            raise DataError(f"{a.size} and {b.size} rates: expected as many of each, from 0 to 1")
        if not a.size:
            return
        rates = np.stack([a, b], axis=1)
        bets = rates @ self._weights.T
        wealth = self._wealth + np.cumsum(np.log1p(bets[:, :, None] * STAKES), axis=0)
        reached = mean_of_products(wealth) >= -math.log1p(-self._settings["confidence"])
        if self._verdict == "continue" and reached.any():
            first = int(reached.any(axis=1).argmax())
            self._verdict = self._names[int(reached[first].argmax())]
            self._decided_after = len(self._rates) + first + 1
        self._wealth = wealth[-1]
        self._rates = np.concatenate([self._rates, rates])

    def bounds(self) -> RatioBounds:
        """Return the ratio of the mean rates with its bounds, each of the confidence of the verdicts."""
        champion, challenger = self.rates
        ratio = challenger / champion if champion > 0 else math.nan
        limit, grid = -math.log1p(-self._settings["confidence"]), np.geomspace(1 / WIDEST, WIDEST, GRID)
        return RatioBounds(ratio=ratio, low=self._end(grid[::-1], -1.0, limit), high=self._end(grid, 1.0, limit))

    def _end(self, grid: npt.NDArray[np.float64], sign: float, limit: float) -> float:
        """Return the first ratio of the grid from which on all are ruled out; the end of the range without any.

        sign: 1 rules out that the ratio is so large, -1 that it is so small. Evidence rises along the grid.
        """
        first, last = 0, GRID
        while first < last:
            middle = (first + last) // 2
            bets = sign * (grid[middle] * self._rates[:, 0] - self._rates[:, 1]) / max(1.0, grid[middle])
            wealth = np.log1p(bets[:, None] * STAKES).sum(axis=0)
            first, last = (first, middle) if mean_of_products(wealth) >= limit else (middle + 1, last)
        if first < GRID:
            return float(grid[first])
        return math.inf if sign > 0 else 0.0

    def state(self) -> dict[str, Any]:
        """Return all that `from_state` needs, of numbers, text, lists and dictionaries."""
        return {
            **self._settings,
            "wealth": self._wealth.tolist(),
            "rates": self._rates.tolist(),
            "verdict": self._verdict,
            "decided_after": self._decided_after,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the evidence of a state; it goes on as if it had never stopped.

        Raises:
            DataError: for settings that are out of range.
        """
        found = cls(**{name: state[name] for name in ("tolerate", "smallest_effect", "confidence")})
        found._wealth, found._rates = np.array(state["wealth"]), np.array(state["rates"]).reshape(-1, 2)
        found._verdict, found._decided_after = state["verdict"], state["decided_after"]
        return found
