"""The interface for scoring rows with a bundle's model, independent of its runtime."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from trimtab.bundle.spec import Task
from trimtab.errors import DataError

if TYPE_CHECKING:
    import numpy as np

PROJECT = "project"
"""The word that policy `serving.trust` must hold before a pickle of the project's own training is run."""
PYFUNC = "pyfunc"
"""The word that policy `serving.trust` must hold before an MLflow model with pickles is run."""

TIMEOUT_S = 30.0


class Scorer(Protocol):
    """A loaded model. Safe to share between threads."""

    @property
    def task(self) -> Task:
        """The task of the model, which gives the meaning of its scores."""
        ...

    @property
    def in_process(self) -> bool:
        """False when `score` waits for another process, and must not be called on an event loop."""
        ...

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of rows, float64, for float32 (rows, features) with NaN for missing values.

        The scores of a binary model are probabilities of the positive class, (rows,); of a multiclass model the
        probabilities of its classes in the order of `Spec.classes`, (rows, classes); of a regression the predicted
        values, (rows,); of an anomaly model numbers that are greater for rows that are more anomalous, (rows,).
        Raises the runtime's exceptions; DataError when the model returns anything else.
        """
        ...

    def close(self) -> None:
        """Close the model. `score` must not be called afterwards."""
        ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of opening a model."""

    trust: Collection[str] = ()
    """Policy `serving.trust`."""
    timeout_s: float = TIMEOUT_S
    """Longest wait for a model in another process, in seconds."""
    low_priority: bool = False
    """Run the model's own process, if it has one, only when the processor is otherwise idle; for shadows."""


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder. Raises DataError when the name leads outside or the file is missing."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DataError(f"{folder}: the model's file '{name}' leads outside the folder")
    if not (folder / name).is_file():
        raise DataError(f"{folder / name}: no such file")
    return folder / name
