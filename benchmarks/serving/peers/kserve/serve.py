"""A custom model in KServe's Python SDK, V1 protocol: python serve.py MODEL_FOLDER PORT native|onnx."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import kserve
import numpy as np
import onnxruntime

Rows = np.ndarray[Any, Any]


class Hgb(kserve.Model):
    """Answers instances with the probability of the second class."""

    def __init__(self, model: Path, runtime: str) -> None:
        super().__init__("hgb")
        if runtime == "onnx":
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(model / "model.onnx", options, providers=["CPUExecutionProvider"])
            self.score: Callable[[Rows], Rows] = lambda rows: session.run(["probabilities"], {"X": rows})[0]
        else:
            self.score = joblib.load(model / "model.joblib").predict_proba
        self.ready = True

    async def predict(
        self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None
    ) -> dict[str, list[float]]:
        """Return {"predictions": one probability a row}."""
        return {"predictions": self.score(np.array(payload["instances"], dtype=np.float32))[:, 1].tolist()}


if __name__ == "__main__":
    kserve.ModelServer(http_port=int(sys.argv[2]), workers=1, enable_grpc=False, enable_latency_logging=False).start(
        [Hgb(Path(sys.argv[1]), sys.argv[3])]
    )
