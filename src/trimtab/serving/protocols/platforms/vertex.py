"""Vertex AI's container contract: a health route and a predict route whose paths the platform names.

`parameters` may ask for more than predictions: {"explain": true}, {"coverage": 0.9} for intervals, {"metadata": true}
for the ids that labels refer to.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import Answer, Call, Content, Description, Route, request_id_header
from trimtab.serving.protocols import kserve, tabular
from trimtab.serving.protocols.platforms.containers import VERTEX_HEALTH, VERTEX_PREDICT
from trimtab.serving.protocols.row_answers import row_answers
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused, shown

"""Paths outside of the platform, as on a workstation."""
STATES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status -> google.rpc.Code; INTERNAL for all others."""
EXAMPLE = {"instances": [{"distance": 719, "planned_minutes": 150}], "parameters": {"metadata": True}}

_encode = msgspec.json.Encoder().encode


def routes(gateway: Gateway, *, health: str = VERTEX_HEALTH, predict: str = VERTEX_PREDICT) -> list[Route]:
    """Return the routes of the contract over a gateway."""

    async def ready(call: Call) -> Answer:
        return Answer(200 if gateway.is_ready else 503, _encode({"ready": gateway.is_ready}))

    async def infer(call: Call) -> Answer:
        gateway.table.model(call.model)
        request, metadata = await gateway.decoding.read(decode, call.body)
        request.request_id = call.request_id
        response = await gateway.infer(call.model, call.version, request, call.received_ns)
        body = await gateway.decoding.write(encode, response, metadata=metadata)
        return Answer(200, body, headers=request_id_header(response.request_id))

    described = Description(
        takes=[Content({"type": "object", "required": ["instances"]}, EXAMPLE)],
        gives=[Content({"type": "object", "required": ["predictions"]})],
    )
    return [
        Route("GET", health, "open", ready, encode_error, "Return whether every model serves (Vertex AI)."),
        Route("POST", predict, "infer", infer, encode_error, "Score rows (Vertex AI).", described),
    ]


def decode(body: bytes) -> tuple[InferenceRequest, bool]:
    """Read instances, and whether metadata is wanted. Raises Refused."""
    found = tabular.json_object(body, ("instances",))
    instances, parameters = found["instances"], found.get("parameters")
    if not isinstance(instances, list):
        raise Refused(400, "instances: expected a list, one entry a row")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise Refused(400, f"parameters: expected an object; found {shown(parameters, most=40)}")
    request = tabular.table(instances, "instances")
    request.explain = _flag(parameters, "explain")
    coverage = parameters.get("coverage")
    if coverage is not None and (type(coverage) is not float or not 0 < coverage < 1):
        raise Refused(
            400, f"parameters.coverage is {shown(coverage, most=40)}; expected a share between 0 and 1, such as 0.9"
        )
    request.coverage = coverage
    return request, _flag(parameters, "metadata")


def encode(response: InferenceResponse, *, metadata: bool = False) -> bytes:
    """Encode predictions, one an instance, and the requested metadata."""
    found: dict[str, Any] = {"predictions": row_answers(response), **kserve.explained(response)}
    if response.lower is not None and response.upper is not None:
        found |= {"lower": response.lower, "upper": response.upper}
    if metadata:
        found["metadata"] = {
            "model": response.model,
            "version": str(response.version),
            "role": response.role,
            "request_id": response.request_id,
            "prediction_ids": response.prediction_ids,
        }
    return _encode(found)


def encode_error(status: int, message: str) -> bytes:
    """Encode an error in the shape of Google's APIs."""
    return _encode({"error": {"code": status, "message": message, "status": STATES.get(status, "INTERNAL")}})


def _flag(parameters: dict[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise Refused(400, f"parameters.{name} is {shown(value, most=40)}; expected true or false")
    return value
