"""Shapley values of any model by sampled permutations.

A walk turns a background row into the explained one, feature by feature in some order; the change of the score at each
step is that feature's contribution. The mean over all orders and background rows is the Shapley value of the game
v(S) = E[f(features in S of the row, all others of a background row)]; a sample of them estimates it: Castro, Gómez,
Tejada, "Polynomial calculation of the Shapley value based on sampling", Computers & Operations Research 36 (2009),
1726-1730. Each order is walked backwards, too (antithetic: Mitchell, Cooper, Frank, Holmes, "Sampling Permutations for
Shapley Value Estimation", JMLR 23 (2022)). A walk's gains add up to the score less the background row's, so the
contributions and the base always add up to the score, however few walks there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from trimtab.errors import DataError

Array = np.ndarray[Any, Any]

SEED = 20130101
"""Orders are the same for every row and every call, so that the same row has the same explanation."""
SCORES_A_ROW = 20_000
"""Most scores that are computed to explain one row."""
SCORES_A_CALL = 1_000_000
"""Most scores that are computed in one call."""
BLOCK = 8192
"""Most rows that are scored at once."""


def walks(features: int, background: int) -> int:
    """Return the number of background rows that are used, each with one order, forwards and backwards."""
    return max(1, min(background, SCORES_A_ROW // (2 * max(1, features - 1))))


def max_rows(features: int, background: int) -> int:
    """Return the largest number of rows that one call explains."""
    return max(1, SCORES_A_CALL // (2 * max(1, features - 1) * walks(features, background)))


def check_rows(rows: int, features: int, background: int) -> None:
    """Raise DataError for more rows than one call explains."""
    most = max_rows(features, background)
    if rows > most:
        raise DataError(f"{rows} rows are too many to be explained at once; at most {most} of {features} features")


def sampled(score: Callable[[Array], Array], X: Array, background: Array) -> tuple[Array, float]:
    """Return contributions, float64 (rows, features), and the base, which is the mean score of the background.

    score: takes float32 (n, features) and returns float64 (n,). X: float32 (rows, features). background: float32
    (k, features). Raises DataError for more rows than `max_rows`.
    """
    features = X.shape[1]
    check_rows(len(X), features, len(background))
    count = walks(features, len(background))
    used = background[np.linspace(0, len(background) - 1, count).astype(np.int64)]
    rng = np.random.default_rng(SEED)
    orders = [rng.permutation(features) for _ in range(count)]
    starts, ends = score(used), score(X) if len(X) else np.empty(0)
    values = np.zeros((len(X), features))
    for place, row in enumerate(X):
        values[place] = _explain(score, row, used, orders, starts, float(ends[place]))
    return values, float(starts.mean())


def _explain(
    score: Callable[[Array], Array], row: Array, used: Array, orders: list[Array], starts: Array, end: float
) -> Array:
    """Return the contributions of one row: the mean gain of each feature over all walks."""
    features = len(row)
    both = [walk for order in orders for walk in (order, order[::-1])]
    origins = np.repeat(used, 2, axis=0)
    ranks = np.empty((len(both), features), dtype=np.int64)
    for walk, order in enumerate(both):
        ranks[walk, order] = np.arange(features)
    # after step s the features of rank up to s are the row's own; the first and the last point are known
    steps = np.arange(features - 1)
    taken = ranks[:, None, :] <= steps[None, :, None]
    points = np.where(taken, row, origins[:, None, :]).reshape(-1, features).astype(np.float32, copy=False)
    found = _in_blocks(score, points).reshape(len(both), features - 1)
    path = np.column_stack([np.repeat(starts, 2), found, np.full(len(both), end)])
    gains = np.diff(path, axis=1)
    return np.asarray(np.take_along_axis(gains, ranks, axis=1).mean(axis=0))


def _in_blocks(score: Callable[[Array], Array], points: Array) -> Array:
    if not len(points):
        return np.empty(0)
    return np.concatenate([score(points[start : start + BLOCK]) for start in range(0, len(points), BLOCK)])
