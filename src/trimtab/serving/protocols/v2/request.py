"""Reads inference requests of the Open Inference Protocol: JSON and binary tensors.

Reads the bodies of HTTP and, through grpc/tensors.py, the messages of gRPC.

Rows come as one tensor a request column, of shape [n] or [n, 1]; or as one tensor of shape [n, d] with all
features in the order of the bundle's feature list: the one named "X", the one that `parameters.features` names,
or the only one there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from trimtab.errors import nearest
from trimtab.serving.protocols.json_text import read
from trimtab.serving.protocols.v2 import binary as binary
from trimtab.serving.protocols.v2.tensors import FEATURES, Tensor, column, fits
from trimtab.serving.protocols.v2.tensors import features as read_features
from trimtab.serving.requests import MAX_ID, InferenceRequest, Refused, shown

REQUEST_TYPES = ("pd", "np", "str")
"""What `parameters.content_type` of a request may be, as MLServer has them."""


SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
"""Parameters of Triton's stateful models."""


class RequestedOutput(msgspec.Struct, gc=False):
    """One output that the client wants; `parameters.binary_data` asks for it as bytes."""

    name: str
    parameters: dict[str, Any] | None = None


class Body(msgspec.Struct, gc=False):
    """The body of an inference request.

    parameters: `explain` (bool), `coverage` (share that an interval should hold), `features` (name of the tensor
    with all features), `content_type`, `binary_data_output` (bool); others are passed over.
    """

    inputs: Annotated[list[Tensor], msgspec.Meta(extra_json_schema={"minItems": 1})]
    id: Annotated[str | None, msgspec.Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_ID})] = None
    parameters: dict[str, Any] | None = None
    outputs: list[RequestedOutput] | None = None


class Wanted(NamedTuple):
    """The outputs a client asked for, by name, and whether each comes as bytes. names None: all."""

    names: tuple[str, ...] | None
    binary: Mapping[str, bool]
    otherwise_binary: bool

    def as_bytes(self, name: str) -> bool:
        """Whether an output goes out as bytes."""
        return self.binary.get(name, self.otherwise_binary)


_decode = msgspec.json.Decoder(Body).decode


def decode(body: bytes, header_length: str | None = None) -> tuple[InferenceRequest, Wanted | None]:
    """Read an inference request, and which outputs it wants (None: all, as JSON). Raises Refused.

    header_length: of the header Inference-Header-Content-Length, where the JSON of a binary request ends.
    """
    blob = None
    if header_length is not None:
        body, blob = binary.split(body, header_length)
    return interpret(read(_decode, body, "inference request", Body), blob)


def interpret(found: Body, blob: memoryview | None) -> tuple[InferenceRequest, Wanted | None]:
    """Take over what a body says, which may have come in another form than JSON. Raises Refused.

    blob: the bytes of the tensors without data, one after another.
    """
    whole = _whole(found)
    rows = -1
    features: np.ndarray[Any, Any] | None = None
    columns: dict[str, Any] = {}
    for tensor in found.inputs:
        name, shape, data = tensor.name, tensor.shape, tensor.data
        if data is not None and tensor.parameters is None and name != whole and name not in columns:
            count = len(data)
            if shape == [count] and rows in (-1, count) and fits(data, tensor.datatype):  # nearly all there are
                rows = count
                columns[name] = data
                continue
        if not 1 <= len(shape) <= 2 or shape[0] < 0 or (len(shape) == 2 and shape[1] < 1):
            raise Refused(400, f"input '{name:.60}' has shape {shape[:8]}; expected [n] or [n, d]")
        if rows != shape[0]:
            if rows >= 0:
                raise Refused(400, f"input '{name:.60}' has {shape[0]} rows; the inputs before it have {rows}")
            rows = shape[0]
        raw = None
        if data is None:
            raw, blob = _raw(tensor, blob)
        if name == whole:
            features = read_features(tensor, raw)
        elif name in columns:
            raise Refused(400, f"two inputs are named '{name:.60}'")
        else:
            columns[name] = column(tensor, raw)
    if rows < 0:
        raise Refused(400, "inputs is empty; expected one tensor a request column, or one tensor X with all features")
    if blob:
        raise Refused(400, f"{len(blob)} bytes are left behind the last tensor")
    request = InferenceRequest(rows, columns, features, found.id)
    if found.parameters:
        _options(request, found.parameters)
    wanted = None if not found.outputs and not found.parameters else _wanted(found)
    return request, wanted


def _whole(found: Body) -> str | None:
    """Return the name of the tensor that holds all features."""
    inputs, parameters = found.inputs, found.parameters
    if parameters is not None:
        named = parameters.get("features")
        if named is not None:
            if named not in [tensor.name for tensor in inputs]:
                raise Refused(400, f"parameters.features names no input: {shown(named)}")
            return str(named)
        if parameters.get("content_type") == "np" and inputs and len(inputs[0].shape) == 2:
            return inputs[0].name
    if len(inputs) == 1:
        tensor = inputs[0]
        shape = tensor.shape
        if len(shape) == 2 and ((shape[1] > 1 and tensor.datatype not in ("BYTES", "BOOL")) or tensor.name == FEATURES):
            return tensor.name
        return None
    for tensor in inputs:
        if tensor.name == FEATURES and len(tensor.shape) == 2:
            return FEATURES
    return None


def _raw(tensor: Tensor, blob: memoryview | None) -> tuple[memoryview, memoryview]:
    """Return the bytes of a tensor without data, and those behind them."""
    size = None if tensor.parameters is None else tensor.parameters.get("binary_data_size")
    if size is None or blob is None:
        raise Refused(
            400,
            f"input '{tensor.name:.60}' has no data; expected data, or parameters.binary_data_size and the header "
            "Inference-Header-Content-Length",
        )
    return binary.take(blob, size, tensor.name)


def _options(request: InferenceRequest, parameters: dict[str, Any]) -> None:
    """Take over what the parameters of a request ask for. Raises Refused."""
    explain = parameters.get("explain", False)
    if type(explain) is not bool:
        raise Refused(400, f"parameters.explain is {shown(explain, most=40)}; expected true or false")
    coverage = parameters.get("coverage")
    if coverage is not None and not (type(coverage) is float and 0 < coverage < 1):
        raise Refused(
            400, f"parameters.coverage is {shown(coverage, most=40)}; expected a share between 0 and 1, such as 0.9"
        )
    for name in SEQUENCE:
        if parameters.get(name):
            raise Refused(400, f"parameters.{name} is not served: models here keep no state between requests")
    content_type = parameters.get("content_type")
    if content_type is not None and content_type not in REQUEST_TYPES:
        hint = nearest(str(content_type)[:20], REQUEST_TYPES)
        raise Refused(400, f"parameters.content_type {shown(content_type, most=40)} is not known.{hint}")
    request.explain = explain
    request.coverage = coverage


def _wanted(found: Body) -> Wanted | None:
    otherwise = bool(found.parameters and found.parameters.get("binary_data_output") is True)
    if not found.outputs:
        return Wanted(None, {}, True) if otherwise else None
    as_bytes: dict[str, bool] = {}
    for output in found.outputs:
        parameters = output.parameters or {}
        if parameters.get("classification"):
            raise Refused(400, f"output '{output.name:.60}': the classification extension is not served")
        if type(parameters.get("binary_data")) is bool:
            as_bytes[output.name] = parameters["binary_data"]
    return Wanted(tuple([output.name for output in found.outputs]), as_bytes, otherwise)
