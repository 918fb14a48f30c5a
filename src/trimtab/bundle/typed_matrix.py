"""Rows with typed features: a float32 matrix, and beside it the exact values of texts, categories and whole numbers.

In the matrix a category is its code, its place among the known categories; an unseen one has the code after the last,
or is missing, as the schema says. A text is its number of characters, a boolean 0 or 1, a date days and a timestamp
seconds since 1970. A missing value is NaN, whatever the type; in a frame a missing text is empty, which is what text
vectorizers take. So monitoring and gates see numbers, and a model that was trained on a frame gets the exact values.

Imports neither Trimtab nor pandas at the top: each bundle with typed features holds a copy for MLflow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

OTHER = "(other)"
"""Name of the category of unseen values in a frame."""
WHOLE = ("integer", "date", "timestamp")
"""Types whose exact values are int64: numbers, days since 1970, microseconds since 1970."""
OBJECTS = ("text", "category", "decimal")
"""Types whose exact values are objects: str or Decimal, None for missing."""
_DIGITS = Context(prec=100)


@dataclass(frozen=True)
class Schema:
    """The types of a model's features.

    features: all names, in order. types: of the features that are no plain numbers. categories: the known ones of each
    category, in the order of their codes. form: "matrix" or "frame", what the model takes. unseen: "other", "missing"
    or "refuse".
    """

    features: tuple[str, ...]
    types: Mapping[str, str]
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    form: str = "matrix"
    unseen: str = "other"

    @classmethod
    def known(
        cls,
        features: Sequence[str],
        types: Mapping[str, str],
        categories: Mapping[str, Sequence[str]],
        form: str,
        unseen: str,
    ) -> Schema | None:
        """Return the schema of a record, the same object for the same content; None when all features are numbers."""
        if not types:
            return None
        frozen = tuple((name, tuple(known)) for name, known in sorted(categories.items()))
        return _schema(tuple(features), tuple(sorted(types.items())), frozen, form, unseen)

    @cached_property
    def text(self) -> str:
        """The schema as text, which `read` reads."""
        known = {name: list(own) for name, own in self.categories.items()}
        return json.dumps([list(self.features), dict(self.types), known, self.form, self.unseen])

    @classmethod
    def read(cls, text: str) -> Schema:
        """Return the schema of a text, the same object for the same text."""
        return _read(text)

    @cached_property
    def places(self) -> dict[int, str]:
        """Type of each typed feature by its place."""
        return {place: self.types[name] for place, name in enumerate(self.features) if name in self.types}

    @cached_property
    def codes(self) -> dict[str, dict[str, float]]:
        """Code of each known category, by feature."""
        return {name: {text: float(code) for code, text in enumerate(own)} for name, own in self.categories.items()}

    @cached_property
    def names(self) -> dict[str, Array]:
        """Name of each code, by feature; the last one, of a missing value, is empty."""
        own = [OTHER] if self.unseen == "other" else []
        return {name: objects([*known, *own, ""]) for name, known in self.categories.items()}

    @cached_property
    def dtypes(self) -> dict[str, Any]:
        """The pandas dtype of each category."""
        # pandas is loaded for models that take a frame alone
        import pandas as pd

        own = [OTHER] if self.unseen == "other" else []
        return {name: pd.CategoricalDtype([*known, *own]) for name, known in self.categories.items()}


@lru_cache(maxsize=64)
def _schema(features: Any, types: Any, categories: Any, form: str, unseen: str) -> Schema:
    return Schema(features, dict(types), dict(categories), form, unseen)


@lru_cache(maxsize=8)
def _read(text: str) -> Schema:
    features, types, categories, form, unseen = json.loads(text)
    found = Schema.known(features, types, categories, form, unseen)
    if found is None:
        raise ValueError("the schema has no typed feature")
    return found


class TypedMatrix(np.ndarray[Any, Any]):
    """A float32 matrix (rows, features) with the exact values of its typed features.

    Choosing rows, `copy`, and joining by `np.concatenate` keep the exact values; everything else gives plain arrays. A
    value that is set to NaN in the matrix is missing, whatever its exact value was.

    exact: by place of the feature, arrays of shape (rows,): int64 or objects.
    """

    schema: Schema
    exact: dict[int, Array]

    @classmethod
    def of(cls, schema: Schema, columns: Mapping[str, Any]) -> TypedMatrix:
        """Return rows made of columns.

        columns: by feature. A number or a boolean is a float array with NaN; a whole type is a pair of int64 values and
        a bool mask of the missing ones; other types are object arrays with None.
        """
        rows = len(_values(columns[schema.features[0]]))
        matrix = np.empty((rows, len(schema.features)), dtype=np.float32)
        exact: dict[int, Array] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for place, name in enumerate(schema.features):
                kind, column = schema.places.get(place), columns[name]
                matrix[:, place] = _coded(schema, name, kind, column)
                if kind in WHOLE:
                    values, missing = column
                    exact[place] = np.where(missing, 0, values).astype(np.int64)
                elif kind in OBJECTS:
                    exact[place] = column
        return cls.made(schema, matrix, exact)

    @classmethod
    def made(cls, schema: Schema, matrix: Array, exact: dict[int, Array]) -> TypedMatrix:
        """Return rows made of a float32 matrix and exact values."""
        found = np.asarray(matrix, dtype=np.float32).view(cls)
        found.schema, found.exact = schema, exact
        return found

    def copy(self, order: Any = "C") -> TypedMatrix:
        """Return a copy."""
        return self.made(self.schema, np.asarray(self).copy(), dict(self.exact))

    def recoded(self, schema: Schema) -> TypedMatrix:
        """Return the rows with the codes of another schema's categories.

        Raises ValueError for a schema of other features or types.
        """
        if (self.schema.features, dict(self.schema.types)) != (schema.features, dict(schema.types)):
            raise ValueError(f"the rows have the features {self.schema.features}; expected {schema.features}")
        matrix = np.asarray(self).copy()
        for place, kind in schema.places.items():
            name = schema.features[place]
            if kind == "category" and self.schema.categories[name] != schema.categories[name]:
                missing = np.isnan(matrix[:, place]) & (self.schema.unseen != "missing")
                matrix[:, place] = np.where(missing, np.nan, _coded(schema, name, kind, self.exact[place]))
        return self.made(schema, matrix, self.exact)

    def frame(self) -> Any:
        """Return a pandas DataFrame with the features as columns, in their types."""
        # pandas is loaded for models that take a frame alone
        import pandas as pd

        plain = np.asarray(self)
        columns = {}
        for place, name in enumerate(self.schema.features):
            kind, numbers = self.schema.places.get(place), plain[:, place]
            columns[name] = numbers if kind is None else self._series(pd, place, name, kind, np.isnan(numbers), numbers)
        return pd.DataFrame(columns, copy=False)

    def _series(self, pd: Any, place: int, name: str, kind: str, missing: Array, numbers: Array) -> Any:
        if kind == "category":
            dtype = self.schema.dtypes[name]
            known = (numbers >= 0) & (numbers < len(dtype.categories))  # False for missing values
            codes = np.where(known, numbers, -1).astype(np.int32)
            return pd.Categorical.from_codes(codes, dtype=dtype)
        if kind == "boolean":
            return pd.arrays.BooleanArray(np.where(missing, 0, numbers) != 0, missing)
        values = self.exact[place]
        if kind == "integer":
            return pd.arrays.IntegerArray(values.copy(), missing)
        if kind in WHOLE:
            times = values.astype("datetime64[D]").astype("datetime64[us]") if kind == "date" else values.view("M8[us]")
            return np.where(missing, np.datetime64("NaT", "us"), times)
        nothing: Any = "" if kind == "text" else float("nan")  # scikit-learn reads Decimals with NaN as numbers
        return pd.Series(np.where(missing, nothing, values), dtype=object)

    def numbers(self) -> Array:
        """Return float64 (rows, features): the matrix with whole numbers as exact as float64 holds them."""
        found: Array = np.asarray(self).astype(np.float64)
        for place, kind in self.schema.places.items():
            if kind in WHOLE:
                column = found[:, place]
                found[:, place] = np.where(np.isnan(column), column, self.exact[place])
        return found

    def columns(self) -> dict[str, Array]:
        """Return each feature as a column (rows, 1) for ONNX: float32, text, int64 or bool.

        A missing text is empty, a missing whole number 0 and a missing boolean False.
        """
        found: dict[str, Array] = {}
        for place, name in enumerate(self.schema.features):
            kind, numbers = self.schema.places.get(place), np.asarray(self)[:, place]
            missing = np.isnan(numbers)
            if kind == "integer":
                numbers = np.where(missing, 0, self.exact[place])
            elif kind == "boolean":
                numbers = np.where(missing, 0, numbers) != 0
            elif kind == "text":
                numbers = np.where(missing, "", self.exact[place])
            elif kind == "category":
                names = self.schema.names[name]
                known = (numbers >= 0) & (numbers < len(names))
                numbers = names[np.where(known, numbers, len(names) - 1).astype(np.int64)]
            found[name] = numbers[:, None]
        return found

    def plain_rows(self) -> list[list[Any]]:
        """Return the exact values of each row, in the order of the typed features, as JSON has them.

        A decimal is text, a date is days and a timestamp microseconds since 1970.
        """
        columns = []
        for place, kind in self.schema.places.items():
            column = np.asarray(self)[:, place]
            if kind == "boolean":
                columns.append([None if value != value else value != 0 for value in column.tolist()])
            elif kind in WHOLE:
                missing = np.isnan(column).tolist()
                pairs = zip(self.exact[place].tolist(), missing, strict=True)
                columns.append([None if gone else value for value, gone in pairs])
            elif kind == "decimal":
                columns.append([None if value is None else str(value) for value in self.exact[place].tolist()])
            else:
                columns.append(self.exact[place].tolist())
        return [list(row) for row in zip(*columns, strict=True)]

    def value(self, row: int, place: int) -> Any:
        """Return one exact value, as `plain_rows` has it; of a plain number the number."""
        places = list(self.schema.places)
        return self[row : row + 1].plain_rows()[0][places.index(place)] if place in places else self[row, place].item()

    def __getitem__(self, key: Any) -> Any:
        plain = np.asarray(self)[key]
        by_rows = isinstance(key, slice) or (isinstance(key, list | np.ndarray) and np.ndim(key) == 1)
        if not by_rows:
            return plain
        return self.made(self.schema, plain, {place: values[key] for place, values in self.exact.items()})

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" in options:
            options["out"] = _plain(options["out"])
        return getattr(ufunc, method)(*map(_plain, inputs), **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function is np.concatenate and len(args) == 1 and not options:
            parts = list(args[0])
            if all(isinstance(part, TypedMatrix) and part.schema is parts[0].schema for part in parts):
                return joined(parts)
        return function(*_plain(args), **{name: _plain(value) for name, value in options.items()})

    def __reduce__(self) -> Any:
        return TypedMatrix.made, (self.schema, np.asarray(self), self.exact)


def joined(parts: Sequence[TypedMatrix]) -> TypedMatrix:
    """Return the rows of several parts, one after the other."""
    first = parts[0]
    if any(part.schema is not first.schema and part.schema != first.schema for part in parts):
        raise ValueError("rows of different features cannot be joined")
    exact = {place: np.concatenate([part.exact[place] for part in parts]) for place in first.exact}
    return TypedMatrix.made(first.schema, np.concatenate([np.asarray(part) for part in parts]), exact)


def from_frame(schema: Schema, frame: Any) -> TypedMatrix:
    """Return the rows of a pandas DataFrame that has the features as columns, in any dtypes that hold their values.

    Raises ValueError naming the column and the row of a value that its type cannot hold.
    """
    # pandas is loaded for models that take a frame alone
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in schema.features:
        kind, series = schema.types.get(name), frame[name]
        missing = series.isna().to_numpy()
        if kind in ("date", "timestamp"):
            series = pd.to_datetime(series, utc=True).dt.tz_localize(None).astype("datetime64[us]")
        values = [None if gone else value for value, gone in zip(series.tolist(), missing.tolist(), strict=True)]
        read = _READERS.get(kind or "", float)
        for row, value in enumerate(values):
            try:
                values[row] = None if value is None else read(value)
            except (TypeError, ValueError, ArithmeticError):
                raise ValueError(f"column '{name}', row {row}: {value!r} is not of type {kind or 'number'}") from None
        if kind in WHOLE:
            columns[name] = whole(values)
        elif kind in OBJECTS:
            columns[name] = objects(values)
        else:
            columns[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return TypedMatrix.of(schema, columns)


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whole numbers beside missing values are floats in pandas
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise TypeError
    return str(value)


def _whole(value: Any) -> int:
    found = int(value)
    if found != value or isinstance(value, str) or not -(2**63) <= found < 2**63:
        raise ValueError
    return found


def _truth(value: Any) -> float:
    if value not in (0, 1):
        raise ValueError
    return float(value)


def _day(value: Any) -> int:
    if value != value.normalize():
        raise ValueError
    return int(value.as_unit("us").value // 86_400_000_000)


_READERS: dict[str, Any] = {
    "text": _text,
    "category": _text,
    "integer": _whole,
    "boolean": _truth,
    "decimal": lambda value: decimal_of(str(value)),
    "date": _day,
    "timestamp": lambda value: int(value.as_unit("us").value),
}


def from_plain(schema: Schema, matrix: Array, rows: Sequence[Sequence[Any]]) -> TypedMatrix:
    """Return the rows whose exact values `plain_rows` gave, with their matrix, float32 (rows, features)."""
    columns: dict[str, Any] = {name: matrix[:, place] for place, name in enumerate(schema.features)}
    given = zip(*rows, strict=True) if rows else [()] * len(schema.places)
    for (place, kind), values in zip(schema.places.items(), given, strict=True):
        name = schema.features[place]
        if kind == "boolean":
            columns[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float32)
        elif kind in WHOLE:
            columns[name] = whole(values)
        else:
            read = decimal_of if kind == "decimal" else str
            columns[name] = objects([None if value is None else read(value) for value in values])
    return TypedMatrix.of(schema, columns)


def zero_rows(schema: Schema | None, rows: int, features: int) -> Array:
    """Return rows of zeros, of empty texts and of first categories, float32 (rows, features)."""
    if schema is None:
        return np.zeros((rows, features), dtype=np.float32)
    exact: dict[int, Array] = {}
    for place, kind in schema.places.items():
        if kind in WHOLE:
            exact[place] = np.zeros(rows, dtype=np.int64)
        elif kind in OBJECTS:
            known = schema.categories.get(schema.features[place]) or ("",)
            value = {"text": "", "category": known[0], "decimal": Decimal(0)}[kind]
            exact[place] = objects([value] * rows)
    return TypedMatrix.made(schema, np.zeros((rows, features), dtype=np.float32), exact)


def model_input(X: Array) -> Any:
    """Return rows as a model takes them: a DataFrame for a model of frames, else a plain matrix."""
    if isinstance(X, TypedMatrix) and X.schema.form == "frame":
        return X.frame()
    return np.asarray(X)


def typed_places(X: Array) -> Mapping[int, str]:
    """Return the type of each typed feature of rows by its place."""
    return X.schema.places if isinstance(X, TypedMatrix) else {}


def contiguous(X: Array) -> Array:
    """Return rows as contiguous float32 with their exact values, if they have any."""
    if isinstance(X, TypedMatrix):
        return TypedMatrix.made(X.schema, np.ascontiguousarray(np.asarray(X), dtype=np.float32), X.exact)
    return np.ascontiguousarray(X, dtype=np.float32)


def objects(values: Sequence[Any]) -> Array:
    """Return values as an object array of one dimension."""
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def whole(values: Sequence[Any]) -> tuple[Array, Array]:
    """Return int or None values as int64 and the mask of the missing ones."""
    missing = np.array([value is None for value in values], dtype=bool)
    return np.array([0 if value is None else value for value in values], dtype=np.int64), missing


def decimal_of(text: str) -> Decimal:
    """Return the shortest exact Decimal of a text: 1.50 is 1.5. Raises decimal.InvalidOperation."""
    found = _DIGITS.add(Decimal(text).normalize(_DIGITS), 0)  # -0 becomes 0
    exponent = found.as_tuple().exponent
    return found.quantize(Decimal(1), context=_DIGITS) if isinstance(exponent, int) and exponent > 0 else found


def _coded(schema: Schema, name: str, kind: str | None, column: Any) -> Array:
    if kind in WHOLE:
        values, missing = column
        scaled = values / 1e6 if kind == "timestamp" else values.astype(np.float64)
        return np.where(missing, np.nan, scaled)
    if kind == "category":
        known = schema.codes[name]
        unseen = np.nan if schema.unseen == "missing" else float(len(known))
        return np.array([np.nan if value is None else known.get(value, unseen) for value in column], dtype=np.float64)
    if kind == "text":
        return np.array([np.nan if value is None else len(value) for value in column], dtype=np.float64)
    if kind == "decimal":
        return np.array([np.nan if value is None else float(value) for value in column], dtype=np.float64)
    return np.asarray(column, dtype=np.float64)


def _values(column: Any) -> Any:
    return column[0] if isinstance(column, tuple) else column


def _plain(value: Any) -> Any:
    if isinstance(value, TypedMatrix):
        return value.view(np.ndarray)
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, value)) if type(value) in (tuple, list) else value
    return value
