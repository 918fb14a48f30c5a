"""The ceiling: a raw ASGI callable, msgspec and ONNX Runtime on uvicorn, which does nothing but answer.

python serve.py MODEL_FOLDER PORT
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import uvicorn

Application = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


def application(graph: str) -> Application:
    """Return the app."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode

    async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        content = b'{"ready":true}'
        if scope["method"] == "POST":
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message["body"], message.get("more_body", False)
            tensor = decode(body)["inputs"][0]
            rows = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
            scores = session.run(["probabilities"], {"X": rows})[0][:, 1].tolist()
            output = {"name": "probability", "shape": [len(scores)], "datatype": "FP64", "data": scores}
            content = encode({"model_name": "hgb", "outputs": [output]})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

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
        lifespan="off",
        proxy_headers=False,
    )
