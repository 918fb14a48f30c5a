"""The vectorizer of bundles without views or transforms: features are numeric request columns of the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.bundle.spec import Spec
from trimtab.errors import DataError
from trimtab.serving.core.loaded_bundle import VectorizerFactory
from trimtab.serving.requests import shown

_NUMBERS = {int, float, type(None)}
_TRUTHS_TOO = {*_NUMBERS, bool}


class NumericColumns:
    """Takes each feature from the request column that has its name; None is a missing value."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        strange = [name for name in spec.features if name not in spec.request_columns]
        if strange:
            raise DataError(f"{folder}: feature '{strange[0]}' is no request column; it needs the project's views")
        self._features = [
            (name, _NUMBERS if spec.request_types.get(name) in ("number", "integer") else _TRUTHS_TOO)
            for name in spec.features
        ]

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> np.ndarray[Any, Any]:
        """Return float32 (rows, features). Raises DataError naming the column and the row."""
        out = np.empty((len(at), len(self._features)), dtype=np.float32)
        for place, (name, kinds) in enumerate(self._features):
            values = columns[name]
            if not kinds.issuperset(map(type, values)):
                row = next(row for row, value in enumerate(values) if type(value) not in kinds)
                raise DataError(f"column '{name}', row {row}: {shown(values[row], most=40)} is not a number")
            try:
                out[:, place] = values
            except OverflowError as error:
                raise DataError(f"column '{name}': {error}") from None
        return out


_: VectorizerFactory = NumericColumns
