"""MLflow's scoring server: what it reads, what it writes, what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.protocols.mlflow import decode, encode_error
from trimtab.serving.requests import InferenceRequest, Refused

COLUMNS = {"carrier": ["AA", "UA"], "distance": [100, None]}


def read(body: Any) -> InferenceRequest:
    return decode(msgspec.json.encode(body), "application/json; charset=utf-8")


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["carrier", "distance"], "index": [5, 6], "data": [["AA", 100], ["UA", None]]}},
        {"dataframe_records": [{"carrier": "AA", "distance": 100}, {"carrier": "UA"}]},
        {"instances": [{"carrier": "AA", "distance": 100}, {"carrier": "UA", "distance": None}]},
        {"instances": {"carrier": ["AA", "UA"], "distance": [100, None]}, "params": {}},
        {"inputs": {"carrier": ["AA", "UA"], "distance": [100, None]}},
        {"inputs": [{"carrier": "AA", "distance": 100}, {"carrier": "UA", "distance": None}]},
    ],
)
def test_every_way_to_write_two_rows(body: Any) -> None:
    request = read(body)
    assert request.rows == 2
    assert request.columns == COLUMNS
    assert request.request_id is None


def test_csv_takes_numbers_where_a_whole_column_is_numbers() -> None:
    request = decode(b"carrier,distance,code,wind\r\nAA,100,7,1.5\r\nUA,,x7,2\r\n\r\n", "text/csv")
    assert request.columns == COLUMNS | {"code": ["7", "x7"], "wind": [1.5, 2.0]}


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_lists_of_lists_hold_all_features(key: str) -> None:
    features = read({key: [[1, 2.5], [3, 4]]}).features
    assert features is not None
    assert features.tolist() == [[1, 2.5], [3, 4]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "expected a JSON object"),
        ({}, "got none of them"),
        ({"instance": []}, "Did you mean 'instances'"),
        ({"inputs": [], "instances": []}, "exactly one"),
        ({"dataframe_split": [1]}, "lists columns and data"),
        ({"dataframe_split": {"columns": ["a"]}}, "data is missing"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, "different texts"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}}, "data[1] is not a list of 1 values"),
        ({"dataframe_records": {"a": 1}}, "expected a list of records"),
        ({"dataframe_records": [{"a": 1}, 5]}, "dataframe_records[1] is not a record"),
        ({"inputs": {"a": [1], "b": [1, 2]}}, "inputs.b has 2 values"),
        ({"inputs": {"a": 5}}, "inputs.a: expected a list"),
        ({"inputs": {}}, "inputs is empty"),
        ({"inputs": 5}, "expected a list of rows"),
        ({"instances": [[1], ["x"]]}, "found str"),
        ({"instances": [[1], [1, 2]]}, "not a table of numbers"),
        ({"dataframe_records": [{f"c{n}": n} for n in range(2000)]}, "few columns in common"),
    ],
)
def test_what_does_not_fit_is_refused(body: Any, message: str) -> None:
    with pytest.raises(Refused) as refused:
        read(body)
    assert refused.value.status == 400
    assert message in str(refused.value)


@pytest.mark.parametrize("body", [b"", b"a,a\n1,2\n", b"a,b\n1\n", b'a\n"x\n', b"\xff\xfe"])
def test_malformed_csv_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="malformed CSV"):
        decode(body, "text/csv")


@pytest.mark.parametrize("kind", ["", "application/xml", "application/vnd.apache.parquet"])
def test_other_content_types_are_refused(kind: str) -> None:
    with pytest.raises(Refused) as refused:
        decode(b"{}", kind)
    assert refused.value.status == 415


def test_errors_have_the_form_of_the_scoring_server() -> None:
    assert msgspec.json.decode(encode_error(400, "no")) == {"error_code": "BAD_REQUEST", "message": "no"}


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
likely = st.dictionaries(
    st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "params"]),
    st.fixed_dictionaries({"columns": st.lists(st.text(max_size=3)), "data": st.lists(st.lists(json))})
    | st.lists(st.dictionaries(st.text(max_size=3), json))
    | json,
    max_size=2,
)


@given(likely | json | st.binary(max_size=60), st.sampled_from(["application/json", "text/csv"]))
def test_anything_is_either_read_or_refused(body: Any, kind: str) -> None:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    try:
        request = decode(content, kind)
    except Refused as error:
        refused = error
    else:
        assert all(len(values) == request.rows for values in request.columns.values())
        assert request.features is None or len(request.features) == request.rows
        return
    assert refused.status == 400
    msgspec.json.decode(encode_error(400, str(refused)))
