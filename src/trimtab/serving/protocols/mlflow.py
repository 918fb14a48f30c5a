"""MLflow's scoring server: POST /invocations. Called by asgi.

JSON holds exactly one of dataframe_split, dataframe_records, instances, inputs; CSV has a header. A list of
lists under instances or inputs holds all features in the order of the bundle's feature list.
Predictions are probabilities (binary) or values (regression), one a row.
"""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec

from trimtab.errors import nearest
from trimtab.serving.gateway import Gateway
from trimtab.serving.http import Answer, Call, Route, request_id_header
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused, matrix

KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
JSON, CSV = "application/json", "text/csv"
CODES = {404: "RESOURCE_DOES_NOT_EXIST", 500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE"}

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of the protocol over a gateway."""

    async def invocations(call: Call) -> Answer:
        request = decode(call.body, call.header(b"content-type") or "")
        request.request_id = call.request_id
        response = await gateway.infer(call.model, call.version, request, call.received_ns)
        return Answer(200, encode(response), headers=request_id_header(response.request_id))

    return [Route("POST", "/invocations", "infer", invocations, encode_error, "Score rows (MLflow).")]


def decode(body: bytes, content_type: str) -> InferenceRequest:
    """Read a scoring request. Raises Refused (415 for a content type that is not served)."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == CSV:
        return _csv(body)
    if kind != JSON:
        raise Refused(415, f"content type '{kind:.60}' is not served; expected {JSON} or {CSV}")
    try:
        found = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(400, f"malformed JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refused(400, f"expected a JSON object with one of {', '.join(KEYS)}")
    given = [key for key in KEYS if key in found]
    if len(given) != 1:
        strange = next((key for key in found if key not in KEYS and key != "params"), "")
        hint = nearest(strange[:60], KEYS) if strange and not given else ""
        raise Refused(400, f"expected exactly one of {', '.join(KEYS)}; got {given or 'none of them'}.{hint}")
    value = found[given[0]]
    if given[0] == "dataframe_split":
        return _split(value)
    if given[0] == "dataframe_records":
        return _records(value, given[0])
    return _instances(value, given[0])


def encode(response: InferenceResponse) -> bytes:
    """Write predictions."""
    return _encode({"predictions": response.scores})


def encode_error(status: int, message: str) -> bytes:
    """Write an error."""
    return _encode({"error_code": CODES.get(status, "BAD_REQUEST"), "message": message})


def _split(value: Any) -> InferenceRequest:
    if not isinstance(value, dict) or not isinstance(value.get("columns"), list):
        raise Refused(400, "dataframe_split: expected an object with the lists columns and data")
    names, data = value["columns"], value.get("data")
    if not isinstance(data, list):
        raise Refused(400, "dataframe_split: data is missing; expected a list of rows")
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise Refused(400, "dataframe_split: columns must be different texts")
    for index, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(names):
            raise Refused(400, f"dataframe_split: data[{index}] is not a list of {len(names)} values")
    return InferenceRequest(len(data), {name: [row[n] for row in data] for n, name in enumerate(names)})


def _records(value: Any, key: str) -> InferenceRequest:
    if not isinstance(value, list):
        raise Refused(400, f"{key}: expected a list of records")
    names: dict[str, None] = {}
    for index, record in enumerate(value):
        if not isinstance(record, dict):
            raise Refused(400, f"{key}[{index}] is not a record; expected an object of column and value")
        names.update(dict.fromkeys(record))
    if len(names) * len(value) > 4 * sum(map(len, value)) + 1000:
        raise Refused(400, f"{key}: the records have few columns in common")
    return InferenceRequest(len(value), {name: [record.get(name) for record in value] for name in names})


def _instances(value: Any, key: str) -> InferenceRequest:
    if isinstance(value, dict):
        return _columns(value, key)
    if not isinstance(value, list):
        raise Refused(400, f"{key}: expected a list of rows, or an object of column and values")
    if value and isinstance(value[0], dict):
        return _records(value, key)
    if value and not isinstance(value[0], list):
        value = [[item] for item in value]
    if not value:
        return InferenceRequest(0, {})
    features = matrix(value, len(value))
    return InferenceRequest(len(features), {}, features)


def _columns(value: dict[str, Any], key: str) -> InferenceRequest:
    rows = -1
    for name, column in value.items():
        if not isinstance(column, list):
            raise Refused(400, f"{key}.{name:.60}: expected a list of values, one a row")
        if rows not in (-1, len(column)):
            raise Refused(400, f"{key}.{name:.60} has {len(column)} values; the columns before it have {rows}")
        rows = len(column)
    if rows < 0:
        raise Refused(400, f"{key} is empty; expected an object of column and values")
    return InferenceRequest(rows, value)


def _csv(body: bytes) -> InferenceRequest:
    try:
        rows = list(csv.reader(io.StringIO(body.decode()), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(400, f"malformed CSV: {error}") from None
    if not rows or not rows[0] or len(set(rows[0])) != len(rows[0]):
        raise Refused(400, "malformed CSV: expected a header with different column names")
    names, data = rows[0], [row for row in rows[1:] if row]
    for index, row in enumerate(data):
        if len(row) != len(names):
            raise Refused(400, f"malformed CSV: row {index} has {len(row)} values; the header has {len(names)}")
    return InferenceRequest(len(data), {name: _typed([row[n] for row in data]) for n, name in enumerate(names)})


def _typed(texts: list[str]) -> list[Any]:
    """A column of numbers where all of its texts read as numbers; an empty text is a missing value."""
    for kind in (int, float, str):
        try:
            return [kind(text) if text else None for text in texts]
        except ValueError:
            continue
    return list(texts)
