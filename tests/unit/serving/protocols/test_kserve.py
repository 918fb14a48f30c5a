"""KServe v1: every form of rows, errors in its shape, explanations with predictions."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.protocols import kserve
from trimtab.serving.requests import Explanation, InferenceResponse, Refused

if TYPE_CHECKING:
    from unit.serving.conftest import Served
    from unit.serving.protocols.conftest import Ask

PREDICT = "/v1/models/delay:predict"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("key", ["instances", "inputs"])
@pytest.mark.parametrize(
    "rows",
    [
        [[0], [1]],
        [0, 1],
        [{"row": 0}, {"row": 1}],
        {"row": [0, 1]},
        [{"row": [0]}, {"row": [1]}],
        [{"row": [0, 1]}],
    ],
    ids=["lists", "scalars", "records", "columns", "tables", "one table"],
)
def test_rows_come_in_every_form(delay: Served, ask: Ask, key: str, rows: Any) -> None:
    answer = ask(kserve.routes(delay.gateway), "POST", PREDICT, {key: rows})
    assert (answer.status, msgspec.json.decode(answer.body)) == (
        200,
        {"predictions": pytest.approx([0.1, 0.8], abs=1e-6)},
    )
    assert [row["served"] for row in delay.rows()].count(True) == 2


def test_models_are_listed_and_ready(delay: Served, ask: Ask) -> None:
    routes = kserve.routes(delay.gateway)
    assert ask(routes, "GET", "/v1/models").body == b'{"models":["delay"]}'
    assert ask(routes, "GET", "/v1/models/delay").body == b'{"name":"delay","ready":true}'
    missing = ask(routes, "GET", "/v1/models/dealy")
    assert (missing.status, msgspec.json.decode(missing.body)) == (
        404,
        {"error": "no model 'dealy'. Did you mean 'delay'?"},
    )


def test_the_client_s_id_is_the_prediction_s(delay: Served, ask: Ask) -> None:
    answer = ask(kserve.routes(delay.gateway), "POST", PREDICT, {"instances": [0]}, {"X-Request-Id": "flight-1"})
    assert dict(answer.headers) == {b"x-request-id": b"flight-1"}
    assert {row["prediction_id"] for row in delay.rows()} == {"flight-1"}


def test_an_id_is_made_and_given_back(delay: Served, ask: Ask) -> None:
    answer = ask(kserve.routes(delay.gateway), "POST", PREDICT, {"instances": [0]})
    assert [row["prediction_id"] for row in delay.rows() if row["served"]] == [answer.headers[0][1].decode()]


def test_a_version_can_be_pinned(delay: Served, ask: Ask) -> None:
    answer = ask(kserve.routes(delay.gateway), "POST", PREDICT, {"instances": [0]}, {"X-Trimtab-Version": "1"})
    assert msgspec.json.decode(answer.body)["predictions"] == pytest.approx([0.6], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "malformed JSON"),
        (b"[]", "expected a JSON object with one of instances, inputs"),
        (b"{}", "expected exactly one of instances, inputs; got none of them"),
        (b'{"instance":[]}', "Did you mean 'instances'?"),
        (b'{"instances":[],"inputs":[]}', "got instances, inputs"),
        (b'{"instances":5}', "instances: expected a list of rows"),
        (b'{"instances":[[1],2]}', "a row of features is a list; found 2"),
        (b'{"instances":[{"row":1},2]}', "instances[1] is not a record"),
        (b'{"instances":[{"row":[1]},{"row":2}]}', "instances[1] is not an object of column and values"),
        (b'{"instances":[{"row":[1],"b":[]}]}', "instances[0].b has 0 values; the columns before it have 1"),
        (b'{"inputs":[["x"]]}', "features must be numbers or null; found str"),
        (b'{"instances":[]}', "the request has no rows"),
    ],
)
def test_errors_say_what_is_wrong(delay: Served, ask: Ask, body: bytes, says: str) -> None:
    answer = ask(kserve.routes(delay.gateway), "POST", PREDICT, body)
    error = msgspec.json.decode(answer.body)
    assert answer.status == 400
    assert error.keys() == {"error"}
    assert says in error["error"]


def test_explanations_come_with_predictions() -> None:
    response = InferenceResponse(
        model="delay",
        version=2,
        role="champion",
        revision=1,
        request_id="a",
        prediction_ids=["a"],
        task="binary",
        scores=[0.75],
        labels=[1],
        explanation=Explanation(("wind", "hour"), 0.1, [[0.5, -0.25]], "tree_shap", "log_odds"),
    )
    assert msgspec.json.decode(kserve.encode(response)) == {
        "predictions": [0.75],
        "explanations": [{"wind": 0.5, "hour": -0.25}],
        "explanation": {"base": 0.1, "method": "tree_shap", "unit": "log_odds"},
    }


def test_explain_says_what_each_feature_did(served: Served, pack: Any, table_of: Any, ask: Ask) -> None:
    served.serve(table_of(("champion", pack(1, scores=(0.25, 0.75), background=[[0.0], [1.0]]), 100)))
    answer = ask(kserve.routes(served.gateway), "POST", "/v1/models/delay:explain", {"instances": [[0], [1]]})
    found = msgspec.json.decode(answer.body)
    assert (answer.status, found["predictions"]) == (200, [0.25, 0.75])
    base, rows = found["explanation"]["base"], [row["row"] for row in found["explanations"]]
    assert found["explanation"]["unit"] == "probability"
    assert [base + added for added in rows] == pytest.approx([0.25, 0.75], abs=1e-6)


def test_nan_as_python_writes_it_is_a_missing_value() -> None:
    request = kserve.decode(b'{"instances": [[NaN, 1], [2, Infinity]]}')
    assert request.features is not None
    assert np.array_equal(request.features, [[np.nan, 1], [2, np.inf]], equal_nan=True)


@given(body=st.one_of(st.binary(max_size=40), JSON.map(lambda rows: msgspec.json.encode({"instances": rows}))))
def test_whatever_comes_is_rows_or_refused(body: bytes) -> None:
    with suppress(Refused):
        request = kserve.decode(body)
        assert all(len(column) == request.rows for column in request.columns.values())
        assert request.features is None or (request.features.dtype, len(request.features)) == (np.float32, request.rows)
