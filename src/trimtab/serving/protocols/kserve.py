"""KServe's first protocol (TensorFlow Serving's REST): :predict, :explain and the list of models. Run by asgi.

Predictions are probabilities (binary) or values (regression), one a row.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.serving.gateway import Gateway
from trimtab.serving.http import Answer, Call, Headers, Route
from trimtab.serving.protocols import tabular
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused

KEYS = ("instances", "inputs")
REQUEST_ID = b"x-request-id"
"""The body has no place for an id: the client's comes, and the one that labels refer to goes back, as a header."""

_encode = msgspec.json.Encoder().encode


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of the protocol over a gateway."""

    async def predict(call: Call) -> Answer:
        return await infer(call, explain=False)

    async def explain(call: Call) -> Answer:
        return await infer(call, explain=True)

    async def infer(call: Call, *, explain: bool) -> Answer:
        request = decode(call.body)
        request.explain = explain
        request.request_id = call.header(REQUEST_ID) or None
        response = await gateway.infer(call.model, call.version, request, call.received_ns)
        return Answer(200, encode(response), headers=headers_of(response))

    async def models(call: Call) -> Answer:
        return Answer(200, _encode({"models": sorted(gateway.table.models)}))

    async def model(call: Call) -> Answer:
        table = gateway.table.model(call.model)
        return Answer(200, _encode({"name": table.model, "ready": True}))

    path = "/v1/models/{model}"
    return [
        Route("POST", f"{path}:predict", "infer", predict, encode_error, "Score rows (KServe v1)."),
        Route("POST", f"{path}:explain", "infer", explain, encode_error, "Score rows and explain them (KServe v1)."),
        Route("GET", "/v1/models", "read", models, encode_error, "List the models (KServe v1)."),
        Route("GET", path, "open", model, encode_error, "Tell whether a model is ready (KServe v1)."),
    ]


def decode(body: bytes) -> InferenceRequest:
    """Read `instances`, or `inputs`. Raises Refused."""
    found = tabular.json_object(body, KEYS)
    key = "instances" if "instances" in found else "inputs"
    value = found[key]
    if isinstance(value, list) and value and _holds_columns(value[0]):
        value = _joined(value, key)
    return tabular.table(value, key)


def encode(response: InferenceResponse) -> bytes:
    """Write predictions, and explanations when they were asked for."""
    found: dict[str, Any] = {"predictions": response.scores}
    if response.explanation is not None:
        found |= explained(response)
    return _encode(found)


def explained(response: InferenceResponse) -> dict[str, Any]:
    """Return the explanation of a response: feature -> contribution for each row, and what they start from."""
    explanation = response.explanation
    if explanation is None:
        return {}
    return {
        "explanations": [dict(zip(explanation.features, row, strict=True)) for row in explanation.contributions],
        "explanation": {"base": explanation.base, "method": explanation.method, "unit": explanation.unit},
    }


def encode_error(status: int, message: str) -> bytes:
    """Write an error."""
    return _encode({"error": message})


def headers_of(response: InferenceResponse) -> Headers:
    """Return the id of the request, from which those of its rows follow. Nothing when a header cannot hold it."""
    if not (response.request_id.isascii() and response.request_id.isprintable()):
        return ()
    return ((REQUEST_ID, response.request_id.encode()),)


def _holds_columns(instance: Any) -> bool:
    """Whether an instance is a small table, {"a": [1], "b": [2]}: what KServe's own servers make data frames of."""
    return isinstance(instance, dict) and bool(instance) and all(isinstance(value, list) for value in instance.values())


def _joined(instances: list[Any], key: str) -> list[dict[str, Any]]:
    """Return the records of small tables, one after another."""
    found: list[dict[str, Any]] = []
    for index, instance in enumerate(instances):
        if not _holds_columns(instance):
            raise Refused(400, f"{key}[{index}] is not an object of column and values, as {key}[0] is")
        rows = tabular.columns(instance, f"{key}[{index}]")
        found += [{name: column[row] for name, column in rows.columns.items()} for row in range(rows.rows)]
    return found
