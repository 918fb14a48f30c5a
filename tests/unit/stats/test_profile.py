"""Profiles: merging is adding, in any order and over any split; the fast paths count as the plain one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.stats.profile import (
    SORT_ROWS,
    ColumnProfile,
    merge,
    merge_windows,
    profile,
    profile_categories,
    profile_matrix,
)
from trimtab.stats.schemes import BINS, FIRST_BIN, Bins, CategoryBins, NumericBins

BINS_OF_NUMBERS = NumericBins.from_reference(np.random.default_rng(0).normal(size=2_000))
BINS_OF_NAMES = CategoryBins.from_reference(["a"] * 5 + ["b"] * 3 + ["c"])
NUMBERS = st.lists(st.floats(-100, 100) | st.sampled_from([np.nan, np.inf, -np.inf]), max_size=30)
NAMES = st.lists(st.sampled_from(["a", "b", "c", "new", None]), max_size=30)


def assert_same(a: ColumnProfile, b: ColumnProfile) -> None:
    """Counts and limits are equal; sums but for the order of adding."""
    assert (a.kind, a.scheme, a.counts, a.n, a.minimum, a.maximum) == (
        b.kind,
        b.scheme,
        b.counts,
        b.n,
        b.minimum,
        b.maximum,
    )
    assert (a.total, a.squares) == pytest.approx((b.total, b.squares), rel=1e-9, abs=1e-9)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_merging_numbers_is_adding(x: list[float], y: list[float], z: list[float]) -> None:
    a, b, c = (profile(values, BINS_OF_NUMBERS) for values in (x, y, z))
    assert merge(a, b) == merge(b, a)
    assert_same(merge(merge(a, b), c), merge(a, merge(b, c)))
    assert_same(merge(a, b), profile([*x, *y], BINS_OF_NUMBERS))


@given(NAMES, NAMES, NAMES)
def test_merging_categories_is_adding(x: list[str | None], y: list[str | None], z: list[str | None]) -> None:
    a, b, c = (profile(values, BINS_OF_NAMES) for values in (x, y, z))
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, b) == profile([*x, *y], BINS_OF_NAMES)


@given(NUMBERS)
def test_counts_equal_those_of_a_plain_loop(values: list[float]) -> None:
    counts = [0] * 35
    for x in values:
        if np.isnan(x):
            counts[0] += 1
        elif x < BINS_OF_NUMBERS.low:
            counts[1] += 1
        elif x > BINS_OF_NUMBERS.high:
            counts[-1] += 1
        else:
            counts[FIRST_BIN + sum(x >= edge for edge in BINS_OF_NUMBERS.edges)] += 1
    told = profile(values, BINS_OF_NUMBERS)
    assert told.counts == tuple(counts)
    finite = [x for x in values if np.isfinite(x)]
    assert (told.minimum, told.maximum) == (min(finite, default=np.inf), max(finite, default=-np.inf))
    assert (told.total, told.squares) == pytest.approx((sum(finite), sum(x * x for x in finite)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_columns_count_as_short_ones(dtype: type[np.floating[Any]]) -> None:
    values: np.ndarray = np.random.default_rng(1).normal(size=SORT_ROWS + 5).astype(dtype)
    values[[3, 5, 7, 9]] = np.nan, np.inf, -np.inf, 1e9
    whole = profile(values, BINS_OF_NUMBERS)
    assert_same(whole, merge(profile(values[:4_000], BINS_OF_NUMBERS), profile(values[4_000:], BINS_OF_NUMBERS)))


@pytest.mark.parametrize("rows", [0, 1, 500, SORT_ROWS + 1])
def test_a_matrix_is_profiled_as_its_columns(rows: int) -> None:
    random = np.random.default_rng(2)
    matrix = random.normal(size=(rows, 4)).astype(np.float32)
    matrix[:, 3] = random.integers(0, 5, rows)
    matrix[: rows // 3, 1] = np.nan
    schemes: list[Bins] = [NumericBins.from_reference(random.normal(size=300)) for _ in range(3)]
    schemes.append(CategoryBins.from_reference([0, 1, 2]))
    for place, told in enumerate(profile_matrix(matrix, schemes)):
        assert_same(told, profile(matrix[:, place], schemes[place]))


def test_a_matrix_of_another_width_is_refused() -> None:
    with pytest.raises(DataError, match="2 schemes"):
        profile_matrix(np.zeros((5, 3)), [BINS_OF_NUMBERS] * 2)


def test_rows_per_value_count_as_the_values() -> None:
    assert profile_categories({"a": 2, "new": 1, None: 3}, BINS_OF_NAMES) == profile(
        ["a", "new", "a", None, None, None], BINS_OF_NAMES
    )


def test_profiles_of_two_schemes_do_not_merge() -> None:
    other = NumericBins.from_reference([1.0, 2.0])
    with pytest.raises(DataError, match="different schemes"):
        merge(profile([1.0], BINS_OF_NUMBERS), profile([1.0], other))
    with pytest.raises(DataError, match="only one of them has y"):
        merge_windows({"x": profile([1.0], other)}, {"x": profile([1.0], other), "y": profile([1.0], other)})


@settings(max_examples=30)
@given(NUMBERS)
def test_profiles_survive_json(values: list[float]) -> None:
    told = profile(values, BINS_OF_NUMBERS)
    assert ColumnProfile.from_dict(json.loads(json.dumps(told.to_dict(), allow_nan=False))) == told


def test_what_a_profile_says() -> None:
    bins = NumericBins.from_reference(np.linspace(0, 1, 1_000))
    told = profile([0.5, 1.5, 100.0, None], bins)
    assert (told.n, told.missing, told.gross, told.mean, told.minimum, told.maximum) == (4, 1, 1, 34.0, 0.5, 100.0)
    assert len(told.counts) == BINS + 3
    names = profile(["a", "new", None], BINS_OF_NAMES)
    assert (names.missing, names.gross, np.isnan(names.mean)) == (1, 1, True)
