"""Gathers what was scored, and sorts it into histograms from time to time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from trimtab.serving.core.routing import Variant
from trimtab.stats.distinct_counts import KEPT, smallest
from trimtab.stats.gateway_counts import LATENCY_BORDERS_US, PROBABILITY_BORDERS, VariantCounts, VariantKey
from trimtab.tasks import RULES

FIRST_SCORES = 1000
"""Scores that are no probabilities, in whatever role, that set the borders of its histogram."""
REGRESSION_BINS = 20
DISTINGUISHED_ROWS = 1024
"""One fold counts the different inputs of at most so many rows of a run, the newest, so that its cost is bounded."""

Words = np.ndarray[Any, np.dtype[np.uint64]]
Agree = Callable[[str, Sequence[float]], tuple[float, ...]]
"""Returns the borders of a model's histogram, given those that this worker proposes."""


class Tally:
    """Of one variant: what waits to be folded, and the counts that it is folded into."""

    __slots__ = ("counts", "errors", "failed", "late", "latencies", "model", "rows", "scores", "unbinned", "vectors")

    def __init__(self, model: str, counts: VariantCounts) -> None:
        self.model = model
        self.counts = counts
        self.rows = 0
        self.errors = 0
        self.failed = 0
        self.latencies: list[int] = []
        self.late: list[int] = []
        """Those latencies at which a fallback had answered already."""
        self.scores: list[float] = []
        self.vectors: list[np.ndarray[Any, Any]] = []
        """Of the same rows as the scores; empty where inputs are not told apart."""
        self.unbinned: list[float] = []
        """Scores that came before the borders were known."""


class Tallies:
    """The tallies of all variants. variants: the counts that they are folded into, taken on from a predecessor."""

    def __init__(self, variants: dict[VariantKey, VariantCounts], agree: Agree | None = None) -> None:
        self._variants = variants
        self._agree = agree
        self._tallies: dict[VariantKey, Tally] = {}
        self._borders = {key.model: counts.borders for key, counts in variants.items() if counts.borders}

    def of(self, variant: Variant, served: bool) -> Tally:
        """Return the tally of a variant."""
        spec = variant.bundle.spec
        key = VariantKey(spec.model, variant.bundle.version, variant.role, served)
        found = self._tallies.get(key)
        if found is None:
            counts = self._variants.setdefault(key, VariantCounts())
            counts.latency = counts.latency or [0] * (len(LATENCY_BORDERS_US) + 1)
            if RULES[spec.task].confidence is not None and not counts.borders:
                counts.borders, counts.scores = PROBABILITY_BORDERS, [0] * (len(PROBABILITY_BORDERS) + 1)
            found = self._tallies[key] = Tally(spec.model, counts)
        return found

    def set_borders(self, model: str, borders: Sequence[float]) -> None:
        """Set a regression's borders, unless they are known."""
        if model not in self._borders:
            self._borders[model] = tuple(borders) if self._agree is None else self._agree(model, borders)

    def fold(self, now: int) -> None:
        """Sort into histograms what was gathered. now: microseconds since the epoch."""
        for tally in self._tallies.values():
            if tally.rows:
                _fold(tally, now)
            if tally.unbinned:
                self._bin(tally)

    def forget(self, before: int) -> None:
        """Drop the variants that have scored nothing since a time in microseconds since the epoch."""
        for key in [key for key, counts in self._variants.items() if counts.last_at < before]:
            waiting = self._tallies.get(key)
            if waiting is None or not waiting.rows:
                self._tallies.pop(key, None)
                del self._variants[key]

    def _bin(self, tally: Tally) -> None:
        counts = tally.counts
        if not counts.borders:
            borders = self._borders_of(tally.model)
            if borders is None:
                return
            counts.borders, counts.scores = borders, [0] * (len(borders) + 1)
        histogram(counts.scores, counts.borders, np.array(tally.unbinned))
        tally.unbinned.clear()

    def _borders_of(self, model: str) -> tuple[float, ...] | None:
        if model not in self._borders:
            known = [score for tally in self._tallies.values() if tally.model == model for score in tally.unbinned]
            if len(known) < FIRST_SCORES:
                return None
            self.set_borders(model, equal_shares(known))
        return self._borders[model]


def equal_shares(scores: Sequence[float]) -> tuple[float, ...]:
    """Return borders between which equal shares of some scores lie; fewer where many scores are the same."""
    inner = np.quantile(np.array(scores), np.linspace(0, 1, REGRESSION_BINS + 1)[1:-1])
    return tuple(np.unique(inner).tolist())


def histogram(counts: list[int], borders: Sequence[float], values: np.ndarray[Any, Any]) -> None:
    """Add values to the counts of a histogram."""
    found = np.bincount(np.searchsorted(borders, values, side="left"), minlength=len(counts)).tolist()
    for place, count in enumerate(found):
        if count:
            counts[place] += count


def _fold(tally: Tally, now: int) -> None:
    counts = tally.counts
    counts.last_at = now
    counts.rows += tally.rows
    counts.errors += tally.errors
    counts.failed += tally.failed
    counts.requests += len(tally.latencies)
    latencies = np.array(tally.latencies, dtype=np.float64)
    counts.seconds += float(latencies.sum()) / 1e6
    histogram(counts.latency, LATENCY_BORDERS_US, latencies)
    tally.rows = tally.errors = tally.failed = 0
    tally.latencies.clear()
    if tally.late:
        counts.late = counts.late or [0] * (len(LATENCY_BORDERS_US) + 1)
        histogram(counts.late, LATENCY_BORDERS_US, np.array(tally.late, dtype=np.float64))
        tally.late.clear()
    if tally.scores:
        scores = np.array(tally.scores, dtype=np.float64)
        vectors, tally.vectors = tally.vectors, []
        tally.scores.clear()
        usable = np.flatnonzero(np.isfinite(scores))
        counts.non_finite += len(scores) - len(usable)
        if len(usable):
            finite = scores[usable]
            tail, goes_on = _run(counts, finite)
            if vectors:
                newest = usable[-min(tail, DISTINGUISHED_ROWS) :] - len(scores)  # places from the end
                inputs = np.unique(_last(vectors, -int(newest[0]))[newest])
                counts.run_inputs = smallest(counts.run_inputs if goes_on else (), inputs[:KEPT].tolist())
            tally.unbinned += finite.tolist()


def _run(counts: VariantCounts, scores: np.ndarray[Any, Any]) -> tuple[int, bool]:
    """Note the run at the end of some scores; return how many of them it has, and whether it began before them."""
    last = float(scores[-1])
    changes = np.flatnonzero(scores[1:] != scores[:-1])
    tail = len(scores) - 1 - int(changes[-1]) if len(changes) else len(scores)
    goes_on = tail == len(scores) and counts.run_score == last
    counts.run = tail + (counts.run if goes_on else 0)
    counts.run_score = last
    return tail, goes_on


def _last(vectors: Sequence[np.ndarray[Any, Any]], rows: int) -> np.ndarray[Any, Any]:
    """Return the fingerprints of the last so many rows."""
    taken: list[np.ndarray[Any, Any]] = []
    missing = rows
    while missing > 0:
        taken.append(vectors[-1 - len(taken)])
        missing -= len(taken[-1])
    return fingerprints(taken[::-1])[-rows:]


def fingerprints(vectors: Sequence[np.ndarray[Any, Any]]) -> Words:
    """Return one number for each row of float32 matrices (rows, features): equal rows have equal numbers.

    Each 32-bit word of a row times a fixed odd number, added up modulo 2^64 (multilinear hashing: Dietzfelbinger 1996),
    then mixed by the finalizer of SplitMix64 (Steele et al. 2014) so that the numbers are evenly spread. All workers
    compute the same numbers; two different rows share one with negligible probability.
    """
    if len({matrix.shape[1] for matrix in vectors}) > 1:
        return np.concatenate([fingerprints([matrix]) for matrix in vectors])
    rows = np.ascontiguousarray(vectors[0] if len(vectors) == 1 else np.concatenate(vectors), dtype=np.float32)
    return _mixed((rows.view(np.uint32) * _factors(rows.shape[1])).sum(axis=1, dtype=np.uint64))


@lru_cache(maxsize=32)
def _factors(features: int) -> Words:
    return _mixed(np.arange(1, features + 1, dtype=np.uint64)) | np.uint64(1)


def _mixed(words: Words) -> Words:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
