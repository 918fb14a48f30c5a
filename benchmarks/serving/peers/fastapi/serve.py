"""The peer: FastAPI, async, on uvicorn with ONNX Runtime, as one would write it by hand.

No log, no routing, no metrics. python serve.py MODEL_FOLDER PORT
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Tensor(BaseModel):
    """One named input."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Body(BaseModel):
    """An inference request."""

    inputs: list[Tensor]


def application(graph: str) -> FastAPI:
    """Return the app."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    app = FastAPI()

    @app.get("/v2/health/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/v2/models/hgb/infer")
    async def infer(body: Body) -> dict[str, Any]:
        rows = np.array(body.inputs[0].data, dtype=np.float32).reshape(body.inputs[0].shape)
        scores = session.run(["probabilities"], {"X": rows})[0][:, 1]
        output = {"name": "probability", "shape": [len(scores)], "datatype": "FP64", "data": scores.tolist()}
        return {"model_name": "hgb", "outputs": [output]}

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(f"{sys.argv[1]}/model.onnx"),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
