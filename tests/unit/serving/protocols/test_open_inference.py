"""The Open Inference Protocol: what it reads, what it writes, what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.protocols.open_inference import decode, encode, encode_error
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused


def read(body: Any) -> InferenceRequest:
    return decode(msgspec.json.encode(body))[0]


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def test_one_tensor_a_column() -> None:
    request = read(
        {
            "id": "abc",
            "inputs": [
                tensor("carrier", "BYTES", ["AA", "UA"]),
                tensor("distance", "INT64", [100, None], [2, 1]),
                tensor("wind", "FP32", [[1.5], [2]], [2, 1]),
                tensor("late", "BOOL", [True, False]),
            ],
        }
    )
    assert request.request_id == "abc"
    assert request.rows == 2
    assert request.columns == {
        "carrier": ["AA", "UA"],
        "distance": [100, None],
        "wind": [1.5, 2],
        "late": [True, False],
    }
    assert request.features is None


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, None], [[1, 2, 3], [4, 5, None]]])
def test_one_tensor_with_all_features(data: list[Any]) -> None:
    request = read({"inputs": [tensor("X", "FP32", data, [2, 3])]})
    assert request.features is not None
    assert request.features.dtype == np.float32
    np.testing.assert_array_equal(request.features, [[1, 2, 3], [4, 5, np.nan]])


def test_features_may_have_another_name_and_columns_beside_them() -> None:
    body = {
        "parameters": {"features": "all"},
        "inputs": [tensor("all", "FP64", [1, 2], [1, 2]), tensor("carrier", "BYTES", ["AA"])],
    }
    request = read(body)
    assert request.features is not None
    assert request.columns == {"carrier": ["AA"]}


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_number_beyond_float32_is_infinite_as_in_training() -> None:
    features = read({"inputs": [tensor("X", "FP64", [1e300, -1e300], [1, 2])]}).features
    assert features is not None
    assert features.tolist() == [[float("inf"), float("-inf")]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "inputs is empty"),
        ([tensor("a", "INT64", [1]), tensor("b", "INT64", [1, 2])], "'b' has 2 rows; the inputs before it have 1"),
        ([tensor("a", "INT64", [1]), tensor("a", "INT64", [1])], "two inputs are named 'a'"),
        ([tensor("a", "INT46", [1])], "Did you mean 'INT64'"),
        ([tensor("a", "INT64", [1, 2], [3])], "has 2 values; its shape"),
        ([tensor("a", "INT64", [1, 2], [1, 2])], "one value a row"),
        ([tensor("a", "INT64", [1], [1, 1, 1])], "expected [n] or [n, d]"),
        ([tensor("a", "INT64", [1], [-1])], "expected [n] or [n, d]"),
        ([tensor("a", "INT64", ["x"])], "row 0: 'x' is not of datatype INT64"),
        ([tensor("a", "INT64", [1.5])], "row 0: 1.5 is not of datatype INT64"),
        ([tensor("a", "BYTES", ["x", 5])], "row 1: 5 is not of datatype BYTES"),
        ([tensor("X", "FP32", [1, 2, 3], [2, 2])], "not a table of numbers"),
        ([tensor("X", "FP32", [1, 2, 3, 4], [1, 3])], "its shape says"),
        ([tensor("X", "FP32", [[1, 2], [3]], [2, 2])], "not a table of numbers"),
        ([tensor("X", "FP32", [[1], 2], [2, 1])], "a row of features is a list"),
        ([tensor("X", "FP32", ["1"], [1, 1])], "found str"),
        ([tensor("X", "BYTES", ["1"], [1, 1])], "features are numbers"),
        ([tensor("X", "FP32", [10**400], [1, 1])], "not a table of numbers"),
    ],
)
def test_what_does_not_fit_is_refused(inputs: list[Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        read({"inputs": inputs})
    assert refused.value.status == 400
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"inputs":1}', b'{"inputs":[{}]}', b"[" * 3000, b"\xff", b'{"inputs":[],"id":5}'],
)
def test_malformed_json_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        decode(body)
    assert refused.value.status == 400


def test_a_feature_tensor_that_is_not_there_is_refused() -> None:
    with pytest.raises(Refused, match="names no input"):
        read({"parameters": {"features": "all"}, "inputs": [tensor("a", "FP32", [1])]})


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
likely = st.fixed_dictionaries(
    {
        "inputs": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["X", "row", "a"]) | json,
                    "shape": st.lists(st.integers(-2, 4), max_size=3) | json,
                    "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "BOOL", "F32"]) | json,
                    "data": st.lists(json, max_size=5)
                    | st.lists(st.lists(st.integers(), max_size=3), max_size=3)
                    | json,
                }
            )
            | json,
            max_size=3,
        )
    },
    optional={"id": json, "parameters": json, "outputs": json},
)


@given(likely | json | st.binary(max_size=40))
def test_anything_is_either_read_or_refused(body: Any) -> None:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    try:
        request, _ = decode(content)
    except Refused as error:
        refused = error
    else:
        assert all(len(values) == request.rows for values in request.columns.values())
        assert request.features is None or len(request.features) == request.rows
        return
    assert refused.status == 400
    msgspec.json.decode(encode_error(400, str(refused)))


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
    }
    return InferenceResponse(**(values | changed))


def test_a_binary_response() -> None:
    assert msgspec.json.decode(encode(response())) == {
        "model_name": "delay",
        "model_version": "3",
        "id": "abc",
        "parameters": {"role": "champion", "revision": 7, "prediction_ids": ["abc/0", "abc/1"]},
        "outputs": [
            {"name": "probability", "shape": [2], "datatype": "FP64", "data": [0.25, 0.75]},
            {"name": "label", "shape": [2], "datatype": "INT64", "data": [0, 1]},
        ],
    }


def test_a_regression_response() -> None:
    found = msgspec.json.decode(encode(response(task="regression", scores=[3.5, -1.0], labels=[])))
    assert found["outputs"] == [{"name": "prediction", "shape": [2], "datatype": "FP64", "data": [3.5, -1.0]}]


def test_only_the_outputs_that_were_asked_for() -> None:
    found = msgspec.json.decode(encode(response(), ["label"]))
    assert [output["name"] for output in found["outputs"]] == ["label"]
