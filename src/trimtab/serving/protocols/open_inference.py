"""The Open Inference Protocol, version 2 (KServe, MLServer, Triton), as JSON. Called by asgi.

Rows come as one tensor a request column, of shape [n] or [n, 1]; or as one tensor of shape [n, d] named "X"
(or as `parameters.features` says) with all features in the order of the bundle's feature list.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version as package_version
from typing import Any

import msgspec
import numpy as np

from trimtab.errors import nearest
from trimtab.serving.gateway import Gateway
from trimtab.serving.http import Answer, Call, Route
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused, matrix
from trimtab.serving.table import ModelTable

FEATURES = "X"
_NONE = type(None)
INTEGERS = ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
FLOATS = ("FP16", "FP32", "FP64")
KINDS: dict[str, set[type]] = {
    "BOOL": {bool, int, _NONE},
    **{name: {int, _NONE} for name in INTEGERS},
    **{name: {int, float, _NONE} for name in FLOATS},
    "BYTES": {str, _NONE},
}
"""Datatype -> what its values may be in JSON; null is a missing value."""
PLATFORM = "onnxruntime_onnx"


class Tensor(msgspec.Struct):
    """One named input."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] | None = None


class RequestedOutput(msgspec.Struct):
    """One output that the client wants."""

    name: str
    parameters: dict[str, Any] | None = None


class Body(msgspec.Struct):
    """The body of an inference request."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[RequestedOutput] | None = None


class OutputTensor(msgspec.Struct):
    """One output."""

    name: str
    shape: list[int]
    datatype: str
    data: Sequence[float]


class ResponseBody(msgspec.Struct):
    """The body of an inference response."""

    model_name: str
    model_version: str
    id: str
    parameters: dict[str, Any]
    outputs: list[OutputTensor]


Wanted = list[str] | None
"""Names of the outputs a client asked for; None is all."""

_decode = msgspec.json.Decoder(Body).decode
_encode = msgspec.json.Encoder().encode


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of the protocol over a gateway."""

    async def server(call: Call) -> Answer:
        return Answer(200, server_metadata(package_version("trimtab")))

    async def models(call: Call) -> Answer:
        return Answer(200, _encode({"models": sorted(gateway.table.models)}))

    async def model(call: Call) -> Answer:
        return Answer(200, model_metadata(gateway.table.model(call.model), call.version))

    async def ready(call: Call) -> Answer:
        gateway.table.model(call.model).lane(call.version)
        return Answer(200, _encode({"name": call.model, "ready": True}))

    async def infer(call: Call) -> Answer:
        request, wanted = decode(call.body)
        if request.request_id is None:
            request.request_id = call.request_id
        if wanted is not None:
            check_outputs(wanted, gateway.table.model(call.model))
        response = await gateway.infer(call.model, call.version, request, call.received_ns)
        return Answer(200, encode(response, wanted))

    found = [
        Route("GET", "/v2", "open", server, encode_error, "Describe the server."),
        Route("GET", "/v2/models", "read", models, encode_error, "List the models."),
    ]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            Route("POST", f"{path}/infer", "infer", infer, encode_error, "Score rows."),
            Route("GET", path, "read", model, encode_error, "Describe a model."),
            Route("GET", f"{path}/ready", "read", ready, encode_error, "Tell whether a model is ready."),
        ]
    return found


def decode(body: bytes) -> tuple[InferenceRequest, Wanted]:
    """Read an inference request and the names of the outputs it wants. Raises Refused."""
    try:
        found = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(400, f"malformed inference request: {error}") from None
    wanted = None if not found.outputs else [output.name for output in found.outputs]
    named = None if found.parameters is None else found.parameters.get("features")
    if named is not None and named not in [tensor.name for tensor in found.inputs]:
        raise Refused(400, f"parameters.features names no input: {named!r:.60}")
    rows = -1
    features: np.ndarray[Any, Any] | None = None
    columns: dict[str, list[Any]] = {}
    for tensor in found.inputs:
        own = _rows(tensor)
        if rows not in (-1, own):
            raise Refused(400, f"input '{tensor.name:.60}' has {own} rows; the inputs before it have {rows}")
        rows = own
        if tensor.name == named or (named is None and tensor.name == FEATURES and len(tensor.shape) == 2):
            features = _features(tensor)
        elif tensor.name in columns:
            raise Refused(400, f"two inputs are named '{tensor.name:.60}'")
        else:
            columns[tensor.name] = _column(tensor)
    if rows < 0:
        raise Refused(400, "inputs is empty; expected one tensor a request column, or one tensor X with all features")
    return InferenceRequest(rows, columns, features, found.id), wanted


def encode(response: InferenceResponse, wanted: Wanted = None) -> bytes:
    """Write an inference response. Raises Refused when an output was asked for that there is not."""
    shape = [len(response.scores)]
    if response.task == "binary":
        outputs = [
            OutputTensor("probability", shape, "FP64", response.scores),
            OutputTensor("label", shape, "INT64", response.labels),
        ]
    else:
        outputs = [OutputTensor("prediction", shape, "FP64", response.scores)]
    if wanted is not None:
        by_name = {output.name: output for output in outputs}
        outputs = [by_name[name] for name in wanted]
    parameters: dict[str, Any] = {
        "role": response.role,
        "revision": response.revision,
        "prediction_ids": response.prediction_ids,
    }
    if response.versions is not None:
        parameters["versions"] = response.versions
    return _encode(ResponseBody(response.model, str(response.version), response.request_id, parameters, outputs))


def check_outputs(wanted: Wanted, table: ModelTable) -> None:
    """Raise Refused when an output is asked for that the model does not have. Called before scoring."""
    names = [output["name"] for output in _outputs(table)]
    for name in wanted or ():
        if name not in names:
            raise Refused(400, f"model '{table.model}' has no output '{name:.60}'.{nearest(name[:60], names)}")


def encode_error(status: int, message: str) -> bytes:
    """Write an error."""
    return _encode({"error": message})


def server_metadata(version: str) -> bytes:
    """Answer GET /v2."""
    return _encode({"name": "trimtab", "version": version, "extensions": ["feedback"]})


def model_metadata(table: ModelTable, version: str | None) -> bytes:
    """Answer GET /v2/models/{m}[/versions/{v}]. Raises Refused (404)."""
    lane = table.lane(version) or table.champion
    spec = lane.bundle.spec
    return _encode(
        {
            "name": table.model,
            "versions": [str(number) for number in table.versions],
            "platform": PLATFORM,
            "inputs": [{"name": FEATURES, "datatype": "FP32", "shape": [-1, len(spec.features)]}],
            "outputs": _outputs(table),
            "parameters": {
                "version": str(lane.bundle.version),
                "request_columns": spec.request_columns,
                "features": spec.features,
                "timestamp": spec.timestamp,
                "threshold": spec.threshold,
                "revision": table.revision,
                "roles": {str(other.bundle.version): other.role for other in table.lanes},
            },
        }
    )


def _outputs(table: ModelTable) -> list[dict[str, Any]]:
    if table.spec.task == "binary":
        return [
            {"name": "probability", "datatype": "FP64", "shape": [-1]},
            {"name": "label", "datatype": "INT64", "shape": [-1]},
        ]
    return [{"name": "prediction", "datatype": "FP64", "shape": [-1]}]


def _rows(tensor: Tensor) -> int:
    if tensor.datatype not in KINDS:
        hint = nearest(tensor.datatype[:20], KINDS)
        raise Refused(400, f"input '{tensor.name:.60}': unknown datatype '{tensor.datatype:.20}'.{hint}")
    if not 1 <= len(tensor.shape) <= 2 or min(tensor.shape) < 0:
        raise Refused(400, f"input '{tensor.name:.60}' has shape {tensor.shape[:8]}; expected [n] or [n, d]")
    return tensor.shape[0]


def _features(tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.datatype in ("BYTES", "BOOL"):
        raise Refused(400, f"input '{tensor.name:.60}' is {tensor.datatype}; features are numbers, such as FP32")
    rows = tensor.shape[0]
    array = matrix(tensor.data, rows)
    width = tensor.shape[1] if len(tensor.shape) == 2 else array.shape[1]
    if array.shape != (rows, width):
        raise Refused(400, f"input '{tensor.name:.60}' has {list(array.shape)} values; its shape says {tensor.shape}")
    return array


def _column(tensor: Tensor) -> list[Any]:
    rows, data = tensor.shape[0], tensor.data
    if len(tensor.shape) == 2:
        if tensor.shape[1] != 1:
            raise Refused(
                400,
                f"input '{tensor.name:.60}' has shape {tensor.shape}; a request column has one value a row: [n] or "
                f"[n, 1]. All features in one tensor come as the input '{FEATURES}'",
            )
        if data and all(type(row) is list and len(row) == 1 for row in data):
            data = [row[0] for row in data]
    if len(data) != rows:
        raise Refused(400, f"input '{tensor.name:.60}' has {len(data)} values; its shape {tensor.shape} says {rows}")
    allowed = KINDS[tensor.datatype]
    for row, value in enumerate(data):
        if type(value) not in allowed:
            raise Refused(
                400, f"input '{tensor.name:.60}', row {row}: {value!r:.60} is not of datatype {tensor.datatype}"
            )
    return data
