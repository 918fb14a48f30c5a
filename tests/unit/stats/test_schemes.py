"""Schemes: 35 slots whatever the column looks like, and the same slots for float32 and float64."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.stats.profile import profile
from trimtab.stats.schemes import (
    ABOVE,
    BELOW,
    BINS,
    FIRST_BIN,
    MISSING,
    OTHER,
    SLOTS,
    CategoryBins,
    NumericBins,
    bins_from_dict,
)

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=0, max_size=200)
TIED = st.lists(st.integers(-3, 60), min_size=1, max_size=300)


@given(NUMBERS | TIED)
def test_edges_are_few_rising_and_within_the_gross_limits(values: list[float]) -> None:
    bins = NumericBins.from_reference(values)
    assert len(bins.edges) < BINS
    assert all(a < b for a, b in zip(bins.edges, bins.edges[1:], strict=False))
    assert all(bins.low <= edge <= bins.high for edge in bins.edges)
    assert len(profile(values, bins).counts) == SLOTS


def test_bins_of_a_continuous_column_hold_equal_shares() -> None:
    values = np.random.default_rng(0).normal(size=32_000)
    counts = profile(values, NumericBins.from_reference(values)).counts
    assert counts[MISSING] == counts[BELOW] == counts[ABOVE] == 0
    assert set(counts[FIRST_BIN : FIRST_BIN + BINS]) <= {999, 1000, 1001}


def test_each_value_of_a_discrete_column_has_its_own_bin() -> None:
    values = [0, 1, 1, 5, 5, 5]
    bins = NumericBins.from_reference(values)
    assert bins.discrete
    assert bins.edges == (0.5, 3.0)
    assert profile(values, bins).counts[FIRST_BIN : FIRST_BIN + 3] == (1, 2, 3)


def test_a_heavy_tie_has_a_bin_of_its_own() -> None:
    values = np.random.default_rng(0).exponential(size=10_000)
    values[:7_000] = 0
    assert 7_000 in profile(values, NumericBins.from_reference(values)).counts


@pytest.mark.parametrize("values", [[0.1, 0.7, 0.3] * 50, [0.1] * 30, list(np.linspace(0, 1, 1000) ** 3)])
def test_float32_and_float64_count_alike(values: list[float]) -> None:
    bins = NumericBins.from_reference(values)
    assert profile(np.array(values, np.float32), bins).counts == profile(np.array(values), bins).counts


def test_gross_begins_three_widths_beyond_the_reference() -> None:
    bins = NumericBins.from_reference(np.linspace(0, 1, 10_001))
    assert (bins.low, bins.high) == pytest.approx((0.001 - 3 * 0.998, 0.999 + 3 * 0.998))
    counts = profile([-2.9, -3.1, 3.9, 4.1, np.inf, -np.inf, None, np.nan], bins).counts
    assert (counts[MISSING], counts[BELOW], counts[ABOVE], sum(counts)) == (2, 2, 2, 8)


def test_anything_but_the_constant_is_gross() -> None:
    bins = NumericBins.from_reference([7.0] * 100)
    counts = profile([7.0, 6.0, 8.0, 9.0], bins).counts
    assert (counts[BELOW], counts[FIRST_BIN], counts[ABOVE]) == (1, 1, 2)


def test_a_column_that_was_always_missing_counts_values_as_gross() -> None:
    counts = profile([3.0, None], NumericBins.from_reference([np.nan, np.nan])).counts
    assert (counts[MISSING], counts[ABOVE]) == (1, 1)


def test_text_in_an_ordered_column_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match="CategoryBins"):
        NumericBins.from_reference(["a", "b"])
    with pytest.raises(DataError, match="one dimension"):
        NumericBins.from_reference(np.zeros((2, 2)))


def test_categories_frequent_common_rare_and_unseen() -> None:
    # given 31 frequent categories, one known from two windows and one known from a single window
    frequent = [f"c{number}" for number in range(31)]
    values = [*frequent * 10, "common", "common", "rare", "rare"]
    windows = [*[0] * 310, 0, 1, 1, 1]
    bins = CategoryBins.from_reference(values, windows=windows)
    # then each lands in its slot
    counts = profile(["c0", "common", "rare", "new", None, float("nan")], bins).counts
    assert (bins.common, bins.rare, bins.open) == (("common",), ("rare",), False)
    assert (counts[OTHER], counts[ABOVE], counts[BELOW], counts[MISSING]) == (1, 1, 1, 2)
    assert sum(counts[FIRST_BIN:OTHER]) == 1


def test_in_an_open_vocabulary_nothing_is_unseen() -> None:
    bins = CategoryBins.from_reference([f"tail-{number}" for number in range(1_001)])
    assert bins.open
    counts = profile(["tail-999", "tail-new"], bins).counts
    assert (counts[OTHER], counts[BELOW]) == (2, 0)


def test_numbers_and_their_text_are_one_category() -> None:
    bins = CategoryBins.from_reference(np.array([3.0, 3.0, 4.5]))
    assert bins.top == ("3", "4.5")
    for values in ([3, 3.0, "3"], np.array([3.0, 3.0, 3.0]), np.array([3, 3, 3])):
        assert profile(values, bins).counts[FIRST_BIN] == 3


@given(st.lists(st.tuples(st.sampled_from([0.0, -0.0, 1.0, 2.5, 7.0, float("nan")]), st.integers(0, 4))))
def test_codes_in_a_float_array_are_the_categories_that_their_texts_are(rows: list[tuple[float, int]]) -> None:
    values, windows = [value for value, _ in rows], [window for _, window in rows]
    names = [None if value != value else f"{value:g}".replace("-0", "0") for value in values]
    as_codes = CategoryBins.from_reference(np.array(values, np.float32), windows=np.array(windows, np.int64))
    assert as_codes == CategoryBins.from_reference(names, windows=windows)
    assert as_codes == CategoryBins.from_reference(values, windows=windows)


def test_window_ids_must_fit_the_values() -> None:
    with pytest.raises(DataError, match="3 values but 2 window ids"):
        CategoryBins.from_reference(["a", "b", "c"], windows=[1, 2])


@pytest.mark.parametrize(
    "bins",
    [
        NumericBins.from_reference([1.0, 2.5, 3.0]),
        NumericBins.from_reference([]),
        NumericBins.from_reference(np.random.default_rng(0).normal(size=500)),
        CategoryBins.from_reference(["a", "b", None]),
    ],
)
def test_schemes_survive_json(bins: Any) -> None:
    again = bins_from_dict(json.loads(json.dumps(bins.to_dict(), allow_nan=False)))
    assert again == bins
    assert again.fingerprint == bins.fingerprint
