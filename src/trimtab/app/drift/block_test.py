"""A permutation test of blocks of rows: does it matter which blocks come from the current table?

Two tables without times are compared once, so no sequential evidence is needed. If nothing changed, the blocks of both
tables are exchangeable; then the largest standardised distance of a column is as likely under every other choice of as
many blocks. Columns get p-values of the same maximum (Westfall & Young 1993, single step), which are adjusted for the
number of columns. Where near blocks of the reference resemble one another, so many of them are kept together as the
autocorrelation time says; that this is enough is a heuristic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.stats.autocorrelation import autocorrelation_time
from trimtab.stats.distance import category_distances, ordered_distances, pit_means
from trimtab.stats.effects import cut_spans, shares_moved, wasserstein
from trimtab.stats.profile import WindowProfile
from trimtab.stats.schemes import ABOVE, BELOW, Bins, Floats, Ints, NumericBins
from trimtab.stats.smallest import SMALLEST
from trimtab.stats.window_pool import WindowPool

PERMUTATIONS = 1_999
AT_A_TIME = 200
KEPT_TOGETHER = 0.75
"""Quantile over columns of the autocorrelation time, in blocks."""


@dataclass(frozen=True, kw_only=True)
class BlockTest:
    """The result."""

    p: float
    columns: dict[str, float]
    """By column, adjusted for the number of columns."""
    kept_together: int
    """Blocks that count as one."""


def block_test(
    reference: Sequence[WindowProfile], current: Sequence[WindowProfile], schemes: Mapping[str, Bins], *, seed: int
) -> BlockTest:
    """Test whether current blocks differ from reference blocks of as many rows.

    A column that changed by less than the smallest effect that counts (`stats.smallest`) has p = 1.
    """
    pool = WindowPool(schemes)
    before = np.array([pool.encode(window, reference=True).counts for window in reference])
    now = np.array([pool.encode(window).counts for window in current])
    length = min(_together(before, pool.ordered), max(1, len(now)), max(1, len(before) // 8))
    blocks = np.concatenate([_merged(before, length), _merged(now, length)]).astype(np.float64)
    chosen = np.zeros(len(blocks), bool)
    chosen[len(_merged(before, length)) :] = True
    random = np.random.default_rng(seed)
    found = [_statistics(blocks, chosen[None], pool.ordered)]
    for start in range(0, PERMUTATIONS, AT_A_TIME):
        drawn = random.permuted(np.tile(chosen, (min(AT_A_TIME, PERMUTATIONS - start), 1)), axis=1)
        found.append(_statistics(blocks, drawn, pool.ordered))
    statistics = np.concatenate(found)
    sd = statistics.std(axis=0)
    z = (statistics - statistics.mean(axis=0)) / np.where(sd > 0, sd, np.inf)
    z = np.maximum(*np.split(z, 2, axis=1))  # distance and gross share of a column
    counts = _enough(before.sum(axis=0), now.sum(axis=0), pool)
    largest = z.max(axis=1)
    each = np.array([np.mean(largest >= value - 1e-9) for value in z[0]])
    columns = np.where(counts, each, 1.0)
    return BlockTest(
        p=float(columns.min()), columns=dict(zip(pool.names, columns.tolist(), strict=True)), kept_together=length
    )


def _statistics(blocks: Floats, chosen: np.ndarray, ordered: int) -> Floats:
    """Return the distance, then the gross share, of each column between chosen blocks and the others, [p, 2d]."""
    flat = blocks.reshape(len(blocks), -1)
    now = (chosen.astype(np.float64) @ flat).reshape(len(chosen), *blocks.shape[1:])
    before = flat.sum(axis=0).reshape(blocks.shape[1:]) - now
    rows = now.sum(axis=2, keepdims=True)
    q, p = now / rows, before / before.sum(axis=2, keepdims=True)
    moved = q - p
    distance = [
        ordered_distances(moved[:, :ordered].cumsum(axis=2).T),
        category_distances(moved[:, ordered:].T, p[:, ordered:].T, rows[:, 0, 0]),
    ]
    gross = moved[:, :, BELOW].copy()
    gross[:, :ordered] += moved[:, :ordered, ABOVE]
    return np.concatenate([*distance, gross], axis=1)


def _enough(before: Ints, now: Ints, pool: WindowPool) -> np.ndarray:
    """Return which columns changed by as much as counts, [d]."""
    ordered = pool.ordered
    spans = cut_spans([bins for bins in pool.schemes.values() if isinstance(bins, NumericBins)])
    distances = wasserstein(now[:ordered], before[:ordered], spans) if ordered else np.zeros(0)
    return SMALLEST.columns(shares_moved(now, before, ordered), distances, now, before)


def _together(blocks: Ints, ordered: int) -> int:
    """Return how many neighbouring blocks resemble one another."""
    values = []
    if ordered:
        shares = (blocks[:, :ordered].cumsum(axis=2) / blocks[:, :ordered].sum(axis=2, keepdims=True)).T
        values.append(pit_means(shares, blocks[:, :ordered].sum(axis=0).cumsum(axis=1).T)[:, :ordered])
    values.append(blocks[:, ordered:].max(axis=2).astype(np.float64))
    times = [autocorrelation_time(column) for part in values for column in part.T]
    return max(1, round(float(np.quantile(times, KEPT_TOGETHER))))


def _merged(blocks: Ints, length: int) -> Ints:
    """Return blocks added up by groups of neighbours; a short last group joins the one before it."""
    starts = np.arange(0, max(1, len(blocks) // length) * length, length)
    merged: Ints = np.add.reduceat(blocks, starts, axis=0)
    return merged
