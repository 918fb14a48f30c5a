"""Tensors as bytes, packed and unpacked by Triton's own client."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.protocols.v2.request import decode
from trimtab.serving.protocols.v2.response import encode_binary
from trimtab.serving.requests import Explanation, InferenceResponse, Refused

NUMBERS = ["UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64"]
OF_NUMPY = {"FP16": "float16", "BF16": ml_dtypes.bfloat16, "FP32": "float32", "FP64": "float64"}


def packed(*inputs: tuple[str, str, Any], outputs: Any = None, **more: Any) -> tuple[bytes, str | None]:
    """Return a request as Triton's client writes it, and the length of its JSON."""
    made = []
    for name, datatype, values in inputs:
        array = np.array(values)
        made.append(triton.InferInput(name, list(array.shape), datatype))
        made[-1].set_data_from_numpy(array)
    body, length = triton.InferenceServerClient.generate_request_body(made, outputs=outputs, **more)
    return body, None if length is None else str(length)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_of_every_datatype(datatype: str) -> None:
    values = np.array([1, 0, 100], OF_NUMPY.get(datatype, datatype.lower()))
    request, _ = decode(*packed(("a", datatype, values), ("b", datatype, values[:, None])))
    assert request.columns == {"a": [1, 0, 100], "b": [1, 0, 100]}


def test_truths_texts_and_missing_numbers() -> None:
    texts = np.array(["UA", "", "Zürich"], dtype=object)
    request, _ = decode(
        *packed(
            ("late", "BOOL", np.array([True, False, True])),
            ("city", "BYTES", texts),
            ("wind", "FP32", np.array([1.5, np.nan, np.inf], np.float32)),
            request_id="abc",
        )
    )
    assert request.request_id == "abc"
    assert request.columns == {
        "late": [True, False, True],
        "city": ["UA", "", "Zürich"],
        "wind": [1.5, None, float("inf")],
    }


def test_all_features_come_without_a_list_in_between() -> None:
    values = np.array([[1, 2, np.nan], [4, 5, 1e300]])
    request, _ = decode(*packed(("X", "FP64", values)))
    assert request.features is not None
    assert request.features.dtype == np.float32
    np.testing.assert_array_equal(request.features, [[1, 2, np.nan], [4, 5, np.inf]])


def test_tensors_of_both_forms_in_one_request() -> None:
    inputs = [
        {"name": "a", "shape": [1], "datatype": "INT32", "parameters": {"binary_data_size": 4}},
        {"name": "b", "shape": [1], "datatype": "INT64", "data": [5]},
        {"name": "c", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}},
    ]
    head = msgspec.json.encode({"inputs": inputs})
    request, _ = decode(head + b"\x07\0\0\0" + b"\x02\0\0\0ok", str(len(head)))
    assert request.columns == {"a": [7], "b": [5], "c": ["ok"]}


def one(datatype: str, shape: list[int], size: Any, blob: bytes, length: str | None = None) -> tuple[bytes, str]:
    head = msgspec.json.encode(
        {"inputs": [{"name": "a", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}]}
    )
    return head + blob, str(len(head)) if length is None else length


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (one("INT32", [1], 4, b"1234", "9999"), "Inference-Header-Content-Length is '9999'"),
        (one("INT32", [1], 4, b"1234", "-1"), "Inference-Header-Content-Length is '-1'"),
        (one("INT32", [1], 4, b"1234", "\u00b2"), "Inference-Header-Content-Length is"),
        (one("INT32", [1], 4, b"1234", "9" * 5000), "Inference-Header-Content-Length is"),
        (one("INT32", [1], 5, b"1234"), "binary_data_size is 5; 4 bytes are left"),
        (one("INT32", [1], True, b"1234"), "binary_data_size is true"),
        (one("INT32", [1], -1, b"1234"), "binary_data_size is -1"),
        (one("INT32", [1], None, b"1234"), "has no data"),
        (one("INT32", [2], 4, b"1234"), "take 8 bytes; it has 4"),
        (one("BF16", [2], 3, b"123"), "take 4 bytes; it has 3"),
        (one("INT32", [10**30], 4, b"1234"), "it has 4"),
        (one("FP32", [10**9, 0], 0, b""), "expected [n] or [n, d]"),
        (one("INT32", [1], 4, b"12345"), "1 bytes are left behind the last tensor"),
        (one("BYTES", [1], 4, b"\xff\xff\xff\xff"), "longer than the bytes that are left"),
        (one("BYTES", [1], 2, b"\0\0"), "longer than the bytes that are left"),
        (one("BYTES", [2], 5, b"\1\0\0\0a"), "has 1 elements; its shape says 2"),
        (one("BYTES", [1], 10, b"\1\0\0\0a" * 2), "has more elements; its shape says 1"),
        (one("BYTES", [1], 5, b"\1\0\0\0\xff"), "element 0 is not UTF-8"),
        (one("BYTE", [1], 5, b"\1\0\0\0a"), "unknown datatype"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(body: tuple[bytes, str], message: str) -> None:
    with pytest.raises(Refused) as refused:
        decode(*body)
    assert refused.value.status == 400
    assert message in str(refused.value)


def response(**changed: Any) -> InferenceResponse:
    values: dict[str, Any] = {
        "model": "delay",
        "version": 3,
        "role": "champion",
        "revision": 7,
        "request_id": "abc",
        "prediction_ids": ["abc/0", "abc/1"],
        "task": "binary",
        "scores": [0.25, 0.75],
        "labels": [0, 1],
        "explanation": Explanation(("a", "b"), 0.5, [[1, 2], [3, 4]], "tree_shap", "log_odds"),
    }
    return InferenceResponse(**(values | changed))


@pytest.mark.parametrize("all_at_once", [True, False])
def test_tritons_client_reads_the_answer(all_at_once: bool) -> None:
    names = ["probability", "label", "contributions"]
    asked = None if all_at_once else [triton.InferRequestedOutput(name, binary_data=name != "label") for name in names]
    _, wanted = decode(*packed(("a", "INT64", np.array([1, 2])), outputs=asked))
    assert wanted is not None
    body, length = encode_binary(response(), wanted)
    found = triton.InferenceServerClient.parse_response_body(body, header_length=length)
    np.testing.assert_array_equal(found.as_numpy("probability"), [0.25, 0.75])
    np.testing.assert_array_equal(found.as_numpy("label"), [0, 1])
    np.testing.assert_array_equal(found.as_numpy("contributions"), [[1, 2], [3, 4]])
    assert found.get_output("contributions")["parameters"]["features"] == ["a", "b"]
    assert ("data" in found.get_output("label")) == (not all_at_once)


def test_classification_is_not_served() -> None:
    with pytest.raises(Refused, match="classification"):
        decode(*packed(("a", "INT64", np.array([1])), outputs=[triton.InferRequestedOutput("label", class_count=2)]))


VALID = one("BYTES", [2], 12, b"\1\0\0\0a\3\0\0\0abc")[0]


@given(
    st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(VALID) + 5) | st.just(len(VALID) - 12),
    st.integers(0, len(VALID)),
)
def test_any_mutation_is_either_read_or_refused(changes: list[tuple[int, int]], length: int, kept: int) -> None:
    body = bytearray(VALID)
    for place, value in changes:
        body[place] = value
    for content in (bytes(body), bytes(body[:kept])):
        try:
            request, _ = decode(content, str(length))
        except Refused as error:
            refused = error
        else:
            assert all(len(values) == request.rows for values in request.columns.values())
            continue
        assert refused.status == 400


@given(st.binary(max_size=80), st.text(max_size=5) | st.integers(0, 90).map(str))
def test_any_bytes_are_either_read_or_refused(body: bytes, length: str) -> None:
    with pytest.raises(Refused) as refused:
        decode(body, length)
    assert refused.value.status == 400
