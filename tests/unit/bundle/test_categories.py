"""Values of pandas categories become the codes that a booster has seen, or nobody can tell and it is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trimtab.bundle.categories import CategoryTables, category_tables, lightgbm_tables, xgboost_tables
from trimtab.errors import DataError


def test_values_become_codes_and_others_are_missing() -> None:
    tables = CategoryTables({1: [30, 10, 20.5], 2: [False, True]}, what="the model")
    X = np.array([[5, 10, 1], [5, 20.5, 0], [5, 11, np.nan], [5, np.inf, 7]], dtype=np.float32)
    nan = np.nan
    np.testing.assert_array_equal(tables.codes(X), np.array([[5, 1, 1], [5, 2, 0], [5, nan, nan], [5, nan, nan]]))
    assert X[0, 1] == 10, "the rows themselves stay as they are"


def test_a_column_without_categories_has_no_codes() -> None:
    found = CategoryTables({0: [], 1: [3]}, what="the model").codes(np.array([[0, 3], [np.nan, 4]], dtype=np.float32))
    np.testing.assert_array_equal(found, [[np.nan, 0], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "b"], "column 0 by values such as 'a', and rows hold numbers only"),
        ([2**24, 2**24 + 1], "categories of column 0 are not exact as float32"),
        ([0.1, 0.2], "categories of column 0 are not exact as float32"),
    ],
)
def test_values_that_rows_cannot_hold_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        CategoryTables({0: values}, what="the model")


def test_a_booster_that_does_not_tell_which_columns_are_categories_is_refused() -> None:
    booster = SimpleNamespace(
        pandas_categorical=[[1, 2], [3]], model_to_string=lambda num_iteration: "[categorical_feature: 0]"
    )
    with pytest.raises(DataError, match="2 columns of pandas categories and splits 1 by category"):
        lightgbm_tables(booster)


def test_a_booster_of_an_older_xgboost_is_refused_unless_it_was_given_codes() -> None:
    with pytest.raises(DataError, match="holds no table of their values"):
        xgboost_tables(SimpleNamespace(feature_types=["c", "float"], feature_names=["shop", "a"]))
    assert xgboost_tables(SimpleNamespace(feature_types=["c", "float"], feature_names=None)) is None
    assert xgboost_tables(SimpleNamespace(feature_types=None, feature_names=None)) is None


def test_other_models_have_no_tables() -> None:
    assert category_tables(object()) is None
