"""Runs on-demand transforms over arrays and checks what comes back. Used by training_frames, online_plan and rules.

A transform works row by row: a value that depends on other rows would be another one when a request brings a
single row. `check_rows_apart` finds that out before a model is trained on it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trimtab import places
from trimtab.definitions import OnDemand
from trimtab.errors import DefinitionError, nearest
from trimtab.features.kinds import Array

KNOW_NAT = ("polars", "pandas", "pyarrow")
"""Libraries that take the integer of a NaT for what it is."""
SAMPLED_ROWS = 8
"""Rows that are computed once more by themselves."""


class Times(np.ndarray[Any, Any]):
    """datetime64 or timedelta64 whose missing values stay missing: NaT becomes NaN, also on the way to numbers.

    Plain numpy turns NaT into -9.2e18 by astype, a number like any other. So (at - signup).astype("float64") of a
    missing signup would be a hundred million days. Whole numbers with a missing one among them are float64.
    """

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the array in another type, as numpy does; NaT is NaN in numbers."""
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
    """Return the transform's outputs in the order of `transform.outputs`, as numeric arrays of shape (rows,).

    inputs: float64, datetime64[us] or object arrays of shape (rows,), which the transform may not change. A missing
    time is NaT, and NaN when the transform turns it into a number.
    Callers silence numpy's warnings, because missing values are NaN.
    Raises DefinitionError naming transform and output.
    """
    for array in inputs:
        array.flags.writeable = False
    try:
        result = transform.function(*[_with_missing(array) for array in inputs])
    except Exception as error:  # the user's own code: whatever it raises is told with its name
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
    """Return the user's own line that failed: its file without the folder, which is no news for clients."""
    code = getattr(transform.function, "__code__", None)
    found = places.of_error(error, Path(code.co_filename).parent) if code else None
    return f"{found[0].name}:{found[1]}: " if found else ""


def _with_missing(array: Array) -> Array:
    """Return times with a missing one among them as Times; all others are plain arrays, which are faster."""
    return array.view(Times) if array.dtype.kind == "M" and np.count_nonzero(np.isnat(array)) else array


def check_rows_apart(transform: OnDemand, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
    """Check on some rows that each by itself gives what it gave among all. Raises DefinitionError."""
    rows = len(outputs[0])
    for row in np.unique(np.linspace(0, rows - 1, min(rows, SAMPLED_ROWS)).astype(int)):
        alone = run(transform, [array[row : row + 1] for array in inputs], 1)
        for name, found, expected in zip(transform.outputs, alone, outputs, strict=True):
            pair = np.array([found[0], expected[row]], dtype=np.float64).astype(np.float32)
            if not np.array_equal(pair[:1], pair[1:], equal_nan=True):
                raise DefinitionError(
                    f"{transform.called}, output '{name}': row {row} gives {expected[row]} among {rows} rows "
                    f"but {found[0]} by itself, as a request brings it; it may not look at other rows"
                )


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
        raise DefinitionError(f"{transform.called}, output '{output}' is no array: {error}") from error
    if array.shape != (rows,):
        raise DefinitionError(
            f"{transform.called}, output '{output}' has shape {array.shape}; expected ({rows},), one value a row"
        )
    if array.dtype.kind not in "fiub":
        raise DefinitionError(f"{transform.called}, output '{output}' is {array.dtype}; expected numbers or booleans")
    return array
