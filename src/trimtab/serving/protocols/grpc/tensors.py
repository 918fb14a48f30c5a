"""Inference messages as the bodies that HTTP knows, and responses as messages.

What a tensor may hold, and which one has all features, is decided in v2/request.py. There is no null here:
a NaN is a missing value.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import UnsetType

from trimtab.serving.protocols.grpc.messages import MESSAGES
from trimtab.serving.protocols.v2 import binary as binary
from trimtab.serving.protocols.v2.request import Body, RequestedOutput, Wanted, interpret
from trimtab.serving.protocols.v2.response import selected
from trimtab.serving.protocols.v2.tensors import Tensor
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype -> the field of InferTensorContents; the 16-bit floats have none and come raw."""

Message = Any
"""A protobuf message of `messages`; its classes are made at import, so no type checker knows them."""


def decode(message: Message) -> tuple[InferenceRequest, Wanted | None]:
    """Read a ModelInferRequest, and which outputs it wants (None: all). Raises Refused."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise Refused(400, f"raw_input_contents has {len(raw)} entries; expected one for each of the inputs")
    inputs, blobs = [], []
    for index, given in enumerate(message.inputs):
        tensor = Tensor(given.name, list(given.shape), given.datatype, None, parameters(given.parameters))
        if raw:
            if given.contents.ByteSize():
                raise Refused(
                    400, f"input '{tensor.name:.60}' has contents beside raw_input_contents; expected one of both"
                )
            tensor.parameters = {**(tensor.parameters or {}), "binary_data_size": len(raw[index])}
            blobs.append(raw[index])
        else:
            tensor.data = _values(tensor, given.contents)
        inputs.append(tensor)
    body = Body(
        inputs,
        message.id or None,
        parameters(message.parameters),
        [RequestedOutput(output.name, parameters(output.parameters)) for output in message.outputs] or None,
    )
    if body.parameters is not None:
        _mend(body.parameters)
    return interpret(body, memoryview(b"".join(blobs)) if raw else None)


def encode(response: InferenceResponse, wanted: Wanted | None, *, raw: bool) -> Message:
    """Write a ModelInferResponse. raw: whether tensors are bytes, which is what clients that send bytes read.

    Parameters are role, revision, and fallback where there was one. Ids of predictions follow from the id: itself for
    one row, id/0, id/1, ... for several.
    """
    message = MESSAGES["ModelInferResponse"](
        model_name=response.model, model_version=str(response.version), id=response.request_id
    )
    _set(message.parameters, "role", response.role)
    _set(message.parameters, "revision", response.revision)
    if response.fallback is not None:
        _set(message.parameters, "fallback", response.fallback)
    if response.versions is not None:
        _set(message.parameters, "versions", ",".join(map(str, response.versions)))
    for output in selected(response, wanted):
        tensor = message.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        data = () if isinstance(output.data, UnsetType) else output.data
        if raw:
            message.raw_output_contents.append(binary.pack(data, output.datatype))
        else:
            values = [str(value).encode() for value in data] if output.datatype == "BYTES" else data
            getattr(tensor.contents, CONTENTS[output.datatype]).extend(values)
        if not isinstance(output.parameters, UnsetType):
            for name, value in output.parameters.items():
                _set(tensor.parameters, name, value)
    return message


def parameters(found: Message) -> dict[str, Any] | None:
    """Return what a map of InferParameter holds, None for nothing."""
    if not found:
        return None
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in found.items()}
    return {name: getattr(found[name], choice) for name, choice in chosen.items() if choice is not None}


def _set(found: Message, name: str, value: object) -> None:
    """Put a parameter; a list becomes text, divided by commas, or JSON where an item has a comma."""
    if isinstance(value, int):
        found[name].int64_param = value
    elif isinstance(value, float):
        found[name].double_param = value
    elif isinstance(value, str):
        found[name].string_param = value
    else:
        items = list(map(str, value))  # type: ignore[call-overload]  # outputs have lists of texts
        joins = not any("," in item for item in items)
        found[name].string_param = ",".join(items) if joins else msgspec.json.encode(items).decode()


def _mend(given: dict[str, Any]) -> None:
    """Read options that came as text: KServe's parameters have no fractions."""
    if isinstance(given.get("coverage"), str):
        try:
            given["coverage"] = float(given["coverage"])
        except ValueError:
            return  # refused as what it is


def _values(tensor: Tensor, contents: Message) -> list[Any]:
    name = CONTENTS.get(tensor.datatype)
    if name is None:
        if tensor.datatype in ("FP16", "BF16"):
            raise Refused(400, f"input '{tensor.name:.60}' is {tensor.datatype}, which has to come raw")
        return []  # refused as an unknown datatype
    values: list[Any] = list(getattr(contents, name))
    expected = math.prod(tensor.shape[:8])
    if len(values) != expected and min(tensor.shape, default=0) >= 0:  # else the shape itself is refused
        raise Refused(
            400,
            f"input '{tensor.name:.60}' has {len(values)} values in {name}; "
            f"its shape {tensor.shape[:8]} says {expected}",
        )
    if name == "bytes_contents":
        return _texts(tensor, values)
    return [None if value != value else value for value in values] if name.startswith("fp") else values


def _texts(tensor: Tensor, values: list[bytes]) -> list[Any]:
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        raise Refused(400, f"input '{tensor.name:.60}' holds bytes that are not UTF-8 text") from None
