"""MLflow's scoring server: POST /invocations. The routes /ping, /health and /version are in health.py.

JSON holds exactly one of dataframe_split, dataframe_records, instances, inputs, and may also hold `params`; CSV is read
as pandas reads it; Parquet needs pyarrow. A list of lists under instances or inputs holds all features in the order
of the bundle's feature list. Predictions are probabilities (binary) or values (regression), one a row; records of
several fields, as of a data frame, for other tasks and when params ask for more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from trimtab.errors import nearest
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import Answer, Call, Content, Description, Route, request_id_header
from trimtab.serving.protocols import tabular
from trimtab.serving.protocols.json_text import read
from trimtab.serving.protocols.mlflow import body_examples, csv_body, parquet_body
from trimtab.serving.protocols.row_answers import records
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused, shown
from trimtab.serving.worker_options import MAX_BODY

KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
KINDS = (JSON, CSV, PARQUET)
PLAIN = ("binary", "regression")
"""Tasks whose predictions are numbers."""
CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status -> MLflow's error_code; BAD_REQUEST for all others."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Limits(NamedTuple):
    """Limits of one request. unpacked: bytes of a Parquet file's values."""

    rows: int | None = None
    unpacked: int = MAX_BODY


NO_LIMITS = Limits()


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of the protocol over a gateway."""

    limits = Limits(gateway.options.max_rows, gateway.options.max_body)

    async def invocations(call: Call) -> Answer:
        content_type = call.header(b"content-type") or ""
        kinds = gateway.table.model(call.model).spec.request_types
        request = await gateway.decoding.read(decode, call.body, content_type, kinds, limits)
        request.request_id = call.request_id
        response = await gateway.infer(call.model, call.version, request, call.received_ns)
        body = await gateway.decoding.write(encode, response)
        return Answer(200, body, headers=request_id_header(response.request_id))

    described = Description(
        takes=[
            Content(body_examples.REQUEST_SCHEMA, body_examples.REQUEST),
            Content({"type": "string"}, body_examples.CSV, CSV),
            Content({"type": "string", "format": "binary"}, content_type=PARQUET),
        ],
        gives=[Content(body_examples.ANSWER_SCHEMA, body_examples.ANSWER)],
        errors={415: "A content type or charset that is not served."},
        detail="The ids of the predictions follow from the header X-Request-Id of the answer: the id itself for one "
        "row, id/0, id/1, ... for several. Labels come back under them.",
    )
    return [Route("POST", "/invocations", "infer", invocations, encode_error, "Score rows (MLflow).", described)]


def decode(
    body: bytes, content_type: str, kinds: Mapping[str, str] | None = None, limits: Limits = NO_LIMITS
) -> InferenceRequest:
    """Read a scoring request. Raises Refused (415 for a content type that is not served, 413 beyond the limits).

    kinds: of the request columns, for CSV and Parquet; a column of kind "text" is one even where all of its texts are
    numbers. limits: of what CSV and Parquet unpack to.
    """
    kind, _, rest = content_type.partition(";")
    kind = kind.strip().lower()
    if rest:
        _check_charset(rest)
    if kind == JSON:
        return _json(body)
    if kind == CSV:
        return csv_body.decode(body, kinds or {}, limits.rows)
    if kind == PARQUET:
        return parquet_body.decode(body, limits.unpacked, kinds)
    raise Refused(415, f"content type '{kind:.60}' is not served; expected {', '.join(KINDS)}")


def encode(response: InferenceResponse) -> bytes:
    """Encode predictions."""
    if response.task in PLAIN and response.lower is None and response.explanation is None:
        return _encode({"predictions": response.scores})
    return _encode({"predictions": _records(response)})


def encode_error(status: int, message: str) -> bytes:
    """Encode an error in MLflow's shape."""
    return _encode({"error_code": CODES.get(status, "BAD_REQUEST"), "message": message})


def _check_charset(rest: str) -> None:
    for part in rest.split(";"):
        name, _, value = part.strip().partition("=")
        if name.lower() == "charset" and value.strip('" ').lower() not in ("utf-8", "utf8"):
            raise Refused(415, f"charset '{value:.40}' is not served; expected utf-8")


def _json(body: bytes) -> InferenceRequest:
    found = read(_decode, body, "JSON")
    if not isinstance(found, dict):
        raise Refused(400, f"expected a JSON object with one of {', '.join(KEYS)}")
    given = [key for key in KEYS if key in found]
    if len(given) != 1:
        strange = next((key for key in found if key not in KEYS and key != "params"), "")
        hint = nearest(strange[:60], KEYS) if strange and not given else ""
        raise Refused(
            400, f"expected exactly one of {', '.join(KEYS)}; got {', '.join(given) or 'none of them'}.{hint}"
        )
    key, value = given[0], found[given[0]]
    if key == "dataframe_split":
        request = _split(value)
    elif key == "dataframe_records":
        request = tabular.records(value, key)
    else:
        request = tabular.table(value, key)
    if "params" in found:
        _params(request, found["params"])
    return request


def _params(request: InferenceRequest, params: Any) -> None:
    """Set `explain` and `coverage` from `params`; others are ignored, as in MLflow. Raises Refused."""
    if params is None:
        return
    if not isinstance(params, dict):
        raise Refused(400, f"params is {shown(params, most=40)}; expected an object of name and value")
    explain, coverage = params.get("explain", False), params.get("coverage")
    if type(explain) is not bool:
        raise Refused(400, f"params.explain is {shown(explain, most=40)}; expected true or false")
    if coverage is not None and not (type(coverage) is float and 0 < coverage < 1):
        raise Refused(
            400, f"params.coverage is {shown(coverage, most=40)}; expected a share between 0 and 1, such as 0.9"
        )
    request.explain, request.coverage = explain, coverage


def _split(value: Any) -> InferenceRequest:
    if not isinstance(value, dict) or not isinstance(value.get("columns", []), list):
        raise Refused(400, "dataframe_split: expected an object with the lists columns and data")
    names, data = value.get("columns"), value.get("data")
    if not isinstance(data, list):
        raise Refused(400, "dataframe_split: data is missing; expected a list of rows")
    if names is None:
        return tabular.table(data, "dataframe_split.data")
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise Refused(400, "dataframe_split: columns must be different texts")
    for index, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(names):
            raise Refused(400, f"dataframe_split: data[{index}] is not a list of {len(names)} values")
    return InferenceRequest(len(data), {name: [row[n] for row in data] for n, name in enumerate(names)})


def _records(response: InferenceResponse) -> list[dict[str, Any]]:
    """Return one record a row, as MLflow writes a model's data frame."""
    found = records(response)
    if response.lower is not None and response.upper is not None:
        for record, lower, upper in zip(found, response.lower, response.upper, strict=True):
            record |= {"lower": lower, "upper": upper}
    explanation = response.explanation
    if explanation is not None:
        for record, row in zip(found, explanation.contributions, strict=True):
            record |= {"base": explanation.base, "contributions": dict(zip(explanation.features, row, strict=True))}
    return found
