"""The distance of each window from the pool of all the others, column by column.

With q the shares of a window, p the shares of all other windows together and n the rows of the window:

    ordered column    D = max over bins of |F_q - F_p|
    category column   D = max over bins of |q - p| / sqrt(p + 1/n)

With t the shares of all windows and s the window's part of all rows, q - p = (q - t) / (1 - s) and
p = (t - s q) / (1 - s). Shares are laid out [35, columns, windows], so that each step runs along the windows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trimtab.stats.schemes import ABOVE, BELOW, MISSING, OTHER, SLOTS, Floats
from trimtab.stats.window_pool import Cells

CACHED_NUMBERS = 32_768
"""256 KB: half of the second-level cache of an ordinary processor."""


def distances(cells: Cells) -> Floats:
    """Return D of every window and column, [w, d]."""
    n = cells.rows
    part = n / n.sum()
    ordered, category = cells.total_shares()
    found = [np.zeros((n.size, 0))]
    for columns in _column_blocks(cells.ordered):
        moved = cells.ordered[:, columns] - ordered[:, columns, None]
        found.append(ordered_distances(moved) / (1 - part)[:, None])
    for columns in _column_blocks(cells.category):
        q, t = cells.category[:, columns], category[:, columns, None]
        found.append(category_distances(q - t, t - part * q, n / (1 - part)) / np.sqrt(1 - part)[:, None])
    return np.concatenate(found, axis=1)


def ordered_distances(moved: Floats) -> Floats:
    """Return D, [w, o], from the differences F_q - F_p, [35, o, w]."""
    largest: Floats = np.abs(moved).max(axis=0).T
    return largest


def category_distances(moved: Floats, p: Floats, n: Floats) -> Floats:
    """Return D, [w, c], from the differences q - p and from p, [35, c, w]; n is [w]."""
    distance: Floats = np.sqrt((moved * moved / (p + 1 / n)).max(axis=0)).T
    return distance


def gross_counts(cells: Cells) -> Floats:
    """Return the rows far out of range, or with a category that the others do not have, [w, d]."""
    below = cells.ordered[BELOW] - cells.ordered[MISSING]
    above = cells.ordered[ABOVE] - cells.ordered[OTHER]
    return _counts(np.concatenate([below + above, cells.category[BELOW]]).T, cells.rows)


def pit_means(ordered: Floats, total: Floats) -> Floats:
    """Return the mean PIT, then the mean |PIT - 1/2|, of each window and ordered column, [w, 2o].

    PIT = the mid-rank of a value's bin among all values of all windows: 1/2 on average, more when values grow.
    Windows of equal shares tie exactly.

    Args:
        ordered: cumulated shares of windows, [35, o, w].
        total: cumulated counts, or shares, of all windows, [35, o].
    """
    # The sum of shares times weights, from cumulated shares: the weights become their differences.
    sums = np.einsum("bow,sbo->sow", ordered, -np.diff(pit_weights(total), axis=1, append=0))
    valid = ordered[ABOVE] - ordered[MISSING]
    some = valid > 0
    neutral = np.array([0.5, 0.25])[:, None, None]
    means: Floats = np.where(some, sums / np.where(some, valid, 1), neutral)
    return means.reshape(-1, ordered.shape[2]).T


def pit_weights(total: Floats) -> Floats:
    """Return PIT and |PIT - 1/2| of each bin, [2, 35, o], 0 for missing; total is cumulated, [35, o]."""
    under = np.maximum(total - total[MISSING], 0)
    middle = (under + np.concatenate([under[:1], under[:-1]])) / 2
    pit = middle / np.where(under[-1] > 0, under[-1], 1)
    weights = np.stack([pit, np.abs(pit - 0.5)])
    weights[:, MISSING] = 0
    return weights


def valid_rows(cells: Cells) -> Floats:
    """Return the rows with a value behind each signed statistic, [w, 2o]."""
    return _counts(np.tile(cells.ordered[ABOVE] - cells.ordered[MISSING], (2, 1)).T, cells.rows)


def _counts(shares: Floats, rows: Floats) -> Floats:
    """Return whole numbers of rows, [w, ...], from shares of windows: equal counts tie exactly."""
    counts: Floats = np.rint(shares * rows[:, None])
    return counts


def _column_blocks(shares: Floats) -> Iterator[slice]:
    """Yield places of so many columns that what is computed from them stays in the processor's cache."""
    columns = max(1, CACHED_NUMBERS // max(1, SLOTS * shares.shape[2]))
    for start in range(0, shares.shape[1], columns):
        yield slice(start, start + columns)
