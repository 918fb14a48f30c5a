"""Scores rows with a bundle's model, whatever runtime opens it. Used by parity checks, gates and the gateway."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from trimtab.bundle.spec import Task
from trimtab.errors import DataError

PYFUNC = "pyfunc"
"""What policy `serving.trust` must hold before an MLflow model with pickles is run."""

TIMEOUT_S = 30.0


class Scorer(Protocol):
    """A model that is ready to score. Safe to share between threads."""

    @property
    def task(self) -> Task:
        """What the scores are."""
        ...

    @property
    def in_process(self) -> bool:
        """False when scoring waits for another process, and so does not belong on an event loop."""
        ...

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return one score a row: float64 (rows,) for float32 (rows, features), NaN for what is missing.

        It is the probability of the positive class of a binary model, the predicted value of a regression.
        Raises what the runtime raises; DataError when the model gives anything but one number a row.
        """
        ...

    def close(self) -> None:
        """Let go of the model; it is not scored afterwards."""
        ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """What opening a model depends on beside its file."""

    trust: Collection[str] = ()
    """Policy `serving.trust`."""
    timeout_s: float = TIMEOUT_S
    """Longest wait for a model in another process."""
    aside: bool = False
    """Whether it answers nobody: a process of its own then runs only when nobody else wants the processor."""


def inside(folder: Path, name: str) -> Path:
    """Return a file of a folder. Raises DataError when the name leads outside, or there is no such file."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DataError(f"{folder}: the model's file '{name}' leads outside the folder")
    if not (folder / name).is_file():
        raise DataError(f"{folder / name}: no such file")
    return folder / name
