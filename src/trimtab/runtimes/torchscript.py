"""The TorchScript runtime: loads a module that PyTorch wrote as TorchScript, and scores with one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from trimtab.bundle.outputs import one_a_row
from trimtab.bundle.scorer import Options, Scorer
from trimtab.bundle.spec import Task
from trimtab.errors import DataError
from trimtab.runtimes.opening import Opener
from trimtab.tasks import RULES


class TorchScorer:
    """A module. Raises DataError for a file that PyTorch cannot read."""

    in_process = True

    def __init__(self, path: Path, task: Task) -> None:
        try:
            self.module = torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{path}: PyTorch cannot load it: {error}") from error
        torch.set_num_threads(1)
        self.task = task
        self._path = path

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of rows."""
        if not len(X):
            return RULES[self.task].no_scores
        with torch.no_grad():
            out = self.module(torch.from_numpy(np.ascontiguousarray(X, dtype=np.float32))).numpy()
        return one_a_row(out, len(X), task=self.task, what=str(self._path))

    def close(self) -> None:
        """No-op: the model holds memory only."""


def open_model(path: Path, task: Task, options: Options) -> Scorer:
    """Open the file. Raises DataError."""
    return TorchScorer(path, task)


_: Opener = open_model
