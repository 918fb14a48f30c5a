"""The objects that a fitted estimator holds, however deep: steps, members, trees, boosters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

LIBRARIES = ("sklearn", "lightgbm", "xgboost")


def held_by(estimator: Any) -> Iterator[Any]:
    """Yield the estimator and all that it holds, each once."""
    waiting, seen = [estimator], dict[int, Any]()  # holds the objects, too: ids stay unique only as long as they live
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, str | bytes | int | float | type | None):
            continue
        seen[id(one)] = one
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, np.ndarray):
            waiting += one.ravel().tolist() if one.dtype == object else []
        else:
            yield one
            if type(one).__module__.partition(".")[0] in LIBRARIES and hasattr(one, "__dict__"):
                waiting += vars(one).values()
