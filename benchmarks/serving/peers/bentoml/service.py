"""A BentoML service with an adaptively batched endpoint, for `bentoml serve service:Hgb`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bentoml
import joblib
import numpy as np
import onnxruntime

Rows = np.ndarray[Any, Any]

MODEL = Path(os.environ["BENCH_MODEL"])


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Hgb:
    """Answers rows of floats with the probability of the second class."""

    def __init__(self) -> None:
        if os.environ["BENCH_RUNTIME"] == "onnx":
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(MODEL / "model.onnx", options, providers=["CPUExecutionProvider"])
            self.score: Callable[[Rows], Rows] = lambda rows: session.run(["probabilities"], {"X": rows})[0]
        else:
            self.score = joblib.load(MODEL / "model.joblib").predict_proba

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=64)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return one probability a row."""
        return self.score(np.asarray(rows, dtype=np.float32))[:, 1]
