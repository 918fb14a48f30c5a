"""Evidence from live traffic that is split by conversation; it may be looked at after every bad event.

Each conversation goes to the challenger with a known probability, its share. What counts is the first bad event of a
conversation, such as a thumb down, and which of the two the conversation had been given to: if both have bad events
equally often, the event lies in the challenger with the probability of the share, however rates and shares change over
time, and however often single users rate. Conversations count by what they were given, not by who rated them
(intention to treat), since a version may change who rates.

For a ratio psi of the rates of bad conversations, challenger over champion, an event lies in the challenger with
probability q = share psi / (share psi + 1 - share). The evidence against a ratio is the mean, over 48 other ratios, of
the products of likelihood ratios. If the ratio is right, its expectation never exceeds 1, so it ever reaches
1 / (1 - confidence) with a probability of at most 1 - confidence.

Sources: Ville 1939; H. Robbins, Statistical methods related to the law of the iterated logarithm, Annals of
Mathematical Statistics 41 (1970), for the mixture; M. Lindon & A. Malek, Anytime-valid inference for multinomial count
data, NeurIPS 2022, for counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.paired.pass_rates import one_sided
from trimtab.stats.schemes import Floats, as_floats

RATIOS = np.linspace(0.25, 0.95, 48)
"""Ratios of the mixture, relative to the one that is tested; of a larger rate their reciprocals."""
WIDEST = 50.0
"""Bounds of the ratio lie between 1 / WIDEST and WIDEST."""
GRID = 801
"""Ratios between these that are tested for the bounds: 1 % apart."""
LARGEST = 700.0
"""Log of the largest evidence that is told; a float holds no more."""

LiveVerdict = Literal["promote", "harm", "futile", "continue"]


@dataclass(frozen=True, kw_only=True)
class RatioBounds:
    """Rate of bad conversations of the challenger over that of the champion; both bounds hold at all looks together."""

    ratio: float
    """The most likely one; NaN without events."""
    low: float
    """0 where nothing rules out a ratio below 1 / WIDEST."""
    high: float
    """inf where nothing rules out a ratio above WIDEST."""


class ConversationEvidence:
    """Evidence on a challenger from first bad events of conversations.

    >>> evidence = ConversationEvidence()
    >>> for lies_in_challenger in [False, False, True, False, False] * 12:
    ...     evidence.add([lies_in_challenger], [0.5])
    >>> evidence.verdict, evidence.events
    ('promote', 60)
    >>> ConversationEvidence.from_state(evidence.state()).verdict
    'promote'
    """

    def __init__(self, *, tolerate: float = 0.0, smallest_effect: float = 0.0, confidence: float = 0.95) -> None:
        """Begin without events.

        Args:
            tolerate: by how much the challenger's rate may at worst be larger, relative to the champion's; 0 or more.
                With 0 a challenger is promoted when it is shown to be better, else when it is shown to be not worse.
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
        nulls = [worst, worst, 1 - smallest_effect]
        self._names: tuple[LiveVerdict, ...] = ("promote", "harm", "futile")
        if tolerate > 0 or smallest_effect == 0:
            nulls, self._names = nulls[:2], self._names[:2]
        self._nulls = np.array(nulls)
        steps = np.stack([RATIOS, *[1 / RATIOS] * (len(nulls) - 1)])
        self._ratios = self._nulls[:, None] * steps
        self._counts: dict[float, list[int]] = {}
        """Share -> events in the champion, in the challenger."""
        self._verdict: LiveVerdict = "continue"
        self._decided_after = 0

    @property
    def verdict(self) -> LiveVerdict:
        """The first verdict that the evidence reached; later events do not change it."""
        return self._verdict

    @property
    def decided_after(self) -> int:
        """Number of events after which it did; 0 while it has not."""
        return self._decided_after

    @property
    def events(self) -> int:
        """Number of events."""
        return sum(sum(each) for each in self._counts.values())

    @property
    def in_challenger(self) -> int:
        """Number of events in the challenger."""
        return sum(each[1] for each in self._counts.values())

    def value(self, name: LiveVerdict) -> float:
        """Return the present evidence for a verdict, which is reached at 1 / (1 - confidence); 1 without events."""
        if name not in self._names:
            raise DataError(f"no evidence for '{name}' is collected; expected one of {', '.join(self._names)}")
        products = self._likelihood(self._ratios) - self._likelihood(self._nulls)[:, None]
        return math.exp(min(float(mean_of_products(products)[self._names.index(name)]), LARGEST))

    def add(self, lies_in_challenger: npt.ArrayLike, shares: npt.ArrayLike) -> None:
        """Add first bad events in the order in which they became known. How they are grouped has no effect.

        Args:
            lies_in_challenger: True for an event of a conversation of the challenger, [events].
            shares: probability with which that conversation went to the challenger, between 0 and 1, [events].

        Raises:
            DataError: for a share that is not between 0 and 1, and for arrays of different lengths.
        """
        hits, share = np.asarray(lies_in_challenger, np.bool_).ravel(), as_floats(shares).astype(np.float64).ravel()
        if hits.size != share.size or not ((share > 0) & (share < 1)).all():
            raise DataError(f"{hits.size} events, {share.size} shares: expected a share between 0 and 1 for each event")
        if self._verdict == "continue" and hits.size:
            self._look(hits, share)
        for value in np.unique(share):
            found = self._counts.setdefault(float(value), [0, 0])
            found[0] += int((~hits[share == value]).sum())
            found[1] += int(hits[share == value].sum())

    def bounds(self) -> RatioBounds:
        """Return the ratio of the rates with a lower and an upper bound, each of the confidence of the verdicts."""
        if not self._counts:
            return RatioBounds(ratio=math.nan, low=0.0, high=math.inf)
        grid = np.geomspace(1 / WIDEST, WIDEST, GRID)
        own, limit = self._likelihood(grid), -math.log1p(-self._settings["confidence"])
        down, up = (
            mean_of_products(self._likelihood(grid[:, None] * steps) - own[:, None]) < limit
            for steps in (RATIOS, 1 / RATIOS)
        )
        # of the ratios that the evidence does not rule out the outermost, one step further out
        high = int(np.flatnonzero(down).max()) + 1 if down.any() else 0
        low = int(np.flatnonzero(up).min()) - 1 if up.any() else GRID - 1
        return RatioBounds(
            ratio=float(grid[own.argmax()]),
            low=float(grid[low]) if low >= 0 else 0.0,
            high=float(grid[high]) if high < GRID else math.inf,
        )

    def state(self) -> dict[str, Any]:
        """Return all that `from_state` needs, of numbers, text, lists and dictionaries."""
        counts = [[share, *found] for share, found in sorted(self._counts.items())]
        return {**self._settings, "counts": counts, "verdict": self._verdict, "decided_after": self._decided_after}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the evidence of a state; it goes on as if it had never stopped.

        Raises:
            DataError: for settings that are out of range.
        """
        found = cls(**{name: state[name] for name in ("tolerate", "smallest_effect", "confidence")})
        found._counts = {share: [champion, challenger] for share, champion, challenger in state["counts"]}
        found._verdict, found._decided_after = state["verdict"], state["decided_after"]
        return found

    def _look(self, hits: npt.NDArray[np.bool_], shares: Floats) -> None:
        """Look after each of some events."""
        before = self._likelihood(self._ratios) - self._likelihood(self._nulls)[:, None]
        steps = np.empty((hits.size, *self._ratios.shape))
        for value in np.unique(shares):
            gains = [_log(self._ratios, value, hit) - _log(self._nulls, value, hit)[:, None] for hit in (False, True)]
            at = shares == value
            steps[at] = np.where(hits[at][:, None, None], gains[1], gains[0])
        evidence = mean_of_products(before + np.cumsum(steps, axis=0))
        reached = evidence >= -math.log1p(-self._settings["confidence"])
        if reached.any():
            first = int(reached.any(axis=1).argmax())
            self._verdict = self._names[int(reached[first].argmax())]
            self._decided_after = self.events + first + 1

    def _likelihood(self, ratios: Floats) -> Floats:
        """Return the log-likelihood of ratios, of all events so far, in the shape of `ratios`."""
        total = np.zeros_like(ratios)
        for share, (champion, challenger) in self._counts.items():
            total += champion * _log(ratios, share, False) + challenger * _log(ratios, share, True)
        return total


def _log(ratios: Floats, share: float, hit: bool) -> Floats:
    """Return the log-probability that an event lies in the challenger (hit), or in the champion."""
    of_challenger = share * ratios
    found: Floats = np.log((of_challenger if hit else 1 - share) / (of_challenger + 1 - share))
    return found


def mean_of_products(products: Floats) -> Floats:
    """Return the log of the mean over the last axis of exp(products)."""
    largest = products.max(axis=-1, keepdims=True)
    found: Floats = largest[..., 0] + np.log(np.exp(products - largest).mean(axis=-1))
    return found
