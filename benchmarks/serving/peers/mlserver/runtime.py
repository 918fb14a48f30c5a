"""A custom runtime, as MLServer's documentation shows one: ONNX Runtime behind its batching."""

from __future__ import annotations

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class GraphModel(MLModel):
    """Answers with the probability of the second class."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec).astype(np.float32)
        scores = self.session.run(["probabilities"], {"X": rows})[0]
        output = NumpyCodec.encode_output("predict_proba", scores)
        return InferenceResponse(model_name=self.name, outputs=[output])
