"""Categories of pandas in LightGBM and XGBoost: a booster's table from codes to values.

A booster that was trained on a DataFrame with columns of dtype `category` has seen their codes, 0, 1, 2 and so on. The
values are in a table in addition to the trees. Given the values as numbers, it would score other categories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.errors import DataError

REMEDY = (
    "train on numbers: encode the column yourself, as with OrdinalEncoder in a pipeline, or give the library the codes "
    "as numbers with its own list of categorical columns"
)


class CategoryTables:
    """The values of each column of categories, by its place, in the order of their codes.

    Raises DataError for values that a row of float32 numbers cannot hold, naming the column.
    """

    def __init__(self, tables: Mapping[int, Sequence[Any]], *, what: str) -> None:
        self.raw = dict(tables)
        """The tables as they are in the model."""
        self.values: dict[int, np.ndarray[Any, Any]] = {}
        """float32, one value a code."""
        self._sorted: dict[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = {}
        for place, values in tables.items():
            strange = next((value for value in values if not isinstance(value, int | float | np.number)), None)
            if strange is not None:
                raise DataError(
                    f"{what} knows the categories of column {place} by values such as {strange!r}, and rows hold "
                    f"numbers only; {REMEDY}"
                )
            exact = np.array([float(value) for value in values], dtype=np.float64)
            table = exact.astype(np.float32)
            if (table != exact).any() or len(np.unique(table)) < len(table):
                raise DataError(f"{what}: the categories of column {place} are not exact as float32; {REMEDY}")
            order = np.argsort(table)
            self.values[place] = table
            self._sorted[place] = table[order], order.astype(np.float32)

    def codes(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a copy of rows, float32 (rows, features), with codes for values; NaN for a value in no table."""
        coded = X.astype(np.float32)
        for place, (values, codes) in self._sorted.items():
            if not len(values):  # no training row had a value
                coded[:, place] = np.nan
                continue
            column = X[:, place]
            at = np.minimum(np.searchsorted(values, column), len(values) - 1)
            coded[:, place] = np.where(values[at] == column, codes[at], np.float32(np.nan))
        return coded


class RowCodes:
    """Turns rows into those that a booster takes: codes for the values of its own tables.

    Typed rows have codes already, those of the frame that the booster was trained on. tables: None when the booster
    has none, or none that rows of numbers can use; `rows` then raises DataError for untyped rows.
    """

    def __init__(self, find: Callable[[Any], CategoryTables | None], booster: Any) -> None:
        self.tables: CategoryTables | None = None
        self._error: DataError | None = None
        try:
            self.tables = find(booster)
        except DataError as error:
            self._error = error

    def rows(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return float (rows, features)."""
        if isinstance(X, TypedMatrix) and X.schema.form == "frame":
            return X.numbers()
        if self._error is not None:
            raise self._error
        return np.asarray(X) if self.tables is None else self.tables.codes(np.asarray(X))


def category_tables(model: Any) -> CategoryTables | None:
    """Return the tables of a LightGBM or XGBoost booster, or of its estimator; None for any model without them.

    Raises DataError when the model has categories without their values.
    """
    library = type(model).__module__.partition(".")[0]
    if library == "lightgbm":
        return lightgbm_tables(model.booster_ if hasattr(model, "booster_") else model)
    if library == "xgboost":
        return xgboost_tables(model.get_booster() if hasattr(model, "get_booster") else model)
    return None


def lightgbm_tables(booster: Any) -> CategoryTables | None:
    """Return the tables of a LightGBM booster: its `pandas_categorical`, for its categorical columns in order."""
    tables = getattr(booster, "pandas_categorical", None)
    if not tables:
        return None
    lines = booster.model_to_string(num_iteration=1).splitlines()
    told = next((line for line in lines if line.startswith("[categorical_feature:")), "")
    columns = [int(text) for text in told.strip("[]").partition(":")[2].replace(",", " ").split()]
    if len(columns) != len(tables):
        raise DataError(
            f"the LightGBM model has {len(tables)} columns of pandas categories and splits {len(columns)} by category, "
            f"so it is unknown which belong together; {REMEDY}"
        )
    return CategoryTables(dict(zip(columns, tables, strict=True)), what="the LightGBM model")


def xgboost_tables(booster: Any) -> CategoryTables | None:
    """Return the tables of an XGBoost booster; None when it was trained on codes. Raises DataError when it has none."""
    types = booster.feature_types or ()
    columns = [place for place, kind in enumerate(types) if kind == "c"]
    if not columns or not hasattr(booster, "get_categories"):
        found: list[tuple[str, Any]] = []
    else:
        found = booster.get_categories(export_to_arrow=True).to_arrow() or []
    tables = {place: found[place][1].to_pylist() for place in columns if found and found[place][1] is not None}
    if columns and not tables and booster.feature_names is not None:
        raise DataError(
            "the XGBoost model was trained on a DataFrame with categories, and holds no table of their values (from "
            f"XGBoost 3.1 on it does); {REMEDY}"
        )
    return CategoryTables(tables, what="the XGBoost model") if tables else None
