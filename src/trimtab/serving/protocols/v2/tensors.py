"""Tensors of the Open Inference Protocol, as request columns or as features."""

from __future__ import annotations

import base64
import binascii
import sys
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from trimtab.clock import parse_time
from trimtab.errors import nearest
from trimtab.serving.protocols.matrices import matrix
from trimtab.serving.protocols.v2 import binary as binary
from trimtab.serving.requests import Refused, shown

FEATURES = "X"
FEW = 4
"""Longest column of which checking each value is faster than a set of their types."""
LARGEST = sys.float_info.max
TENSOR_TYPES = ("np", "pd", "str", "base64", "datetime")
"""What `parameters.content_type` of a tensor may be, as MLServer has them."""
_NONE = type(None)


class Kind(NamedTuple):
    """Datatype -> JSON types of its values; null is a missing value."""

    types: frozenset[type]
    low: float
    high: float


def _integers(bits: int, *, signed: bool) -> Kind:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return Kind(frozenset({int, _NONE}), low, high)


KINDS: dict[str, Kind] = {
    "BOOL": Kind(frozenset({bool, int, _NONE}), 0, 1),
    **{f"UINT{bits}": _integers(bits, signed=False) for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": _integers(bits, signed=True) for bits in (8, 16, 32, 64)},
    **{name: Kind(frozenset({int, float, _NONE}), -LARGEST, LARGEST) for name in ("FP16", "BF16", "FP32", "FP64")},
    "BYTES": Kind(frozenset({str, _NONE}), 0, 0),
}
# for the OpenAPI document alone: errors are checked and worded here
_Length = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 0})]


class Tensor(msgspec.Struct, gc=False):
    """One named input. data: flat or nested; without it, its bytes are behind the JSON."""

    name: str
    shape: Annotated[list[_Length], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": 2})]
    datatype: Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(KINDS)})]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


def fits(data: list[Any], datatype: str) -> bool:
    """Return True if all values of a column have its datatype."""
    kind = KINDS.get(datatype)
    if kind is None:
        return False
    types, low, high = kind
    if len(data) > FEW:
        found = set(map(type, data))
        if int not in found or not found <= types:
            return found <= types
    for value in data:
        its = type(value)
        if its not in types or (its is int and not low <= value <= high):
            return False
    return True


def features(tensor: Tensor, raw: memoryview | None) -> np.ndarray[Any, Any]:
    """Return all features as float32 (rows, features). raw: the bytes of a tensor without data. Raises Refused."""
    _check_datatype(tensor)
    if tensor.datatype in ("BYTES", "BOOL"):
        raise Refused(400, f"input '{tensor.name:.60}' is {tensor.datatype}; features are numbers, such as FP32")
    shape = tensor.shape
    rows = shape[0]
    if raw is not None:
        array = binary.numbers(raw, tensor.datatype, shape, tensor.name).reshape(
            rows, shape[-1] if len(shape) == 2 else 1
        )
        if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
            array = array.astype(np.float64)  # rounded in the same two steps as an integer in JSON
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    array = matrix(tensor.data or [], rows)
    if array.shape != (rows, shape[1] if len(shape) == 2 else array.shape[1]):
        raise Refused(400, f"input '{tensor.name:.60}' has {list(array.shape)} values; its shape says {shape}")
    return array


def column(tensor: Tensor, raw: memoryview | None) -> list[Any]:
    """Return a request column, one value a row. raw: the bytes of a tensor without data. Raises Refused."""
    _check_datatype(tensor)
    shape, data = tensor.shape, tensor.data
    if len(shape) == 2:
        if shape[1] != 1:
            raise Refused(
                400,
                f"input '{tensor.name:.60}' has shape {shape}; a request column has one value a row: [n] or "
                f"[n, 1]. All features in one tensor come as the input '{FEATURES}'",
            )
        if data and all(type(row) is list and len(row) == 1 for row in data):
            data = [row[0] for row in data]
    if data is None:
        return _binary_column(tensor, raw)
    if len(data) != shape[0]:
        raise Refused(400, f"input '{tensor.name:.60}' has {len(data)} values; its shape {shape} says {shape[0]}")
    for row, value in enumerate(data):
        if not fits([value], tensor.datatype):
            raise Refused(
                400, f"input '{tensor.name:.60}', row {row}: {shown(value)} is not of datatype {tensor.datatype}"
            )
    return data if tensor.parameters is None else _converted(tensor, data)


def _binary_column(tensor: Tensor, raw: memoryview | None) -> list[Any]:
    if raw is None:
        raise Refused(400, f"input '{tensor.name:.60}' has no data")
    if tensor.datatype == "BYTES":
        return _converted(tensor, binary.texts(raw, tensor.shape[0], tensor.name))
    values: list[Any] = binary.numbers(raw, tensor.datatype, tensor.shape, tensor.name).reshape(-1).tolist()
    if tensor.datatype.startswith(("FP", "BF")):
        return [None if value != value else value for value in values]  # not a number is a missing value, as in JSON
    return values


def _check_datatype(tensor: Tensor) -> None:
    if tensor.datatype not in KINDS:
        hint = nearest(tensor.datatype[:20], KINDS)
        raise Refused(400, f"input '{tensor.name:.60}': unknown datatype '{tensor.datatype:.20}'.{hint}")


def _converted(tensor: Tensor, data: list[Any]) -> list[Any]:
    """Return texts as the tensor's content type says."""
    content_type = (tensor.parameters or {}).get("content_type")
    if content_type is None:
        return data
    if content_type not in TENSOR_TYPES:
        raise Refused(
            400,
            f"input '{tensor.name:.60}': content_type {shown(content_type, most=40)} is not known."
            f"{nearest(str(content_type)[:20], TENSOR_TYPES)}",
        )
    if tensor.datatype != "BYTES" or content_type not in ("base64", "datetime"):
        return data
    read = _unpacked if content_type == "base64" else _moment
    found = []
    for row, value in enumerate(data):
        try:
            found.append(None if value is None else read(value))
        except ValueError:
            raise Refused(
                400, f"input '{tensor.name:.60}', row {row}: {shown(value)} is not of content_type {content_type}"
            ) from None
    return found


def _unpacked(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def _moment(text: str) -> str:
    parse_time(text)
    return text
