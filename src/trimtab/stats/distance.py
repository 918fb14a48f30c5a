"""The distance of each window from the pool of all the others, column by column.

With q the shares of a window, p the shares of all other windows together and n the rows of the window:

    ordered column    D = max over bins of |F_q - F_p|
    category column   D = max over bins of |q - p| / sqrt(p + 1/n)
"""

from __future__ import annotations

import numpy as np

from trimtab.stats.schemes import ABOVE, BELOW, MISSING, OTHER, Floats
from trimtab.stats.window_pool import Cells


def distances(cells: Cells) -> Floats:
    """Return D of every window and column, [w, d]."""
    n = cells.rows
    others = n.sum() - n
    # q - p = C_i / n_i - (T - C_i) / others, which is linear in the counts C_i and in their total T.
    own, pooled = (1 / n + 1 / others)[:, None, None], (1 / others)[:, None, None]
    totals = cells.category.sum(axis=0)
    p = pooled * (totals - cells.category)
    ordered = ordered_distances(own * cells.ordered - pooled * cells.ordered.sum(axis=0))
    category = category_distances(own * cells.category - pooled * totals, p, n)
    return np.concatenate([ordered, category], axis=1)


def ordered_distances(moved: Floats) -> Floats:
    """Return D from the differences F_q - F_p, [w, o, 35]."""
    largest: Floats = np.maximum(moved.max(axis=2), -moved.min(axis=2))
    return largest


def category_distances(moved: Floats, p: Floats, n: Floats) -> Floats:
    """Return D from the differences q - p, [w, c, 35]."""
    distance: Floats = (np.abs(moved) / np.sqrt(p + (1 / n)[:, None, None])).max(axis=2)
    return distance


def gross_counts(cells: Cells) -> Floats:
    """Return the rows far out of range, or with a category that the others do not have, [w, d]."""
    below = cells.ordered[:, :, BELOW] - cells.ordered[:, :, MISSING]
    above = cells.ordered[:, :, ABOVE] - cells.ordered[:, :, OTHER]
    return np.concatenate([below + above, cells.category[:, :, BELOW]], axis=1)


def pit_means(ordered: Floats) -> Floats:
    """Return the mean PIT, then the mean |PIT - 1/2|, of each window and ordered column, [w, 2o].

    PIT = the mid-rank of a value's bin among all values of all windows: 1/2 on average, more when values grow.
    """
    weights = pit_weights(ordered.sum(axis=0))
    # The sum of counts times weights, from cumulated counts: the weights become their differences.
    sums = np.einsum("wob,sob->wso", ordered, -np.diff(weights, append=0))
    valid = (ordered[:, :, ABOVE] - ordered[:, :, MISSING])[:, None]
    neutral = np.array([0.5, 0.25])[None, :, None]
    means = np.where(valid > 0, sums / np.maximum(valid, 1), neutral)
    return means.reshape(len(ordered), -1)


def pit_weights(total: Floats) -> Floats:
    """Return PIT and |PIT - 1/2| of each bin, [2, o, 35], 0 for missing; total is cumulated, [o, 35]."""
    under = np.maximum(total - total[:, MISSING, None], 0)
    middle = (under + np.concatenate([under[:, :1], under[:, :-1]], axis=1)) / 2
    pit = middle / np.maximum(under[:, -1:], 1)
    weights = np.stack([pit, np.abs(pit - 0.5)])
    weights[:, :, MISSING] = 0
    return weights


def valid_rows(ordered: Floats) -> Floats:
    """Return the rows with a value behind each signed statistic, [w, 2o]."""
    return np.tile(ordered[:, :, ABOVE] - ordered[:, :, MISSING], 2)
