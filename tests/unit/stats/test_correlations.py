"""Sums of products merge to the same bits in any order, and give the correlations of the levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.stats.correlations import BLOCK_ROWS, LEVELS, MOST_PAIRS, Correlations, fisher
from trimtab.stats.profile import merge
from trimtab.stats.schemes import Bins, CategoryBins, NumericBins


def pairs_of(x: np.ndarray) -> Correlations:
    return Correlations({f"c{place}": NumericBins.from_reference(column) for place, column in enumerate(x.T)})


REFERENCE = np.random.default_rng(0).normal(size=(4_000, 4))
PAIRS = pairs_of(REFERENCE)


def rows(seed: int, n: int) -> np.ndarray:
    """Rows with missing, infinite and huge values among them."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 4))
    odd = random.random(x.shape)
    x[odd < 0.05], x[(odd >= 0.05) & (odd < 0.1)], x[(odd >= 0.1) & (odd < 0.12)] = np.nan, np.inf, -1e300
    return x


@given(st.integers(0, 1_000), st.lists(st.integers(0, 60), min_size=1, max_size=4))
def test_parts_merge_to_the_whole_in_any_order(seed: int, sizes: list[int]) -> None:
    x = rows(seed, sum(sizes))
    parts = [PAIRS.profile_matrix(part) for part in np.split(x, np.cumsum(sizes)[:-1])]
    whole = PAIRS.profile_matrix(x[np.random.default_rng(seed).permutation(len(x))])
    for order in (parts, parts[::-1]):
        merged = order[0]
        for part in order[1:]:
            merged = merge(merged, part)
        assert merged == whole


def test_blocks_of_rows_add_up_exactly() -> None:
    # every level at its largest: the sum of products in a block is the largest there is
    x = np.full((2 * BLOCK_ROWS + 3, 4), 1e9)
    assert PAIRS.profile_matrix(x).counts == (LEVELS * len(x),) * 4 + (LEVELS**2 * len(x),) * 10


def test_correlations_are_those_of_the_levels() -> None:
    random = np.random.default_rng(1)
    x = REFERENCE[:, [0, 1, 2, 0]] + np.array([0, 0, 0, 1]) * random.normal(size=(4_000, 4))
    found = PAIRS.profile_matrix(x)
    r = PAIRS.of(np.array([found.counts]), np.array([found.n]))[0]
    expected = np.atleast_2d(np.corrcoef(PAIRS._levels(x).T))
    assert r == pytest.approx(expected[PAIRS.first, PAIRS.second], abs=1e-6)
    named = {PAIRS.name(pair): value for pair, value in enumerate(r)}
    assert named["c0", "c3"] > 0.6
    assert abs(named["c0", "c1"]) < 0.05


@pytest.mark.parametrize("values", [np.zeros((50, 4)), np.full((50, 4), np.nan), np.zeros((0, 4)), np.ones((1, 4))])
def test_columns_that_do_not_vary_have_no_correlation(values: np.ndarray) -> None:
    found = PAIRS.profile_matrix(values)
    assert (PAIRS.of(np.array([found.counts]), np.array([found.n])) == 0).all()


def test_outliers_and_gaps_have_a_bounded_say() -> None:
    x = REFERENCE.copy()
    x[:4, :2] = [np.inf, -np.inf]
    found = PAIRS.profile_matrix(x)
    assert np.abs(PAIRS.of(np.array([found.counts]), np.array([found.n]))).max() < 0.06


def test_a_column_by_name_or_as_a_matrix() -> None:
    columns = {name: REFERENCE[:, place] for place, name in enumerate(PAIRS.names)}
    assert PAIRS.profile(columns | {"other": np.zeros(4_000)}) == PAIRS.profile_matrix(REFERENCE)


def test_categories_and_constants_are_in_no_pair() -> None:
    schemes: dict[str, Bins] = {
        "a": NumericBins.from_reference([1.0, 2.0, 3.0]),
        "kind": CategoryBins.from_reference(["x", "y"]),
        "constant": NumericBins.from_reference([5.0, 5.0]),
        "b": NumericBins.from_reference([0.0, 1.0]),
    }
    pairs = Correlations(schemes)
    assert (pairs.names, pairs.size, pairs.name(0)) == (("a", "b"), 1, ("a", "b"))


def test_wide_tables_keep_the_pairs_of_near_columns() -> None:
    pairs = pairs_of(np.random.default_rng(2).normal(size=(50, 40)))
    assert pairs.size == MOST_PAIRS
    assert (pairs.second - pairs.first).max() == 9
    assert pairs_of(np.random.default_rng(2).normal(size=(50, 25))).size == 300 == 25 * 24 // 2


def test_sums_of_other_columns_do_not_merge() -> None:
    other = pairs_of(REFERENCE[:, ::-1] + 1)
    with pytest.raises(DataError, match="different schemes"):
        merge(PAIRS.profile_matrix(REFERENCE), other.profile_matrix(REFERENCE))


def test_fishers_transform_stays_finite() -> None:
    assert np.isfinite(fisher(np.array([-1.0, 0.0, 1.0]))).all()
