"""Runs on-demand transforms and fallback rules over arrays and checks their results.

A transform must work row by row: a value that depends on other rows would differ when a request has a single row.
`check_rows_apart` detects that before a model is trained.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab import places
from trimtab.definitions.models import Model, Task
from trimtab.definitions.on_demand import FallbackRule, OnDemand
from trimtab.errors import DataError, DefinitionError, nearest
from trimtab.features.request_columns import for_transform
from trimtab.features.value_types import Array, Kind
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyLibrary("polars")  # a gateway imports this file, and needs no Polars

KNOW_NAT = ("polars", "pandas", "pyarrow")
"""Libraries that read the int64 of NaT as a missing value."""
SAMPLED_ROWS = 8
"""Number of rows that are computed again one by one."""
LIMITS: dict[Task, tuple[float, float, str]] = {
    "binary": (0.0, 1.0, "a probability from 0 to 1"),
    "multiclass": (0.0, 1e9, "the index of a class"),
    "anomaly": (-np.finfo(np.float64).max, np.finfo(np.float64).max, "a number"),
    "regression": (-np.finfo(np.float64).max, np.finfo(np.float64).max, "a number"),
}
"""Lowest and highest score of each task, and how error texts call a score."""


class Times(np.ndarray[Any, Any]):
    """A datetime64 or timedelta64 array whose `astype` to numbers turns NaT into NaN.

    Plain NumPy turns NaT into the number -9.2e18, so (at - signup).astype("float64") of a missing signup would be a
    hundred million days. `astype` to integers returns float64 if a value is missing.
    """

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the array in another type, as NumPy does, but with NaT as NaN in numbers."""
        plain = self.view(np.ndarray)
        if self.dtype.kind not in "mM" or np.dtype(dtype).kind not in "iuf":
            return super().astype(dtype, *args, **kwargs)
        found = plain.astype(dtype, *args, **kwargs)
        missing = np.isnat(plain)
        if not missing.any():
            return found
        caller = sys._getframe(1).f_globals.get("__name__", "").partition(".")[0]
        if found.dtype.kind != "f" and caller in KNOW_NAT:
            return found
        return np.where(missing, np.nan, found)


def run(transform: OnDemand, inputs: Sequence[Array], rows: int) -> list[Array]:
    """Run a transform. The caller silences NumPy's warnings, because missing values are NaN.

    Args:
        transform: the transform.
        inputs: float64, datetime64[us] or object arrays of shape (rows,); they become read-only. A missing time is
            NaT, and NaN when the transform converts it to a number.
        rows: the number of rows.

    Returns:
        Arrays of shape (rows,) in the order of `transform.outputs`: numbers, booleans, datetime64, or objects of str
        and None; a rule gives numbers alone.

    Raises:
        DefinitionError: the transform fails or returns something else; names transform and output.
    """
    for array in inputs:
        array.flags.writeable = False
    try:
        result = transform.function(*[_with_missing(array) for array in inputs])
    except Exception as error:  # user code may raise anything
        place = _place(transform, error)
        raise DefinitionError(f"{place}{transform.called} failed: {type(error).__name__}: {error}") from error
    if not isinstance(result, Mapping):
        if transform.outputs != (transform.name,):
            raise DefinitionError(
                f"{transform.called} returned {type(result).__name__}; expected a mapping with the outputs "
                f"{list(transform.outputs)}"
            )
        return [_checked(transform, transform.name, result, rows)]
    _check_names(transform, result)
    return [_checked(transform, output, result[output], rows) for output in transform.outputs]


def _place(transform: OnDemand, error: Exception) -> str:
    """Return file name and line in the user's code that failed; without the folder, because clients see the text."""
    code = getattr(transform.function, "__code__", None)
    found = places.of_error(error, Path(code.co_filename).parent) if code else None
    return f"{found[0].name}:{found[1]}: " if found else ""


def _with_missing(array: Array) -> Array:
    """Return times as Times if one is missing; other arrays stay plain, which is faster."""
    return array.view(Times) if array.dtype.kind == "M" and np.count_nonzero(np.isnat(array)) else array


def check_rows_apart(transform: OnDemand, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
    """Check on SAMPLED_ROWS rows that each gives the same alone as among all rows. Raises DefinitionError."""
    rows = len(outputs[0])
    for row in np.unique(np.linspace(0, rows - 1, min(rows, SAMPLED_ROWS)).astype(int)):
        alone = run(transform, [array[row : row + 1] for array in inputs], 1)
        for name, found, expected in zip(transform.outputs, alone, outputs, strict=True):
            if not _same(found[:1], expected[row : row + 1]):
                raise DefinitionError(
                    f"{transform.called}, output '{name}': row {row} gives {expected[row]} among {rows} rows "
                    f"but {found[0]} alone, as in a request of one row; it may not depend on other rows"
                )


def _same(one: Array, other: Array) -> bool:
    """Return True if two arrays of one value are equal as features are."""
    if "O" in (one.dtype.kind, other.dtype.kind):
        return one.dtype == other.dtype and bool(one[0] == other[0])
    if "M" in (one.dtype.kind, other.dtype.kind):
        return one.dtype.kind == other.dtype.kind and bool((one == other)[0] or (np.isnat(one) & np.isnat(other))[0])
    return np.array_equal(
        one.astype(np.float64).astype(np.float32), other.astype(np.float64).astype(np.float32), equal_nan=True
    )


def as_series(name: str, values: Array) -> pl.Series:
    """Return an output of a transform as a column: Float64, Int64, Boolean, String or Datetime in UTC; NaN is null."""
    if values.dtype.kind == "M":
        moments = values.astype("datetime64[us]")
        return pl.Series(name, moments).cast(pl.Datetime("us", "UTC"))
    if values.dtype.kind == "O":
        return pl.Series(name, values.tolist(), dtype=pl.String)
    return pl.Series(name, values, nan_to_null=True)


def _check_names(transform: OnDemand, result: Mapping[str, object]) -> None:
    for name in transform.outputs:
        if name not in result:
            raise DefinitionError(
                f"{transform.called} did not return output '{name}'.{nearest(name, map(str, result))}"
            )
    for name in result:
        if name not in transform.outputs:
            raise DefinitionError(
                f"{transform.called} returned '{name}', which is none of its outputs."
                f"{nearest(str(name), transform.outputs)}"
            )


def _checked(transform: OnDemand, output: str, value: object, rows: int) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise DefinitionError(f"{transform.called}, output '{output}' is not an array: {error}") from error
    if array.shape != (rows,):
        raise DefinitionError(
            f"{transform.called}, output '{output}' has shape {array.shape}; expected ({rows},), one value a row"
        )
    if array.dtype.kind in "fiub":
        return array
    if not isinstance(transform, FallbackRule):
        if array.dtype.kind == "M":
            return array.astype("datetime64[us]")
        if array.dtype.kind in "UOT":
            return _texts(transform, output, array)
        raise DefinitionError(
            f"{transform.called}, output '{output}' is {array.dtype}; expected numbers, booleans, texts or timestamps"
        )
    raise DefinitionError(f"{transform.called}, output '{output}' is {array.dtype}; expected numbers or booleans")


def _texts(transform: OnDemand, output: str, array: Array) -> Array:
    """Return texts as objects, None for a missing one."""
    found = np.empty(len(array), dtype=object)
    for row, value in enumerate(array.tolist()):
        if isinstance(value, str):
            found[row] = str(value)
        elif value is not None and value == value:  # NaN is missing
            raise DefinitionError(
                f"{transform.called}, output '{output}', row {row}: {value!r} is no text; expected text or None in an "
                "array of objects"
            )
    return found


class RulePlan:
    """A fallback rule with the converters of its input columns; thread-safe."""

    def __init__(self, model: Model, rule: FallbackRule, kinds: Mapping[str, Kind]) -> None:
        """Make the converters. kinds: kind of each request column; one that is missing is decided by each value."""
        self.name = rule.name
        self._rule = rule
        self._task = model.task
        self._timestamp = model.examples.timestamp
        self._inputs = [(name, for_transform(name, kinds.get(name))) for name in rule.inputs]

    def scores(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> list[float]:
        """Return one score for each row.

        Args:
            columns: one sequence of `len(at)` values for each column of the request.
            at: time of each row, microseconds since the epoch; the timestamp if the request has none.

        Raises:
            DataError: the request lacks an input or has a wrong value.
            DefinitionError: the rule fails, or returns values that are no scores of the task.
        """
        arrays = []
        for name, convert in self._inputs:
            if name in columns:
                arrays.append(convert(columns[name]))
            elif name == self._timestamp:
                arrays.append(np.array(at, dtype=np.int64).view("datetime64[us]"))
            else:
                raise DataError(f"the request has no column '{name}'")
        with np.errstate(all="ignore"):
            (scores,) = run(self._rule, arrays, len(at))
        check_scores(self._rule, self._task, scores)
        found: list[float] = scores.astype(np.float64).tolist()
        return found


def try_rule(model: Model, rule: FallbackRule, inputs: Sequence[Array]) -> None:
    """Check on examples that the rule returns scores, and that the score of a row does not depend on other rows.

    inputs: one array for each of the rule's columns, of at least one row; NaN scores are accepted. Raises
    DefinitionError.
    """
    with np.errstate(all="ignore"):
        outputs = run(rule, inputs, len(inputs[0]))
        check_rows_apart(rule, inputs, outputs)
    scores = outputs[0].astype(np.float64)
    check_scores(rule, model.task, scores[~np.isnan(scores)])


def check_scores(rule: FallbackRule, task: Task, scores: Array) -> None:
    """Raise DefinitionError if a score lies outside the range of the task, or is NaN."""
    low, high, expected = LIMITS[task]
    wrong = ~((scores >= low) & (scores <= high))
    if task == "multiclass":
        wrong |= scores != np.floor(scores)
    if wrong.any():
        raise DefinitionError(f"{rule.called} gave {scores[wrong][0]:g}; expected {expected}")
