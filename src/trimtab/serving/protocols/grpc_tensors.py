"""Inference messages from and to the neutral request and response. Called by grpc_service.

Tensors hold what they hold over HTTP: one a request column, of shape [n] or [n, 1], or one of shape [n, d] named
"X" (or as the parameter `features` says) with all features. There is no null: a NaN is a missing value.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.errors import nearest
from trimtab.serving.protocols.grpc_messages import MESSAGES
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused

FEATURES = "X"
DTYPES = {
    "BOOL": "?",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "BF16": "<u2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}
"""Datatype -> numpy's name of its raw form; BF16 is the upper half of an FP32."""
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
_FLOATS = {"FP16", "BF16", "FP32", "FP64"}
_LENGTH = struct.Struct("<I")

Message = Any
"""A protobuf message of grpc_messages; its classes are made at import, so no type checker knows them."""
Output = tuple[str, str, Sequence[Any]]
"""Name, datatype and values, one a row."""


def decode(message: Message) -> tuple[InferenceRequest, list[str] | None]:
    """Read a ModelInferRequest and the names of the outputs it wants, None for all. Raises Refused."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise Refused(400, f"raw_input_contents has {len(raw)} entries; expected one for each of the inputs")
    parameters = {name: parameter(value) for name, value in message.parameters.items()}
    named = parameters.get("features")
    if named is not None and named not in [tensor.name for tensor in message.inputs]:
        raise Refused(400, f"the parameter features names no input: {named!r:.60}")
    rows = -1
    features: np.ndarray[Any, Any] | None = None
    columns: dict[str, list[Any]] = {}
    for index, tensor in enumerate(message.inputs):
        own = _rows(tensor)
        if rows not in (-1, own):
            raise Refused(400, f"input '{tensor.name:.60}' has {own} rows; the inputs before it have {rows}")
        rows = own
        data = raw[index] if raw else None
        if tensor.name == named or (named is None and tensor.name == FEATURES and len(tensor.shape) == 2):
            features = _features(tensor, data)
        elif tensor.name in columns:
            raise Refused(400, f"two inputs are named '{tensor.name:.60}'")
        else:
            columns[tensor.name] = _column(tensor, data)
    if rows < 0:
        raise Refused(400, "inputs is empty; expected one tensor a request column, or one tensor X with all features")
    request = InferenceRequest(rows, columns, features, message.id or None)
    request.explain = parameters.get("explain") in (True, "true")
    request.coverage = _coverage(parameters.get("coverage"))
    return request, [output.name for output in message.outputs] or None


def encode(response: InferenceResponse, wanted: Sequence[str] | None, *, raw: bool) -> Message:
    """Write a ModelInferResponse. raw: whether tensors are bytes, which is what clients that send bytes read."""
    message = MESSAGES["ModelInferResponse"](
        model_name=response.model, model_version=str(response.version), id=response.request_id
    )
    message.parameters["role"].string_param = response.role
    message.parameters["revision"].int64_param = response.revision
    if response.fallback is not None:
        message.parameters["fallback"].string_param = response.fallback
    found = outputs(response)
    if wanted is not None:
        by_name = {output[0]: output for output in found}
        found = [by_name[name] for name in wanted if name in by_name]
    for name, datatype, values in found:
        tensor = message.outputs.add(name=name, datatype=datatype, shape=[len(values)])
        if raw:
            message.raw_output_contents.append(np.array(values, dtype=DTYPES[datatype]).tobytes())
        else:
            getattr(tensor.contents, CONTENTS[datatype]).extend(values)
    return message


def outputs(response: InferenceResponse) -> list[Output]:
    """Return the tensors of a response."""
    if response.task == "binary":
        found: list[Output] = [("probability", "FP64", response.scores), ("label", "INT64", response.labels)]
    else:
        found = [("prediction", "FP64", response.scores)]
    if response.lower is not None and response.upper is not None:
        found += [("lower", "FP64", response.lower), ("upper", "FP64", response.upper)]
    if response.versions is not None:
        found.append(("version", "INT64", response.versions))
    return found


def parameter(value: Message) -> Any:
    """Return what an InferParameter holds, None when it is empty."""
    chosen = value.WhichOneof("parameter_choice")
    return None if chosen is None else getattr(value, chosen)


def _coverage(value: object) -> float | None:
    """KServe's parameters have no fractions, so its clients send them as text."""
    if value is None:
        return None
    try:
        found = float(str(value))
    except ValueError:
        found = -1.0
    if not 0 < found < 1:
        raise Refused(400, f"the parameter coverage is {value!r:.40}; expected a share between 0 and 1, such as 0.9")
    return found


def _rows(tensor: Message) -> int:
    if tensor.datatype not in DTYPES:
        hint = nearest(tensor.datatype[:20], DTYPES)
        raise Refused(400, f"input '{tensor.name:.60}': unknown datatype '{tensor.datatype:.20}'.{hint}")
    shape = list(tensor.shape[:8])
    if not 1 <= len(shape) <= 2 or shape[0] < 0 or (len(shape) == 2 and shape[1] < 1):
        raise Refused(400, f"input '{tensor.name:.60}' has shape {shape}; expected [n] or [n, d]")
    return int(shape[0])


def _features(tensor: Message, data: bytes | None) -> np.ndarray[Any, Any]:
    if tensor.datatype in ("BYTES", "BOOL"):
        raise Refused(400, f"input '{tensor.name:.60}' is {tensor.datatype}; features are numbers, such as FP32")
    if len(tensor.shape) != 2:
        raise Refused(400, f"input '{tensor.name:.60}' has shape {list(tensor.shape)}; features have [rows, features]")
    flat = _array(tensor, data)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as it was in training
        return flat.astype(np.float32, copy=False).reshape(tuple(tensor.shape))


def _column(tensor: Message, data: bytes | None) -> list[Any]:
    if len(tensor.shape) == 2 and tensor.shape[1] != 1:
        raise Refused(
            400,
            f"input '{tensor.name:.60}' has shape {list(tensor.shape)}; a request column has one value a row: [n] or "
            f"[n, 1]. All features in one tensor come as the input '{FEATURES}'",
        )
    if tensor.datatype == "BYTES":
        return _texts(tensor, data)
    values: list[Any] = _array(tensor, data).tolist()
    if tensor.datatype in _FLOATS:
        return [None if value != value else value for value in values]
    return values


def _array(tensor: Message, data: bytes | None) -> np.ndarray[Any, Any]:
    """Return a tensor's numbers, flat; as many as its shape says."""
    kind = np.dtype(DTYPES[tensor.datatype])
    if data is None:
        name = CONTENTS.get(tensor.datatype)
        if name is None:
            raise Refused(400, f"input '{tensor.name:.60}' is {tensor.datatype}, which has to come raw")
        contents = getattr(tensor.contents, name)
        _check_size(tensor, len(contents), "values")
        try:
            return np.array(contents, dtype=kind)
        except OverflowError:
            raise Refused(400, f"input '{tensor.name:.60}' has values beyond {tensor.datatype}") from None
    if len(data) % kind.itemsize:
        raise Refused(400, f"input '{tensor.name:.60}' has {len(data)} bytes; {tensor.datatype} takes {kind.itemsize}")
    _check_size(tensor, len(data) // kind.itemsize, "values")
    found = np.frombuffer(data, dtype=kind)
    return (found.astype(np.uint32) << 16).view(np.float32) if tensor.datatype == "BF16" else found


def _texts(tensor: Message, data: bytes | None) -> list[str]:
    found = list(tensor.contents.bytes_contents) if data is None else _split(tensor, data)
    _check_size(tensor, len(found), "texts")
    try:
        return [text.decode() for text in found]
    except UnicodeDecodeError:
        raise Refused(400, f"input '{tensor.name:.60}' holds bytes that are not UTF-8 text") from None


def _split(tensor: Message, data: bytes) -> list[bytes]:
    """Return the texts of a raw BYTES tensor: each has its length before it, four bytes, the lowest first."""
    found, at = [], 0
    while at + 4 <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(data):
        raise Refused(400, f"input '{tensor.name:.60}': the raw texts end in the middle of one")
    return found


def _check_size(tensor: Message, size: int, what: str) -> None:
    expected = 1
    for length in tensor.shape:
        expected *= length
    if size != expected:
        raise Refused(
            400, f"input '{tensor.name:.60}' has {size} {what}; its shape {list(tensor.shape)} says {expected}"
        )
