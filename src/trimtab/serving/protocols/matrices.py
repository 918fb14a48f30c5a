"""Reads features as they come in JSON into one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.serving.requests import Refused, shown

_NUMBERS = {float, int, bool, type(None)}
AT_ONCE = 4096
"""Rows that one call of NumPy converts: it keeps Python's interpreter meanwhile."""


def matrix(data: Sequence[Any], rows: int | None = None) -> np.ndarray[Any, Any]:
    """Return numbers as float32 (rows, features); None is a missing value. Raises Refused.

    data: a list of rows, or flat in order of rows when `rows` is given.
    """
    lists = data if data and type(data[0]) is list else [data]
    kinds: set[type] = set()
    for row in lists:
        if type(row) is not list:
            raise Refused(400, f"a row of features is a list; found {shown(row, most=80)}")
        kinds.update(map(type, row))
    if not kinds <= _NUMBERS:
        names = sorted(kind.__name__ for kind in kinds - _NUMBERS)
        raise Refused(400, f"features must be numbers or null; found {', '.join(names)}")
    try:
        array = _array(data)  # beyond float32 is infinite, as it was in training
        if array.ndim == 1 and rows:
            array = array.reshape(rows, -1)
    except (ValueError, OverflowError) as error:
        raise Refused(400, f"features are not a table of numbers: {error}") from None
    if array.ndim != 2 or rows not in (None, len(array)):
        raise Refused(400, f"features have shape {list(array.shape)}; expected {[rows or 'rows', 'features']}")
    return array


def _array(data: Sequence[Any]) -> np.ndarray[Any, Any]:
    if len(data) <= AT_ONCE:
        return np.array(data, dtype=np.float32)
    parts = [np.array(data[start : start + AT_ONCE], dtype=np.float32) for start in range(0, len(data), AT_ONCE)]
    return np.concatenate(parts)
