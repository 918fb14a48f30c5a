"""Sampled Shapley values: near the exact ones, and adding up in any case."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.runtimes.shapley import SCORES_A_CALL, SCORES_A_ROW, max_rows, sampled, walks

Array = np.ndarray[Any, Any]


def exact(score: Any, row: Array, background: Array) -> Array:
    """Shapley values by their definition, over all coalitions."""
    d = len(row)

    def worth(members: tuple[int, ...]) -> float:
        rows = background.copy()
        rows[:, list(members)] = row[list(members)]
        return float(score(rows).mean())

    found = np.zeros(d)
    for feature in range(d):
        others = [other for other in range(d) if other != feature]
        for size in range(d):
            weight = factorial(size) * factorial(d - size - 1) / factorial(d)
            for members in combinations(others, size):
                found[feature] += weight * (worth((*members, feature)) - worth(members))
    return found


def curved(rows: Array) -> Array:
    """A score with interactions of two and three features."""
    x = rows.astype(np.float64)
    return np.asarray(x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + x[:, 0] * x[:, 2] * x[:, 3] + 0.5 * x[:, 3])


def test_they_are_near_the_exact_values() -> None:
    rng = np.random.default_rng(1)
    background, X = rng.normal(size=(100, 4)).astype(np.float32), rng.normal(size=(10, 4)).astype(np.float32)
    found, base = sampled(curved, X, background)
    wanted = np.array([exact(curved, row, background) for row in X])
    assert base == pytest.approx(curved(background).mean())
    assert np.abs(found - wanted).max() < 0.25 * np.abs(wanted).max()
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99


def test_what_adds_up_feature_by_feature_is_exact() -> None:
    rng = np.random.default_rng(2)
    background, X = rng.normal(size=(30, 3)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)

    def additive(rows: Array) -> Array:
        x = rows.astype(np.float64)
        return np.asarray(x[:, 0] ** 2 - 3 * x[:, 1] + np.exp(x[:, 2]))

    found, _ = sampled(additive, X, background)
    np.testing.assert_allclose(found, [exact(additive, row, background) for row in X], atol=1e-12)


def test_two_features_are_exact_because_both_orders_are_walked() -> None:
    rng = np.random.default_rng(3)
    background, X = rng.normal(size=(20, 2)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)

    def product(rows: Array) -> Array:
        return np.asarray(rows[:, 0].astype(np.float64) * rows[:, 1])

    np.testing.assert_allclose(
        sampled(product, X, background)[0], [exact(product, row, background) for row in X], atol=1e-12
    )


@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 6), st.integers(0, 2**31))
def test_contributions_and_base_add_up_to_the_score(features: int, background: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=features)

    def score(X: Array) -> Array:
        return np.asarray(np.tanh(np.nan_to_num(X.astype(np.float64)) @ weights) ** 3)

    X = rng.normal(size=(rows, features)).astype(np.float32)
    X[rng.random(X.shape) < 0.2] = np.nan
    found, base = sampled(score, X, rng.normal(size=(background, features)).astype(np.float32))
    assert found.shape == (rows, features)
    np.testing.assert_allclose(base + found.sum(axis=1), score(X), atol=1e-12)


def test_the_same_row_is_explained_alike_alone_and_among_others() -> None:
    rng = np.random.default_rng(4)
    background, X = rng.normal(size=(50, 4)).astype(np.float32), rng.normal(size=(6, 4)).astype(np.float32)
    together, _ = sampled(curved, X, background)
    for place in range(len(X)):
        np.testing.assert_array_equal(sampled(curved, X[place : place + 1], background)[0][0], together[place])


def test_a_feature_that_nobody_looks_at_adds_nothing() -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(3, 5)).astype(np.float32)
    found, _ = sampled(curved, X, rng.normal(size=(10, 5)).astype(np.float32))
    assert (found[:, 4] == 0).all()


@given(st.integers(1, 5000), st.integers(1, 200))
def test_the_work_is_bounded(features: int, background: int) -> None:
    scores = 2 * max(1, features - 1) * walks(features, background)
    assert scores <= max(SCORES_A_ROW, 2 * features)
    assert scores * max_rows(features, background) <= max(SCORES_A_CALL, scores)


def test_more_rows_than_the_bound_are_refused() -> None:
    most = max_rows(4, 100)
    with pytest.raises(DataError, match=f"at most {most} of 4 features"):
        sampled(curved, np.zeros((most + 1, 4), dtype=np.float32), np.zeros((100, 4), dtype=np.float32))
