"""Effect sizes of one window against the pool: how much changed, in addition to how surely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trimtab.stats.schemes import BELOW, MISSING, SLOTS, Floats, Ints, NumericBins

PSI_PRIOR = 0.5


def shares_moved(window: Ints, pool: Ints, ordered: int) -> Floats:
    """Return the largest share that moved, per column, [d]; counts are [d, 35], ordered columns first.

    Ordered: across any one threshold (the Kolmogorov-Smirnov distance). Category: into or out of one category.
    """
    moved = _shares(window) - _shares(pool)
    moved[:ordered] = moved[:ordered].cumsum(axis=1)
    largest: Floats = np.abs(moved).max(axis=1)
    return largest


def stability_index(window: Ints, pool: Ints) -> Floats:
    """Return the population stability index per column, [d]: sum of (q - p) ln(q / p) over the 35 slots.

    The shares of both are drawn a little towards those of both together, so that a slot that one of them lacks has a
    finite part. A slot empty in both adds nothing, and equal shares give 0.
    """
    prior = PSI_PRIOR * SLOTS
    rows, pool_rows = window.sum(axis=1, keepdims=True), pool.sum(axis=1, keepdims=True)
    together = (window + pool) / np.maximum(rows + pool_rows, 1)
    p, q = (pool + prior * together) / (pool_rows + prior), (window + prior * together) / (rows + prior)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(together > 0, (q - p) * np.log(q / p), 0.0)
    index: Floats = parts.sum(axis=1)
    return index


def wasserstein(window: Ints, pool: Ints, spans: Floats) -> Floats:
    """Return the Wasserstein distance of ordered columns in reference standard deviations, [o]; NaN for a constant.

    `spans` [o, 35] are `cut_spans` of the schemes. From binned values: a gross value counts as standing at the gross
    limit, so after a change of unit the distance is a lower bound.
    """
    distance: Floats = (np.abs(_cumulative(window) - _cumulative(pool)) * spans).sum(axis=1)
    return distance


def cut_spans(schemes: Sequence[NumericBins]) -> Floats:
    """Return, for the cut after each slot, the width over which its difference counts, in standard deviations."""
    spans = np.zeros((len(schemes), SLOTS))
    for place, bins in enumerate(schemes):
        inner = np.clip(bins.edges, bins.floor, bins.ceiling)
        # Where each bin's difference hands over to the next one's; values of a discrete column have no inside.
        first = (bins.floor + inner[0]) / 2 if inner.size and not bins.discrete else bins.floor
        last = (bins.ceiling + inner[-1]) / 2 if inner.size and not bins.discrete else bins.ceiling
        limits = [bins.low, first, *((inner[:-1] + inner[1:]) / 2), last, bins.high]
        widths = np.diff(limits) if inner.size else np.array([bins.floor - bins.low, bins.high - bins.ceiling])
        spans[place, BELOW : BELOW + len(widths) - 1] = widths[:-1]
        spans[place, -2] += widths[-1]
        spans[place] /= bins.sd or np.nan
    return spans


def _shares(counts: Ints) -> Floats:
    shares: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _cumulative(counts: Ints) -> Floats:
    valid = counts.copy()
    valid[:, MISSING] = 0
    return _shares(valid).cumsum(axis=1)
