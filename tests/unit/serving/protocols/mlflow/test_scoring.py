"""MLflow's scoring server: what it reads, what it writes, what it refuses."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS
from mlflow.utils.proto_json_utils import dump_input_data
from pyarrow import parquet

from trimtab.serving.protocols.mlflow.scoring import decode, encode, encode_error
from trimtab.serving.requests import Explanation, InferenceRequest, InferenceResponse, Refused

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
        ({"dataframe_split": {"columns": 5, "data": []}}, "lists columns and data"),
        ({"inputs": [[1]], "params": 5}, "params is 5"),
        ({"inputs": [[1]], "params": {"explain": "yes"}}, "params.explain is 'yes'"),
        ({"inputs": [[1]], "params": {"coverage": 2}}, "params.coverage is 2"),
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


def test_a_split_without_columns_holds_all_features() -> None:
    features = read({"dataframe_split": {"data": [[1, 2], [3, 4]]}}).features
    assert features is not None
    assert features.tolist() == [[1, 2], [3, 4]]


def test_what_the_client_of_mlflow_writes_is_read() -> None:
    frame = pd.DataFrame({"carrier": ["AA", "UA"], "distance": [100, float("nan")]})
    request = decode(dump_input_data(frame, "dataframe_split", {"explain": True}).encode(), "application/json")
    assert request.columns == COLUMNS
    assert request.explain
    array = decode(dump_input_data(np.array([[1.5, 2.5]])).encode(), "application/json").features
    assert array is not None
    assert array.tolist() == [[1.5, 2.5]]


def test_parquet_holds_what_json_would() -> None:
    frame = pd.DataFrame(
        {
            "carrier": pd.Categorical(["AA", None]),
            "distance": [100.0, np.nan],
            "number": [7, 8],
            "late": [True, False],
            "at": [pd.Timestamp("2013-06-01T16:00:00Z"), pd.NaT],
            "raw": [b"x", None],
        },
        index=["a", "b"],
    )
    content = io.BytesIO()
    frame.to_parquet(content)
    request = decode(content.getvalue(), "application/vnd.apache.parquet")
    assert request.rows == 2
    assert request.columns == {
        "carrier": ["AA", None],
        "distance": [100.0, None],
        "number": [7, 8],
        "late": [True, False],
        "at": ["2013-06-01T16:00:00+00:00", None],
        "raw": ["x", None],
    }


def test_parquet_that_cannot_be_read_is_refused() -> None:
    content = io.BytesIO()
    pd.DataFrame({"a": [[1], [2]]}).to_parquet(content)
    whole = content.getvalue()
    with pytest.raises(Refused, match=r"column 'a\.list\.element' holds lists or records"):
        decode(whole, "application/vnd.apache.parquet")
    for damaged in (b"", b"PAR1", whole[:-20], whole[:40] + bytes(20) + whole[60:]):
        with pytest.raises(Refused) as refused:
            decode(damaged, "application/vnd.apache.parquet")
        assert refused.value.status == 400


def parquet_of(column: pa.Array, **options: Any) -> bytes:
    content = io.BytesIO()
    parquet.write_table(pa.table({"a": column}), content, compression="zstd", **options)
    return content.getvalue()


def repeated(text: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text]))


@pytest.mark.parametrize(
    ("column", "options", "status", "message"),
    [
        (repeated("x" * 1_000_000, 200), {}, 413, "characters together"),
        (pa.array(["x" * 30_000_000]), {}, 413, "bytes unpacked"),
        (pa.array(np.zeros(1_000_001)), {}, 413, "values"),
        (pa.array([b"x" * 1000] * 20_000, pa.binary(1000)), {}, 413, "bytes unpacked"),
        (pa.array([[1] * 1_000_000]), {}, 400, "lists or records"),
        (pa.array([{"x": 1}]), {}, 400, "lists or records"),
        (pa.array([["x" * 100_000]]), {}, 400, "lists or records"),
    ],
)
def test_a_small_file_that_unpacks_to_much_is_refused_by_what_it_declares(
    column: pa.Array, options: dict[str, Any], status: int, message: str
) -> None:
    body = parquet_of(column, **options)
    assert len(body) < 60_000
    with pytest.raises(Refused, match=message) as refused:
        decode(body, "application/vnd.apache.parquet")
    assert refused.value.status == status


def test_a_file_with_very_many_columns_is_refused() -> None:
    content = io.BytesIO()
    parquet.write_table(pa.table({f"c{n}": [1.0] for n in range(10_001)}), content)
    with pytest.raises(Refused, match="at most 10000"):
        decode(content.getvalue(), "application/vnd.apache.parquet")


def test_texts_that_repeat_are_read() -> None:
    body = parquet_of(pa.array(["UA", None, "AA"] * 1000))
    assert decode(body, "application/vnd.apache.parquet").columns == {"a": ["UA", None, "AA"] * 1000}


def test_a_worker_imports_pyarrow_for_parquet_alone() -> None:
    code = "import sys; import trimtab.serving.protocols.mlflow.scoring; "
    code += "print('pyarrow' in sys.modules, 'pandas' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_predictions_are_numbers_or_records() -> None:
    response = InferenceResponse("m", 1, "champion", 1, "a", ["a"], "regression", [2.5], [])
    assert encode(response) == b'{"predictions":[2.5]}'
    response.lower, response.upper = [2.0], [3.0]
    response.explanation = Explanation(("x",), 0.5, [[2.0]], "tree_shap", "value")
    assert msgspec.json.decode(encode(response)) == {
        "predictions": [{"prediction": 2.5, "lower": 2.0, "upper": 3.0, "base": 0.5, "contributions": {"x": 2.0}}]
    }


def test_other_charsets_are_refused() -> None:
    with pytest.raises(Refused, match="charset 'latin-1' is not served") as refused:
        decode(b"{}", "application/json; charset=latin-1")
    assert refused.value.status == 415


@pytest.mark.parametrize("kind", ["", "application/xml"])
def test_other_content_types_are_refused(kind: str) -> None:
    with pytest.raises(Refused) as refused:
        decode(b"{}", kind)
    assert refused.value.status == 415


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 501, 503, 504])
def test_errors_have_the_form_of_the_scoring_server(status: int) -> None:
    found = msgspec.json.decode(encode_error(status, "no"))
    assert found["message"] == "no"
    assert ERROR_CODE_TO_HTTP_STATUS[found["error_code"]] == status  # as MLflow's own client maps it


def test_a_request_that_is_wrong_is_a_bad_one() -> None:
    assert msgspec.json.decode(encode_error(413, "no")) == {"error_code": "BAD_REQUEST", "message": "no"}


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


@given(
    likely | json | st.binary(max_size=60),
    st.sampled_from(["application/json", "text/csv", "application/vnd.apache.parquet"]),
)
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
