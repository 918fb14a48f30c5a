"""How well a judge agrees with people, and with itself. Verdicts are 1 (pass) and 0 (fail)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.intervals import Interval, cluster_interval, wilson
from trimtab.stats.paired.pass_rates import one_sided, two_sided
from trimtab.stats.schemes import Floats, Ints, as_floats

RESAMPLES = 4_000
NOWHERE = Interval(math.nan, math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Verdicts of a judge compared with those of people on the same turns."""

    n: int
    agreement: float
    """Share of equal verdicts."""
    base_rate: float
    """Share that people pass."""
    constant_agreement: float
    """Agreement of the answer that is always the more frequent verdict of people."""
    kappa: Interval
    sensitivity: Interval
    """Share that the judge passes of those that people pass; NaN without any."""
    specificity: Interval
    """Share that the judge fails of those that people fail; NaN without any."""


def agreement(judge: npt.ArrayLike, person: npt.ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Agreement:
    """Return how far a judge agrees with people.

    Args:
        judge: verdicts 0 and 1, [turns].
        person: verdicts 0 and 1 on the same turns, [turns].
        confidence: of each bound.
        seed: of the bootstrap of kappa.

    Returns:
        Agreement, base rate, kappa with its bootstrap bounds, sensitivity and specificity with Wilson's.

    Raises:
        DataError: without turns, for arrays of different lengths, and for other values than 0 and 1.

    >>> found = agreement([1, 1, 0, 0, 1, 1], [1, 1, 0, 1, 1, 0])
    >>> round(found.agreement, 3), round(found.constant_agreement, 3), round(found.kappa.value, 2)
    (0.667, 0.667, 0.25)
    """
    f, y = _verdicts(judge, person)
    of_passed, of_failed = (
        wilson(int(same.sum()), same.size, confidence=two_sided(confidence)) if same.size else NOWHERE
        for same in (f[y == 1] == 1, f[y == 0] == 0)
    )
    base = float(y.mean())
    return Agreement(
        n=y.size,
        agreement=float((f == y).mean()),
        base_rate=base,
        constant_agreement=max(base, 1 - base),
        kappa=kappa(f, y, confidence=confidence, seed=seed),
        sensitivity=of_passed,
        specificity=of_failed,
    )


def kappa(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return Cohen's kappa, agreement beyond that of chance: (po - pe) / (1 - pe).

    Args:
        one: verdicts 0 and 1, [turns].
        other: verdicts 0 and 1 on the same turns, [turns].
        confidence: of each bound.
        resamples: of the bootstrap, 100 or more.
        seed: of the bootstrap; equal seeds give equal bounds.

    Returns:
        Kappa with percentile bounds of resampled turns. All is NaN where both give one and the same verdict to all
        turns, as chance alone would agree then; a resample of this kind counts as 0.

    Raises:
        DataError: without turns, for arrays of different lengths, for other values than 0 and 1, and for settings out
            of range.

    >>> verdicts = [1, 1, 0, 1, 0, 1, 1, 0] * 10
    >>> found = kappa(verdicts, [1, 1, 0, 1, 0, 0, 1, 0] * 10)
    >>> f"{found.value:.2f}", 0.5 < found.low < found.value < found.high
    ('0.75', True)

    Source: J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20
    (1960).
    """
    one_sided(confidence)
    if resamples < 100:
        raise DataError(f"{resamples} resamples: expected 100 or more")
    f, y = _verdicts(one, other)
    cells = np.bincount(2 * f.astype(np.int64) + y.astype(np.int64), minlength=4)
    value = float(_kappa(cells[None])[0])
    if not math.isfinite(value):
        return Interval(math.nan, math.nan, math.nan, two_sided(confidence), y.size)
    drawn = np.random.default_rng(seed).multinomial(y.size, cells / y.size, size=resamples)
    low, high = np.quantile(np.nan_to_num(_kappa(drawn)), (1 - confidence, confidence))
    return Interval(value, float(low), float(high), two_sided(confidence), y.size)


def flips(first: npt.ArrayLike, second: npt.ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Return the share of verdicts that a second run of the same judge changed, with Wilson's bounds.

    Args:
        first: verdicts 0 and 1, [turns].
        second: verdicts of the second run on the same turns, [turns].
        confidence: of each bound.

    Returns:
        The share.

    Raises:
        DataError: without turns, for arrays of different lengths, and for other values than 0 and 1.

    >>> flips([1, 0, 1, 1], [1, 1, 1, 1]).value
    0.25
    """
    f, y = _verdicts(first, second)
    return wilson(int((f != y).sum()), y.size, confidence=two_sided(confidence))


def length_slope(
    judge: npt.ArrayLike, person: npt.ArrayLike, lengths: npt.ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Return by how much judge minus person changes for an answer of twice the length: above 0 = prefers long answers.

    Args:
        judge: verdicts or scores, [turns].
        person: those of people on the same turns, [turns].
        lengths: of the answers in characters or tokens, 1 or more, [turns].
        confidence: of each bound.

    Returns:
        Slope of least squares on log2 of the length, with bounds from leaving out each turn in turn. All is NaN where
        fewer than three turns or a single length is known.

    Raises:
        DataError: without turns, for arrays of different lengths, and for lengths below 1.

    >>> found = length_slope([0, 1, 0, 1, 1, 1], [1, 0, 0, 1, 0, 0], [10, 40, 20, 80, 300, 500])
    >>> f"{found.value:.2f}"
    '0.29'
    """
    f, y, size = (as_floats(x).astype(np.float64).ravel() for x in (judge, person, lengths))
    if not f.size or not f.size == y.size == size.size or not (size >= 1).all():
        raise DataError(
            f"{f.size} and {y.size} verdicts, {size.size} lengths: expected as many of each, and lengths of 1 or more"
        )
    gap, x = f - y, np.log2(size)

    def slope(rows: Ints) -> float:
        centred = x[rows] - x[rows].mean()
        squares = float(centred @ centred)
        return float(centred @ gap[rows]) / squares if squares > 0 else math.nan

    if f.size < 3 or not math.isfinite(slope(np.arange(f.size))):
        return Interval(math.nan, math.nan, math.nan, two_sided(confidence), f.size)
    return cluster_interval(slope, f.size, confidence=two_sided(confidence))


def _verdicts(one: npt.ArrayLike, other: npt.ArrayLike) -> tuple[Floats, Floats]:
    f, y = (as_floats(x).astype(np.float64).ravel() for x in (one, other))
    if not f.size or f.size != y.size or not all(np.isin(x, (0.0, 1.0)).all() for x in (f, y)):
        raise DataError(
            f"{f.size} and {y.size} verdicts: expected as many of each, one or more, and the values 0 and 1 alone"
        )
    return f, y


def _kappa(cells: Ints) -> Floats:
    """Return kappa of tables [..., 4] of counts: both 0, the second alone, the first alone, both 1."""
    n = cells.sum(axis=-1)
    one, other = (cells[..., 2] + cells[..., 3]) / n, (cells[..., 1] + cells[..., 3]) / n
    observed = (cells[..., 0] + cells[..., 3]) / n
    by_chance = one * other + (1 - one) * (1 - other)
    with np.errstate(invalid="ignore", divide="ignore"):
        values: Floats = np.where(by_chance < 1, (observed - by_chance) / (1 - by_chance), np.nan)
    return values
