"""Scores rows with a bundle's ONNX graph. Used by parity checks, gates and the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from trimtab.errors import DataError

Task = Literal["binary", "regression"]


class Scorer:
    """An ONNX Runtime session with one thread. Raises DataError for a graph that cannot be loaded.

    score(X) takes float32 (rows, features) and returns float64 (rows,): the probability of the positive
    class of a binary model, the predicted value of a regression.
    """

    def __init__(self, graph: bytes | str, task: Task) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # a backend wrapper: ONNX Runtime raises many kinds of errors, with no common base
            where = graph if isinstance(graph, str) else "the graph"
            raise DataError(f"{where}: ONNX Runtime cannot load it: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self.task = task
        outputs = [output.name for output in self._session.get_outputs()]
        if task == "binary" and "probabilities" not in outputs:
            raise DataError(f"the graph of a binary model needs an output 'probabilities'; it has {outputs}")
        self._output = "probabilities" if task == "binary" else outputs[0]

    @classmethod
    def open(cls, folder: Path, task: Task) -> Scorer:
        """Load model.onnx of a bundle folder. Raises DataError."""
        path = folder / "model.onnx"
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        return cls(str(path), task)

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return one score a row."""
        out = self._session.run([self._output], {self._input: X})[0]
        if self.task == "binary":
            out = out[:, 1]
        return np.asarray(out, dtype=np.float64).reshape(len(X))
