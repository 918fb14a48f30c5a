"""A LitServe API: python serve.py MODEL_FOLDER PORT native|onnx.

Annotations are not postponed: LitServe builds its endpoint from one.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import litserve
import numpy as np
import onnxruntime
from fastapi import Request

Rows = np.ndarray[Any, Any]


class Hgb(litserve.LitAPI):
    """Answers a row with the probability of the second class; rows that wait are scored together."""

    def setup(self, device: str) -> None:
        """Load the model in the process that scores."""
        model = Path(sys.argv[1])
        if sys.argv[3] == "onnx":
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(model / "model.onnx", options, providers=["CPUExecutionProvider"])
            self.score: Callable[[Rows], Rows] = lambda rows: session.run(["probabilities"], {"X": rows})[0]
        else:
            self.score = joblib.load(model / "model.joblib").predict_proba

    def decode_request(self, request: Request) -> Rows:
        """Return the row. What comes is the decoded JSON of the request."""
        body: Any = request
        return np.array(body["row"], dtype=np.float32)

    def batch(self, inputs: list[Rows]) -> Rows:
        """Stack rows."""
        return np.stack(inputs)

    def predict(self, x: Rows) -> Rows:
        """Return one probability a row."""
        return self.score(x)[:, 1]

    def unbatch(self, output: Rows) -> list[float]:
        """Take the answers apart."""
        return [float(value) for value in output]

    def encode_response(self, output: float) -> dict[str, float]:
        """Return the answer's body."""
        return {"probability": output}


if __name__ == "__main__":
    server = litserve.LitServer(Hgb(max_batch_size=64, batch_timeout=0.001), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
