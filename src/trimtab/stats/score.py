"""Scores of windows, each against the pool of all the others (full conformal).

With D the distance of a column (distance.py), g its share of gross or unseen rows, n the rows of the window, and
D(n) and g(n) what windows of n rows usually have (size.py):

    its score         s = log(D + 0.5 / sqrt(n)) - log(D(n) + 0.5 / sqrt(n))
    a second one      log(g + 3/n) - log(g(n) + 3/n)
    window score      S = the largest leave-one-out z-score of s over columns (standard deviation floored at 0.2)

Every window is treated alike, the newest included: exchangeable windows get exchangeable scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trimtab.stats.distance import distances, gross_counts, pit_means, valid_rows
from trimtab.stats.schemes import Floats
from trimtab.stats.size import SizeEffect
from trimtab.stats.window_pool import Cells

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
    """[w, 2o]: mean PIT of each ordered column, then mean |PIT - 1/2|, in their standard deviations."""


def score(cells: Cells, effect: SizeEffect) -> Scores:
    """Return the scores of all windows; needs at least three of them, each with a row or more."""
    distance = np.concatenate([distance_scores(cells, effect), gross_scores(cells)], axis=1)
    z = leave_one_out_z(distance)
    signed = effect.standardized(pit_means(cells.ordered, cells.total_shares()[0]), valid_rows(cells))
    return Scores(distance, z, z.max(axis=1), signed)


def distance_scores(cells: Cells, effect: SizeEffect) -> Floats:
    """Return s of every window and column, [w, d]."""
    prior = DISTANCE_PRIOR / np.sqrt(cells.rows)
    s: Floats = np.log((distances(cells).T + prior) / (effect.distance(cells.rows).T + prior)).T
    return s


def gross_scores(cells: Cells) -> Floats:
    """Return the gross score of every window and column, [w, d]; what is usual is the share of all windows."""
    gross = gross_counts(cells).T
    usual = gross.sum(axis=1, keepdims=True) / cells.rows.sum()
    s: Floats = np.log((gross + GROSS_PRIOR) / (usual * cells.rows + GROSS_PRIOR)).T
    return s


def leave_one_out_z(values: Floats, *, sd_floor: float = SD_FLOOR) -> Floats:
    """Return how many standard deviations of the others each window lies above the mean of the others; [w, ...]."""
    others = len(values) - 1
    centred = values - values.mean(axis=0)
    squares = centred * centred
    mean = centred.sum(axis=0) - centred
    mean /= others
    variance = np.subtract(squares.sum(axis=0), squares, out=squares)
    variance /= others
    variance -= mean * mean
    np.maximum(variance, 0, out=variance)
    variance *= others / max(others - 1, 1)
    sd = np.sqrt(variance, out=variance)
    z: Floats = np.subtract(centred, mean, out=centred)
    z /= np.maximum(sd, sd_floor, out=sd)
    return z
