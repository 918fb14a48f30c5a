"""The Open Inference Protocol: what it reads, what it writes, what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.endpoints import encode_error
from trimtab.serving.protocols.v2.request import Wanted, decode
from trimtab.serving.protocols.v2.response import encode
from trimtab.serving.requests import Explanation, InferenceRequest, InferenceResponse, Refused


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


def test_features_may_have_another_name_and_come_with_columns() -> None:
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
        ([tensor("a", "INT64", [1, 2], [1])], "has 2 values; its shape"),
        ([tensor("a", "INT64", [1, 2], [1, 2]), tensor("b", "INT64", [1])], "one value a row"),
        ([tensor("a", "INT64", [1], [1, 1, 1])], "expected [n] or [n, d]"),
        ([tensor("a", "INT64", [1], [-1])], "expected [n] or [n, d]"),
        ([tensor("X", "FP32", [], [1_000_000_000, 0])], "expected [n] or [n, d]"),
        ([tensor("a", "INT64", []) | {"shape": []}], "expected [n] or [n, d]"),
        ([tensor("a", "UINT8", [0, 256])], "row 1: 256 is not of datatype UINT8"),
        ([tensor("a", "INT8", [-129])], "row 0: -129 is not of datatype INT8"),
        ([tensor("a", "INT64", [2**63])], "is not of datatype INT64"),
        ([tensor("a", "FP64", [10**400])], "is not of datatype FP64"),
        ([tensor("a", "BOOL", [2])], "row 0: 2 is not of datatype BOOL"),
        ([{"name": "a", "shape": [1], "datatype": "INT64"}], "has no data"),
        ([tensor("a", "INT64", ["x"])], "row 0: 'x' is not of datatype INT64"),
        ([tensor("a", "INT64", [1.5])], "row 0: 1.5 is not of datatype INT64"),
        ([tensor("a", "BYTES", ["x"] * 9 + [5])], "row 9: 5 is not of datatype BYTES"),
        ([tensor("a", "UINT8", [5] * 9 + [256, None])], "row 9: 256 is not of datatype UINT8"),
        ([tensor("a", "BYTES", ["x", 5])], "row 1: 5 is not of datatype BYTES"),
        ([tensor("X", "FP32", [1, 2, 3], [2, 2])], "not a table of numbers"),
        ([tensor("X", "FP32", [1, 2, 3, 4], [1, 3])], "its shape says"),
        ([tensor("X", "FP32", [[1, 2], [3]], [2, 2])], "not a table of numbers"),
        ([tensor("X", "FP32", [[1], 2], [2, 1])], "a row of features is a list"),
        ([tensor("X", "FP32", ["1"], [1, 1])], "found str"),
        ([tensor("X", "BYTES", ["1"], [1, 1])], "features are numbers"),
        ([tensor("X", "FP32", [10**400], [1, 1])], "not a table of numbers"),
        ([tensor("X", "FP32", [1], [1, 2])], "its shape says"),
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


@pytest.mark.parametrize("datatype", ["UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"])
def test_integers_fill_their_datatype(datatype: str) -> None:
    bits = int(datatype.lstrip("UINT"))
    low, high = (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert read({"inputs": [tensor("a", datatype, [low, high, None])]}).columns == {"a": [low, high, None]}


@pytest.mark.parametrize("name", ["predict", "input-0"])
def test_the_only_tensor_holds_all_features_whatever_its_name(name: str) -> None:
    request = read({"inputs": [tensor(name, "FP64", [1, 2, 3, 4], [2, 2])]})
    assert request.features is not None
    assert request.features.tolist() == [[1, 2], [3, 4]]
    one = read({"parameters": {"content_type": "np"}, "inputs": [tensor(name, "FP64", [1, 2], [2, 1])]})
    assert one.features is not None
    assert one.features.tolist() == [[1], [2]]
    assert read({"inputs": [tensor(name, "FP64", [1, 2], [2, 1])]}).columns == {name: [1, 2]}


def test_content_types_say_how_texts_are_meant() -> None:
    def typed(name: str, content_type: str, data: list[Any]) -> dict[str, Any]:
        return tensor(name, "BYTES", data) | {"parameters": {"content_type": content_type}}

    inputs = [
        typed("a", "base64", ["VUE=", None]),
        typed("b", "str", ["x", "y"]),
        typed("c", "datetime", ["2013-06-01", "2013-06-01T16:00:00Z"]),
        tensor("d", "FP64", [1, 2]) | {"parameters": {"content_type": "np"}},
    ]
    request = read({"parameters": {"content_type": "pd"}, "inputs": inputs})
    assert request.columns == {
        "a": ["UA", None],
        "b": ["x", "y"],
        "c": ["2013-06-01", "2013-06-01T16:00:00Z"],
        "d": [1, 2],
    }


@pytest.mark.parametrize(
    ("content_type", "value", "message"),
    [
        ("base64", "?", "row 0: '?' is not of content_type base64"),
        ("base64", "/w==", "is not of content_type base64"),
        ("datetime", "soon", "row 0: 'soon' is not of content_type datetime"),
        ("dateime", "x", "Did you mean 'datetime'?"),
        (5, "x", "content_type 5 is not known"),
    ],
)
def test_a_text_that_is_not_what_its_content_type_says_is_refused(content_type: Any, value: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        read({"inputs": [tensor("a", "BYTES", [value]) | {"parameters": {"content_type": content_type}}]})
    assert message in str(refused.value)


def test_parameters_ask_for_explanations_and_intervals() -> None:
    inputs = [tensor("a", "INT64", [1])]
    plain = read({"inputs": inputs, "parameters": {"priority": 5}})
    asked = read({"inputs": inputs, "parameters": {"explain": True, "coverage": 0.9}})
    assert (plain.explain, plain.coverage) == (False, None)
    assert (asked.explain, asked.coverage) == (True, 0.9)


@pytest.mark.parametrize(
    "parameters",
    [{"explain": 1}, {"coverage": 1}, {"coverage": 0.0}, {"coverage": "0.9"}, {"content_type": "dp"}],
)
def test_parameters_that_cannot_be_met_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=f"parameters.{next(iter(parameters))}"):
        read({"inputs": [tensor("a", "INT64", [1])], "parameters": parameters})


def test_constants_of_python_are_read() -> None:
    values = b'{"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [NaN, -Infinity, 1]}'
    body = b'{"id": "a NaN \\" Infinity", "inputs": [' + values + b"]}"
    with np.errstate(over="ignore"):
        request, _ = decode(body)
    assert request.request_id == 'a NaN " Infinity'
    assert request.features is not None
    np.testing.assert_array_equal(request.features, [[np.nan, -np.inf, 1]])


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
    found = msgspec.json.decode(encode(response(), Wanted(("label",), {}, False)))
    assert [output["name"] for output in found["outputs"]] == ["label"]


def test_confidences_intervals_and_explanations_are_outputs() -> None:
    explanation = Explanation(("a", "b", "c"), 0.5, [[1, 2, 3], [4, 5, 6]], "tree_shap", "log_odds")
    more = {"confidences": [0.75, 0.75], "lower": [0.1, 0.2], "upper": [0.8, 0.9], "explanation": explanation}
    found = msgspec.json.decode(encode(response(**more)))
    by_name = {output["name"]: output for output in found["outputs"]}
    assert list(by_name) == ["probability", "label", "confidence", "lower", "upper", "contributions"]
    assert by_name["lower"]["data"] == [0.1, 0.2]
    assert by_name["contributions"] == {
        "name": "contributions",
        "shape": [2, 3],
        "datatype": "FP64",
        "data": [1, 2, 3, 4, 5, 6],
        "parameters": {"features": ["a", "b", "c"], "base": 0.5, "method": "tree_shap", "unit": "log_odds"},
    }


def test_who_answered_instead_is_told() -> None:
    found = msgspec.json.decode(encode(response(fallback="version 3 failed", versions=[3, 2])))
    assert found["parameters"]["fallback"] == "version 3 failed"
    assert found["parameters"]["versions"] == [3, 2]
