"""Which label counts, where the log has several for a prediction. All who read labels ask here.

A label belongs to the prediction of its id and model; a label that names no model, to the predictions of its id in
every model. Of several labels for one prediction the one that became known last counts; of those that became known at
the same time, the one that was logged last.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pc = LazyLibrary("pyarrow.compute")

Time = TypeVar("Time", int, datetime)


def replaces(known_at: Time, earlier: Time) -> bool:
    """Return True if a label counts instead of another one for the same prediction that was logged before it."""
    return known_at >= earlier


def ordered(known_at: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the order in which labels take effect: of those for one prediction the last counts.

    known_at: of labels in the order of the log.
    """
    return known_at.argsort(kind="stable")


def belongs(named: str | None, model: str) -> bool:
    """Return True if a label that names a model, or none, is for predictions of `model`."""
    return named in (model, None)


def belong(named: pa.Array | pa.ChunkedArray, model: str) -> pa.Array | pa.ChunkedArray:
    """Return for each of many labels if it is for predictions of `model`. named: the model of each, or null."""
    return pc.fill_null(pc.equal(named, model), True)
