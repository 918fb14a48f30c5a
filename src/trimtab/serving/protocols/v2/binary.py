"""Tensors as bytes behind the JSON of a body: the binary tensor extension.

Numbers are little-endian in order of rows, a BOOL is one byte, each element of BYTES has its length before it
in four bytes. The header Inference-Header-Content-Length tells where the JSON ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trimtab.serving.requests import Refused, shown

DTYPES = {
    "BOOL": "<?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Datatype -> NumPy type. BYTES has no fixed size; NumPy has no BF16, which is the upper half of an FP32."""


def split(body: bytes, header: str) -> tuple[bytes, memoryview]:
    """Split a body into its JSON and the bytes after it. Raises Refused."""
    if not (header.isascii() and header.isdigit()) or len(header) > 15 or int(header) > len(body):
        raise Refused(
            400, f"Inference-Header-Content-Length is '{header:.40}'; expected 0 to the body's {len(body)} bytes"
        )
    length = int(header)
    return body[:length], memoryview(body)[length:]


def take(blob: memoryview, size: Any, name: str) -> tuple[memoryview, memoryview]:
    """Split off the bytes of one tensor. size: its binary_data_size. Raises Refused."""
    if type(size) is not int or not 0 <= size <= len(blob):
        raise Refused(
            400,
            f"input '{name:.60}': binary_data_size is {shown(size, most=40)}; {len(blob)} bytes are left",
        )
    return blob[:size], blob[size:]


def numbers(raw: memoryview, datatype: str, shape: Sequence[int], name: str) -> np.ndarray[Any, Any]:
    """Return numbers as an array of a shape. Raises Refused."""
    dtype = np.dtype(DTYPES.get(datatype, "<u2"))
    expected = dtype.itemsize
    for length in shape:
        expected *= length
    if len(raw) != expected:
        raise Refused(
            400, f"input '{name:.60}': {list(shape)[:8]} of {datatype} take {expected} bytes; it has {len(raw)}"
        )
    if datatype == "BOOL":
        return np.asarray(np.frombuffer(raw, np.uint8) != 0).reshape(shape)
    if datatype == "BF16":
        return np.asarray((np.frombuffer(raw, dtype).astype("<u4") << 16).view("<f4")).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape)


def texts(raw: memoryview, count: int, name: str) -> list[str]:
    """Return the elements of a BYTES tensor as texts. Raises Refused."""
    content, at = bytes(raw), 0
    found: list[str] = []
    while at < len(content):
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        if at + 4 > len(content) or end > len(content):
            raise Refused(400, f"input '{name:.60}': element {len(found)} is longer than the bytes that are left")
        try:
            found.append(content[at + 4 : end].decode())
        except UnicodeDecodeError as error:
            raise Refused(400, f"input '{name:.60}': element {len(found)} is not UTF-8: {error}") from None
        at = end
        if len(found) > count:
            break
    if len(found) != count:
        at_least = "more" if len(found) > count else str(len(found))
        raise Refused(400, f"input '{name:.60}' has {at_least} elements; its shape says {count}")
    return found


def pack(values: Sequence[float | str], datatype: str) -> bytes:
    """Return numbers, or texts of datatype BYTES, as bytes."""
    if datatype == "BYTES":
        elements = [str(value).encode() for value in values]
        return b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    return np.asarray(values, dtype=DTYPES[datatype]).tobytes()
