"""The ONNX runtime: loads a graph from a file or from memory, and scores with one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from trimtab.bundle.scorer import Options, Scorer
from trimtab.bundle.spec import Task
from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.errors import DataError
from trimtab.metric_catalog import of_models
from trimtab.runtimes.opening import Opener
from trimtab.tasks import RULES

INPUTS = {"tensor(float)": np.float32, "tensor(double)": np.float64}
COLUMNS = ("tensor(float)", "tensor(string)", "tensor(int64)", "tensor(bool)")
PROBABILITIES = "probabilities"


class OnnxScorer:
    """A session of ONNX Runtime. Raises DataError for a graph that cannot be loaded or does not return scores.

    graph: its bytes, or its file. Its one input is a table of numbers, or it has an input for each column of a frame. A
    binary or multiclass graph has an output "probabilities" (rows, classes). Of an anomaly graph the output
    "anomaly_score" is read, if it has one; else, as of a regression, the first output.
    """

    in_process = True

    def __init__(self, graph: bytes | str, task: Task) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # callers report its exceptions
        self._where = graph if isinstance(graph, str) else "the graph"
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # a backend wrapper: the errors of ONNX Runtime have no common base
            raise DataError(f"{self._where}: ONNX Runtime cannot load it: {error}") from error
        self.task = task
        self._by_class = RULES[task].by_class
        self._by_feature = self._takes_columns()
        self._input, self._double = ("", False) if self._by_feature else self._only_input()
        self._output, self._column = self._only_output()

    def _takes_columns(self) -> bool:
        """Return True for a graph with one column a feature, as that of a model of frames."""
        inputs = self._session.get_inputs()
        columns = all(len(one.shape) == 2 and one.shape[1] == 1 and one.type in COLUMNS for one in inputs)
        return columns and (len(inputs) > 1 or inputs[0].type not in INPUTS)

    def _only_input(self) -> tuple[str, bool]:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in INPUTS:
            found = ", ".join(f"{one.name}: {one.type}" for one in inputs)
            raise DataError(f"{self._where}: the graph takes {found}; expected one table of float or double")
        return inputs[0].name, inputs[0].type == "tensor(double)"

    def _only_output(self) -> tuple[str, int | None]:
        """Return the name of the output with the scores, and its column; None for an output of one column."""
        outputs = {output.name: output for output in self._session.get_outputs()}
        rules = RULES[self.task]
        if rules.confidence is None:
            name = next((name for name in outputs if name == rules.graph_output), next(iter(outputs)))
            chosen = outputs[name]
            if chosen.type not in INPUTS:
                raise DataError(
                    f"{self._where}: '{name}' is {chosen.type}, as of a classifier; expected float or double"
                )
            if len(chosen.shape) == 2 and isinstance(chosen.shape[1], int) and chosen.shape[1] != 1:
                raise DataError(f"{self._where}: '{name}' has {chosen.shape[1]} columns; expected one number a row")
            return name, None
        if PROBABILITIES not in outputs:
            raise DataError(
                f"{self._where}: the graph of {of_models([self.task])} needs an output '{PROBABILITIES}'; it has "
                f"{list(outputs)}"
            )
        shape, kind = outputs[PROBABILITIES].shape, outputs[PROBABILITIES].type
        if kind not in INPUTS:
            raise DataError(f"{self._where}: '{PROBABILITIES}' is {kind}, not a tensor; convert with zipmap=False")
        if rules.by_class:
            return PROBABILITIES, None
        if len(shape) == 2 and isinstance(shape[1], int) and shape[1] > 2:
            raise DataError(f"{self._where}: '{PROBABILITIES}' has {shape[1]} classes; expected two")
        return PROBABILITIES, 1

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of rows."""
        if isinstance(X, TypedMatrix) and X.schema.form == "frame":
            columns = X.columns()
        elif self._by_feature:
            raise DataError(f"{self._where}: the graph takes one column a feature; expected rows with typed features")
        else:
            columns = {self._input: X.astype(np.float64) if self._double else np.asarray(X)}
        out = self._session.run([self._output], columns)[0]
        if self._column is not None:
            out = out[:, self._column]
        scores = np.asarray(out, dtype=np.float64)
        return scores if self._by_class else scores.reshape(len(X))

    def close(self) -> None:
        """No-op: the model holds memory only."""


def open_model(path: Path, task: Task, options: Options) -> Scorer:
    """Open the graph. Raises DataError."""
    return OnnxScorer(str(path), task)


_: Opener = open_model
