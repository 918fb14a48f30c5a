"""KServe's first protocol (TensorFlow Serving's REST): :predict, :explain and the list of models.

Predictions are one value a row, as row_answers.py says.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import Answer, Call, Content, Description, Route, encode_error, request_id_header
from trimtab.serving.protocols import tabular
from trimtab.serving.protocols.row_answers import row_answers
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused

KEYS = ("instances", "inputs")
EXAMPLE = {"instances": [{"distance": 719, "planned_minutes": 150}]}
ROWS = {
    "type": "object",
    "description": "exactly one of both: lists of all features, objects of column and value, or numbers",
    "properties": {key: {"type": ["array", "object"]} for key in KEYS},
    "minProperties": 1,
}
SCORES = {"predictions": {"type": "array", "items": {"type": ["number", "object"]}}}
PREDICTIONS = {"type": "object", "required": ["predictions"], "properties": SCORES}
EXPLANATIONS = {
    "type": "object",
    "required": ["predictions", "explanations", "explanation"],
    "properties": {
        **SCORES,
        "explanations": {
            "type": "array",
            "items": {"type": "object", "additionalProperties": {"type": "number"}},
            "description": "of each row: feature -> what it added",
        },
        "explanation": {
            "type": "object",
            "required": ["base", "method", "unit"],
            "properties": {
                "base": {"type": "number", "description": "what the contributions are added to"},
                "method": {"type": "string"},
                "unit": {"enum": ["log_odds", "probability", "value"]},
            },
        },
    },
}

DETAIL = (
    "Predictions are probabilities or values; of a multiclass model objects with label, classes and scores, of an "
    "anomaly model objects with anomaly_score and label."
)

_encode = msgspec.json.Encoder().encode


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of the protocol over a gateway."""

    async def predict(call: Call) -> Answer:
        return await infer(call, explain=False)

    async def explain(call: Call) -> Answer:
        return await infer(call, explain=True)

    async def infer(call: Call, *, explain: bool) -> Answer:
        gateway.table.model(call.model)
        request = await gateway.decoding.read(decode, call.body)
        request.explain = explain
        request.request_id = call.request_id
        response = await gateway.infer(call.model, call.version, request, call.received_ns)
        body = await gateway.decoding.write(encode, response)
        return Answer(200, body, headers=request_id_header(response.request_id))

    async def live(call: Call) -> Answer:
        return Answer(200, _encode({"status": "alive"}))

    async def models(call: Call) -> Answer:
        return Answer(200, _encode({"models": sorted(gateway.table.models)}))

    async def model(call: Call) -> Answer:
        table = gateway.table.model(call.model)
        return Answer(200, _encode({"name": table.model, "ready": True}))

    path = "/v1/models/{model}"
    rows = (Content(ROWS, EXAMPLE),)
    scored = Description(rows, (Content(PREDICTIONS),), detail=DETAIL)
    explained = Description(rows, (Content(EXPLANATIONS),))
    of_live = Description(gives=(Content({"type": "object", "required": ["status"]}, {"status": "alive"}),))
    listed = Description(gives=(Content({"type": "object", "required": ["models"]}, {"models": ["delay"]}),))
    ready = Description(gives=(Content({"type": "object", "required": ["name", "ready"]}),))
    return [
        Route("POST", f"{path}:predict", "infer", predict, encode_error, "Score rows (KServe v1).", scored),
        Route("POST", f"{path}:explain", "infer", explain, encode_error, "Score and explain (KServe v1).", explained),
        Route("GET", "/", "open", live, encode_error, "Answer while the process runs (KServe v1).", of_live),
        Route("GET", "/v1/models", "read", models, encode_error, "List the models (KServe v1).", listed),
        Route("GET", path, "read", model, encode_error, "Return whether a model is ready (KServe v1).", ready),
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
    found: dict[str, Any] = {"predictions": row_answers(response)}
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


def _holds_columns(instance: Any) -> bool:
    """Return True if an instance is a small table, {"a": [1], "b": [2]}, as KServe's servers accept it."""
    return isinstance(instance, dict) and bool(instance) and all(isinstance(value, list) for value in instance.values())


def _joined(instances: list[Any], key: str) -> list[dict[str, Any]]:
    """Return the rows of small tables as records, in order."""
    found: list[dict[str, Any]] = []
    for index, instance in enumerate(instances):
        if not _holds_columns(instance):
            raise Refused(400, f"{key}[{index}] is not an object of column and values, as {key}[0] is")
        rows = tabular.columns(instance, f"{key}[{index}]")
        found += [{name: column[row] for name, column in rows.columns.items()} for row in range(rows.rows)]
    return found
