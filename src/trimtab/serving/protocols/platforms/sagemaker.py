"""SageMaker's container contract: POST /invocations in the forms of its own algorithms and SDK.

JSON holds `instances` with a list of `features` each (or under data.features.values), or a bare list of rows; JSON
Lines hold one such instance a line; CSV has no header: one row a line, all features; and there are numpy's files.
JSON in the forms of MLflow's server is read, and answered, as that server does. GET /ping is a route of health.
"""

from __future__ import annotations

import csv
import io
import math
import tokenize
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import msgspec
import numpy as np

from trimtab.errors import nearest
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.endpoints import Answer, Call, Content, Description, Headers, Route, request_id_header
from trimtab.serving.protocols import tabular
from trimtab.serving.protocols.json_text import read_lines
from trimtab.serving.protocols.matrices import matrix
from trimtab.serving.protocols.mlflow import csv_body, scoring
from trimtab.serving.requests import InferenceRequest, InferenceResponse, Refused, shown

ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
INFERENCE_ID = b"x-amzn-sagemaker-inference-id"
TARGET_MODEL = b"x-amzn-sagemaker-target-model"
TARGET_VARIANT = b"x-amzn-sagemaker-target-variant"
ARCHIVE = ".tar.gz"
"""Ending of the model names of a multi-model endpoint."""

Form = Literal["json", "mlflow", "jsonlines", "csv", "npy"]
KINDS: dict[str, Form] = {
    "application/json": "json",
    "application/jsonlines": "jsonlines",
    "application/x-jsonlines": "jsonlines",
    "application/x-ndjson": "jsonlines",
    "text/csv": "csv",
    "application/x-npy": "npy",
}
WRITTEN: dict[Form, bytes] = {
    "json": b"application/json",
    "mlflow": b"application/json",
    "jsonlines": b"application/jsonlines",
    "csv": b"text/csv; charset=utf-8",
    "npy": b"application/x-npy",
}
EXAMPLE = {"instances": [{"features": [719, 150]}]}

_encode = msgspec.json.Encoder().encode


def routes(gateway: Gateway) -> list[Route]:
    """Return the route of the contract, which takes the place of MLflow's, over a gateway."""

    limits = scoring.Limits(gateway.options.max_rows, gateway.options.max_body)

    async def invocations(call: Call) -> Answer:
        content_type = call.header(b"content-type") or "application/json"
        wanted = accepted(call.header(b"accept"))
        model = target_model(call.headers) or call.model
        kinds = gateway.table.model(model).spec.request_types
        request, form = await gateway.decoding.read(decode, call.body, content_type, kinds, limits)
        request.request_id = call.header(INFERENCE_ID) or call.request_id
        variant = call.header(TARGET_VARIANT)
        version = pinned(gateway.table.model(model), variant) if variant else None
        response = await gateway.infer(model, version or call.version, request, call.received_ns)
        if wanted is not None and not (wanted == "json" and form == "mlflow"):
            form = wanted
        body = await gateway.decoding.write(encode, response, form)
        return Answer(200, body, WRITTEN[form], _headers(call, response))

    rows = {"description": "rows", "type": ["object", "array"]}
    described = Description(
        takes=[Content(rows, EXAMPLE), Content({"type": "string"}, "719,150\n", "text/csv")],
        gives=[Content({"type": "object", "required": ["predictions"]}), Content({"type": "string"}, None, "text/csv")],
        errors={406: "No form of answer is accepted.", 415: "The content type is not served."},
    )
    summary = "Score rows (SageMaker)."
    return [Route("POST", "/invocations", "infer", invocations, encode_error, summary, described, target_model)]


def target_model(headers: Headers) -> str | None:
    """Return the model that a request for a multi-model endpoint names; None without one."""
    named = next((value.decode("latin-1") for name, value in headers if name == TARGET_MODEL), "")
    return named.removesuffix(ARCHIVE).lstrip("/") or None


def decode(
    body: bytes, content_type: str, kinds: Mapping[str, str] | None = None, limits: scoring.Limits = scoring.NO_LIMITS
) -> tuple[InferenceRequest, Form]:
    """Read rows, and the format of the answer. Raises Refused (415 for a content type that is not served).

    kinds: of the request columns, for CSV with a header. limits: of what CSV and Parquet unpack to.
    """
    kind, _, options = content_type.partition(";")
    form = KINDS.get(kind.strip().lower())
    if form == "json":
        return _json(body, content_type)
    if form == "jsonlines":
        try:
            lines = read_lines(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Refused(400, f"malformed JSON Lines: {error}") from None
        return _instances(lines, "line"), form
    if form == "csv":
        return _csv(body, kinds or {}, limits.rows, header="header=present" in options.replace(" ", "").lower()), form
    if form == "npy":
        return _npy(body), form
    try:
        return scoring.decode(body, content_type, None, limits), "mlflow"  # it may know more
    except Refused as refused:
        if refused.status != 415:
            raise
        raise Refused(415, f"content type '{kind:.60}' is not served; expected one of {', '.join(KINDS)}") from None


def encode(response: InferenceResponse, form: Form) -> bytes:
    """Write predictions: score, and predicted_label unless it is a regression, in the forms that have names.

    The score of a multiclass model is the list of the probabilities of its classes, as of SageMaker's own algorithms.
    """
    if form == "mlflow":
        return scoring.encode(response)
    scores: Sequence[Any] = response.scores if response.probabilities is None else response.probabilities
    if form == "csv":
        of_rows = scores if response.probabilities is not None else [[score] for score in scores]
        return "".join(",".join(map(repr, row)) + "\n" for row in of_rows).encode()
    if form == "npy":
        written = io.BytesIO()
        np.lib.format.write_array(written, np.array(scores, dtype=np.float64), allow_pickle=False)
        return written.getvalue()
    rows: list[dict[str, Any]] = [{"score": score} for score in scores]
    for row, label in zip(rows, response.labels, strict=False):
        row["predicted_label"] = label
    return b"".join(_encode(row) + b"\n" for row in rows) if form == "jsonlines" else _encode({"predictions": rows})


encode_error = scoring.encode_error  # the platform forwards the text unchanged; MLflow's clients read this shape


def accepted(header: str | None) -> Form | None:
    """Return the format that the client prefers; None: any. Raises Refused (406)."""
    best, weight = None, 0.0
    for part in (header or "*/*").split(","):
        kind, *options = (text.strip().lower() for text in part.split(";"))
        form = KINDS.get(kind)
        known = form is not None or kind in ("", "*/*", "application/*", "text/*")
        own = next((_share(text[2:]) for text in options if text.startswith("q=")), 1.0)
        if known and own > weight:
            best, weight = form, own
    if weight == 0.0:
        raise Refused(406, f"no answer of type '{header:.100}' can be given; expected one of {', '.join(KINDS)}")
    return best


def pinned(table: ModelTable, variant: str) -> str | None:
    """Return the version that a variant names by its number or its role. Raises Refused (404).

    Other names are those of the platform's own variants, which has chosen this container by them: they pin nothing.
    """
    if variant.isascii() and variant.removeprefix("v").isdecimal():
        return variant.removeprefix("v")
    roles = {each.role: str(each.bundle.version) for each in reversed(table.variants)}
    if variant in roles:
        return roles[variant]
    if variant in ("champion", "challenger", "shadow"):
        raise Refused(404, f"model '{table.model}' has no {variant}.{nearest(variant, roles)}")
    return None


def _share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        return 0.0
    return found if math.isfinite(found) else 0.0


def _headers(call: Call, response: InferenceResponse) -> Headers:
    attributes = [(ATTRIBUTES, value) for name, value in call.headers if name == ATTRIBUTES]
    return [*request_id_header(response.request_id), *attributes]


def _json(body: bytes, content_type: str) -> tuple[InferenceRequest, Form]:
    if body.lstrip()[:1] == b"[":
        return _instances(tabular.json_value(body), "instance"), "json"
    if b'"instances"' in body and (b'"features"' in body or b'"data"' in body):
        found = tabular.json_value(body)
        instances = found.get("instances") if isinstance(found, dict) else None
        if isinstance(instances, list) and instances and _features(instances[0]) is not None:
            return _instances(instances, "instance"), "json"
    return scoring.decode(body, content_type), "mlflow"


def _instances(found: list[Any], what: str) -> InferenceRequest:
    """Read instances that hold features, or rows in the other forms."""
    if not found or _features(found[0]) is None:
        return tabular.table(found, what)
    rows = []
    for index, instance in enumerate(found):
        features = _features(instance)
        if features is None:
            raise Refused(400, f"{what} {index} has no features, as {what} 0 has")
        rows.append(features)
    return _matrix(rows)


def _features(instance: Any) -> list[Any] | None:
    """Return the list of features of an instance, None when it is a record or a plain row."""
    if not isinstance(instance, dict):
        return None
    data = instance.get("data")
    found = data.get("features") if isinstance(data, dict) else instance.get("features")
    if isinstance(found, dict):
        found = found.get("values")
    return found if isinstance(found, list) else None


def _matrix(rows: Sequence[Any]) -> InferenceRequest:
    if not rows:
        return InferenceRequest(0, {})
    features = matrix(rows, len(rows))
    return InferenceRequest(len(features), {}, features)


def _csv(body: bytes, kinds: Mapping[str, str], most_rows: int | None, *, header: bool) -> InferenceRequest:
    try:
        lines = (row for row in csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True) if row)
        rows = list(lines if most_rows is None else islice(lines, most_rows + 2))  # one more, and a header
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(400, f"malformed CSV: {error}") from None
    if header or (rows and all(text and _number(text) is None for text in rows[0])):
        return csv_body.decode(body, kinds, most_rows)  # names: features are numbers
    if most_rows is not None and len(rows) > most_rows:
        raise Refused(413, f"the CSV has more than {most_rows} rows; send them in several requests")
    for index, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise Refused(400, f"malformed CSV: line {index} has {len(row)} values; line 0 has {len(rows[0])}")
    found = [[_number(text) if text else None for text in row] for row in rows]
    for index, (row, values) in enumerate(zip(rows, found, strict=True)):
        for text, value in zip(row, values, strict=True):
            if text and value is None:
                raise Refused(
                    400,
                    f"line {index} holds {shown(text, most=40)}, which is no number; a header goes with "
                    "text/csv; header=present",
                )
    return _matrix(found)


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _npy(body: bytes) -> InferenceRequest:
    """Read an array in NumPy's file format; allocates no more than the body's bytes, and unpickles nothing."""
    file = io.BytesIO(body)
    try:
        if np.lib.format.read_magic(file) not in ((1, 0), (2, 0)):
            raise ValueError("expected version 1 or 2 of the format")
        header = np.lib.format.read_array_header_1_0 if body[6] == 1 else np.lib.format.read_array_header_2_0
        shape, by_column, kind = header(file)
        if kind.kind not in "biuf":
            raise ValueError(f"it holds {kind}; expected numbers")
        found = np.frombuffer(body, kind, offset=file.tell()).reshape(shape, order="F" if by_column else "C")
    except (
        ValueError,
        TypeError,
        OverflowError,
        SyntaxError,
        tokenize.TokenError,
    ) as error:  # the errors that a malformed header can cause
        raise Refused(400, f"malformed numpy file: {error}") from None
    if found.ndim == 1:
        found = found.reshape(1, -1)
    if found.ndim != 2 or not found.size:
        raise Refused(400, f"the array has shape {list(found.shape)[:8]}; expected [rows, features]")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, as it was in training
        return InferenceRequest(len(found), {}, np.ascontiguousarray(found, dtype=np.float32))
