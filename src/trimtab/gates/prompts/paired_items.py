"""The candidate and the champion on the same items: differences of an evaluator's scores, and their bounds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from trimtab.llm.evaluate.results import CANDIDATE, CHAMPION, Evaluation, ItemResult
from trimtab.stats.intervals import Interval
from trimtab.stats.paired.clustered import MIN_CLUSTERS, clustered_mean, clustered_p
from trimtab.stats.paired.pass_rates import bonett_price, mcnemar
from trimtab.stats.schemes import Floats


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The items that an evaluator has judged on both sides.

    Attributes:
        kind: whether the evaluator says pass or fail, or gives scores.
        items: those that count.
        candidate, champion: means over the repeats, from 0 to 1, [items].
        clusters: what each item belongs to, [items].
        repeats: answers to each item.
        no_verdict: answers of the candidate, and of the champion, that got none. The candidate's count as failed. The
            champion's are left out, with their item where it has no other.
    """

    kind: Literal["pass_fail", "score"]
    items: Sequence[ItemResult]
    candidate: Floats
    champion: Floats
    clusters: Sequence[str]
    repeats: int
    no_verdict: tuple[int, int]

    @property
    def d(self) -> Floats:
        """Candidate minus champion, [items]."""
        return self.candidate - self.champion

    @property
    def units(self) -> int:
        """Clusters."""
        return len(set(self.clusters))

    @property
    def is_clustered(self) -> bool:
        """True if some items belong together."""
        return self.units < len(self.items)

    @property
    def enough_clusters(self) -> bool:
        """True unless there are too few clusters to decide on."""
        return not self.is_clustered or self.units >= MIN_CLUSTERS

    @property
    def discordant(self) -> tuple[int, int]:
        """Items on which the candidate is better, and on which the champion is."""
        return int((self.d > 0).sum()), int((self.d < 0).sum())

    @property
    def is_exact(self) -> bool:
        """True if each item passes or fails once on each side, alone."""
        return self.kind == "pass_fail" and self.repeats == 1 and not self.is_clustered

    def bounds(self, confidence: float) -> Interval:
        """Return the mean difference with bounds of this confidence each.

        Verdicts: Bonett & Price (2012), whose two further items, one better and one worse, also stand for what few
        differing items hide where verdicts are repeated or clustered. Scores: t over clusters.
        """
        if self.is_exact:
            return bonett_price(len(self.items), *self.discordant, confidence=confidence)
        if self.kind == "score":
            return clustered_mean(self.d, self.clusters, confidence)
        added = clustered_mean([*self.d, 1.0, -1.0], [*self.clusters, "+", "-"], confidence)
        return Interval(float(self.d.mean()), added.low, added.high, added.confidence, self.units)

    def p_better(self) -> float:
        """Return the one-sided p-value of "the candidate is not better"."""
        return self._p(self.d, *self.discordant)

    def p_worse(self) -> float:
        """Return the one-sided p-value of "the candidate is not worse"."""
        better, worse = self.discordant
        return self._p(-self.d, worse, better)

    def _p(self, d: Floats, b: int, c: int) -> float:
        if self.is_exact:
            return mcnemar(b, c)
        if self.kind == "score" and np.ptp(d) > 0:
            return clustered_p(d, self.clusters)
        return clustered_p([*d, 1.0, -1.0], [*self.clusters, "+", "-"])  # no spread says nothing of chance

    def among(self, kept: npt.NDArray[np.bool_]) -> Paired:
        """Return the same of some of the items. kept: bool, [items]."""
        places: list[int] = np.flatnonzero(kept).tolist()
        return Paired(
            kind=self.kind,
            items=[self.items[n] for n in places],
            candidate=self.candidate[places],
            champion=self.champion[places],
            clusters=[self.clusters[n] for n in places],
            repeats=self.repeats,
            no_verdict=self.no_verdict,
        )


def paired(evaluation: Evaluation, name: str) -> Paired:
    """Return both sides by an evaluator."""
    items = evaluation.judged(name)
    given, champions = evaluation.scores(name, CANDIDATE), evaluation.scores(name, CHAMPION)
    missing = int(np.isnan(given).sum()), int(np.isnan(champions).sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an item without any verdict is left out below
        champion = np.nanmean(champions, axis=1)
    kept: list[int] = np.flatnonzero(~np.isnan(champion)).tolist()
    return Paired(
        kind=evaluation.judging(name).kind,
        items=[items[n] for n in kept],
        candidate=np.nan_to_num(given, nan=0.0).mean(axis=1)[kept],
        champion=champion[kept],
        clusters=[items[n].cluster for n in kept],
        repeats=evaluation.facts.repeats,
        no_verdict=missing,
    )
