"""Checks request columns against ranges and values from the source's schema or from the training rows.

limits.py holds the values that a model cannot score. These checks describe the training rows: a value outside of them
suggests an error in the client's data, such as another unit or a code for missing values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.bundle.spec import ColumnCheck

Mask = npt.NDArray[np.bool_]


class RequestChecks:
    """The checks of a bundle for the columns of requests."""

    def __init__(self, checks: Mapping[str, ColumnCheck]) -> None:
        self._checks = dict(checks)
        self._values = {name: frozenset(check.values or ()) for name, check in checks.items()}

    def __bool__(self) -> bool:
        return bool(self._checks)

    def failing(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, Mask]:
        """Return the mask of failing values of each column, bool (rows,); columns without a failing value are left out.

        Missing columns and values of a wrong type are not checked here: the features refuse them.
        """
        found = {}
        for name, check in self._checks.items():
            values = columns.get(name)
            if values is None:
                continue
            failed = _texts(values, check, self._values[name]) if check.is_text else _numbers(values, check)
            if failed is not None and failed.any():
                found[name] = failed
        return found

    def expected(self, name: str) -> str:
        """Return the expected values of a column in words, for a message."""
        return self._checks[name].words()


def _numbers(values: Sequence[Any], check: ColumnCheck) -> Mask | None:
    try:
        x = np.array(values, dtype=np.float64)  # None is NaN
    except (TypeError, ValueError, OverflowError):
        return None
    if x.ndim != 1:  # lists of one length
        return None
    low = -np.inf if check.lowest is None else check.lowest
    high = np.inf if check.highest is None else check.highest
    if check.null:
        return np.asarray((x < low) | (x > high))
    return np.asarray(~((x >= low) & (x <= high)))


def _texts(values: Sequence[Any], check: ColumnCheck, known: frozenset[str]) -> Mask:
    def fails(value: Any) -> bool:
        if value is None:
            return not check.null
        if not isinstance(value, str):
            return False
        if known and value not in known:
            return True
        return not check.shortest <= len(value) <= (check.longest if check.longest is not None else len(value))

    return np.fromiter(map(fails, values), dtype=np.bool_, count=len(values))
