"""Scores of windows, each against the pool of all the others (full conformal). sequential.py calls it at every step.

With q the shares of a window, p the shares of all other windows together and n the rows of the window:

    ordered column    D = max over bins of |F_q - F_p|
    category column   D = max over bins of |q - p| / sqrt(p + 1/n)
    its score         s = log(D + 0.5 / sqrt(n)), and a second one, log(gross or unseen share + 3/n)
    window score      S = the largest leave-one-out z-score of s over columns (standard deviation floored at 0.2)

Every window is treated alike, the newest included: exchangeable windows get exchangeable scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trimtab.stats.schemes import ABOVE, BELOW, MISSING, OTHER, Floats
from trimtab.stats.table import Cells

SD_FLOOR = 0.2
GROSS_PRIOR = 3.0
DISTANCE_PRIOR = 0.5


class Scores(NamedTuple):
    """Scores of w windows over d columns (ordered first), o of them ordered."""

    distance: Floats
    """[w, 2d]: s of each column, then the gross score of each column."""
    z: Floats
    """[w, 2d]: leave-one-out z-scores of `distance`."""
    largest: Floats
    """[w]: S, the window score."""
    signed: Floats
    """[w, 2o]: mean PIT of each ordered column, then mean |PIT - 1/2|."""


def score(cells: Cells) -> Scores:
    """Return the scores of all windows; needs at least three of them, each with a row or more."""
    distance = column_scores(cells)
    z = leave_one_out_z(distance)
    return Scores(distance, z, z.max(axis=1), pit_means(cells.ordered))


def column_scores(cells: Cells) -> Floats:
    """Return s and the gross score of every window and column, [w, 2d]."""
    n = cells.rows
    others = n.sum() - n
    # q - p = C_i / n_i - (T - C_i) / others, which is linear in the counts C_i and in their total T.
    own, pooled = (1 / n + 1 / others)[:, None, None], (1 / others)[:, None, None]
    moved = own * cells.ordered - pooled * cells.ordered.sum(axis=0)
    ordered = np.maximum(moved.max(axis=2), -moved.min(axis=2))
    totals = cells.category.sum(axis=0)
    p = pooled * (totals - cells.category)
    standard = np.abs(own * cells.category - pooled * totals) / np.sqrt(p + (1 / n)[:, None, None])
    category = standard.max(axis=2)
    below = cells.ordered[:, :, BELOW] - cells.ordered[:, :, MISSING]
    above = cells.ordered[:, :, ABOVE] - cells.ordered[:, :, OTHER]
    gross = np.concatenate([below + above, cells.category[:, :, BELOW]], axis=1) / n[:, None]
    return np.concatenate(
        [
            np.log(np.concatenate([ordered, category], axis=1) + (DISTANCE_PRIOR / np.sqrt(n))[:, None]),
            np.log(gross + (GROSS_PRIOR / n)[:, None]),
        ],
        axis=1,
    )


def leave_one_out_z(values: Floats, *, sd_floor: float = SD_FLOOR) -> Floats:
    """Return how many standard deviations of the others each window lies above the mean of the others; [w, ...]."""
    others = len(values) - 1
    centred = values - values.mean(axis=0)
    squares = centred * centred
    mean = (centred.sum(axis=0) - centred) / others
    variance = (squares.sum(axis=0) - squares) / others - mean * mean
    sd = np.sqrt(np.maximum(variance, 0) * others / max(others - 1, 1))
    z: Floats = (centred - mean) / np.maximum(sd, sd_floor)
    return z


def pit_means(ordered: Floats) -> Floats:
    """Return the mean PIT, then the mean |PIT - 1/2|, of each window and ordered column, [w, 2o].

    PIT = the mid-rank of a value's bin among all values of all windows: 1/2 on average, more when values grow.
    """
    valid = ordered[:, :, ABOVE] - ordered[:, :, MISSING]
    total = ordered.sum(axis=0)
    under = np.maximum(total - total[:, MISSING, None], 0)
    middle = (under + np.concatenate([under[:, :1], under[:, :-1]], axis=1)) / 2
    pit = middle / np.maximum(under[:, -1:], 1)
    weights = np.stack([pit, np.abs(pit - 0.5)])
    weights[:, :, MISSING] = 0
    # The sum of counts times weights, told by cumulated counts: the weights become their differences.
    steps = -np.diff(weights, append=0)
    sums = np.einsum("wob,sob->wso", ordered, steps)
    neutral = np.array([0.5, 0.25])[None, :, None]
    means = np.where(valid[:, None] > 0, sums / np.maximum(valid, 1)[:, None], neutral)
    return means.reshape(len(ordered), -1)
