"""Vertex AI: instances and parameters to predictions, errors as Google's APIs write them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving.core.routing import RoutingTable
from trimtab.serving.protocols.platforms import vertex
from trimtab.serving.requests import Explanation, InferenceResponse, Refused

if TYPE_CHECKING:
    from unit.serving.conftest import Served
    from unit.serving.protocols.conftest import Ask


@pytest.mark.parametrize("instances", [[[0], [1]], [0, 1], [{"row": 0}, {"row": 1}]])
def test_there_is_one_prediction_an_instance(delay: Served, ask: Ask, instances: Any) -> None:
    answer = ask(vertex.routes(delay.gateway), "POST", "/predict", {"instances": instances})
    found = msgspec.json.decode(answer.body)
    assert (answer.status, found) == (200, {"predictions": pytest.approx([0.1, 0.8], abs=1e-6)})


def test_metadata_is_given_when_asked_for(delay: Served, ask: Ask) -> None:
    body = {"instances": [0], "parameters": {"metadata": True}}
    answer = ask(vertex.routes(delay.gateway), "POST", "/predict", body, {"X-Request-Id": "a"})
    metadata = msgspec.json.decode(answer.body)["metadata"]
    assert metadata == {
        "model": "delay",
        "version": "2",
        "role": "champion",
        "request_id": "a",
        "prediction_ids": ["a"],
    }


def test_health_waits_for_the_models(delay: Served, ask: Ask) -> None:
    routes = vertex.routes(delay.gateway, health="/up", predict="/v1/x:predict")
    assert ask(routes, "GET", "/up").status == 200
    delay.gateway.swap(RoutingTable())
    assert ask(routes, "GET", "/up").status == 503


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[]", "expected a JSON object with one of instances"),
        (b'{"instances":{}}', "instances: expected a list"),
        (b'{"instances":[0],"parameters":[]}', "parameters: expected an object"),
        (b'{"instances":[0],"parameters":{"coverage":2}}', "parameters.coverage is 2"),
        (b'{"instances":[0],"parameters":{"explain":1}}', "parameters.explain is 1; expected true or false"),
    ],
)
def test_errors_are_google_s(delay: Served, ask: Ask, body: bytes, says: str) -> None:
    answer = ask(vertex.routes(delay.gateway), "POST", "/predict", body)
    error = msgspec.json.decode(answer.body)["error"]
    assert (answer.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert says in error["message"]


def test_more_than_predictions_can_be_asked_for() -> None:
    request, _ = vertex.decode(b'{"instances":[0],"parameters":{"coverage":0.9,"explain":true,"other":1}}')
    assert (request.coverage, request.explain) == (0.9, True)
    response = InferenceResponse(
        model="delay",
        version=2,
        role="champion",
        revision=1,
        request_id="a",
        prediction_ids=["a"],
        task="regression",
        scores=[7.5],
        labels=[],
        lower=[5.0],
        upper=[9.0],
        explanation=Explanation(("wind",), 7.0, [[0.5]], "tree_shap", "value"),
    )
    assert msgspec.json.decode(vertex.encode(response)) == {
        "predictions": [7.5],
        "lower": [5.0],
        "upper": [9.0],
        "explanations": [{"wind": 0.5}],
        "explanation": {"base": 7.0, "method": "tree_shap", "unit": "value"},
    }


@given(body=st.binary(max_size=60))
def test_whatever_comes_is_rows_or_refused(body: bytes) -> None:
    for prefix in (b"", b'{"instances":[', b'{"instances":[1],"parameters":{"'):
        with suppress(Refused):
            vertex.decode(prefix + body)
