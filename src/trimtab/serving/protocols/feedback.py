"""Labels of earlier predictions, over HTTP: JSON, NDJSON and CSV.

POST /v2/models/{model}/feedback    of one model: {"id", "label", "known_at"?} or {"labels": [...]}
POST /v2/feedback                   of any model: each label names its model, unless a header does or only one is served

Labels of turns of a prompt are {"id", "name", "value", "rater"?, "known_at"?}, such as name "thumbs" and value "down".
Only the tenant whose turn it was may label it.

Either all labels of a request are taken or none; if the log fails between two models, those of the first may be in it.
Sending them again has no effect. core/feedback.py says what a label must hold and how repeated labels are treated.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from trimtab.clock import to_micros
from trimtab.errors import nearest
from trimtab.serving.core.feedback import MOST_NAMED, BadLabels, Label, Outcome, Recent, Wrong, read_label
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import JSON, Answer, Call, Content, Description, Route, encode_error
from trimtab.serving.protocols.json_text import read
from trimtab.serving.protocols.mlflow import csv_body
from trimtab.serving.requests import MAX_ID, InferenceRequest, Refused, shown
from trimtab.stores.predictions import label_rule

if TYPE_CHECKING:
    from trimtab.llm.redaction.project_key import ProjectKey  # gateways of models do not load it

CSV = "text/csv"
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
MOST_LABELS = 10_000
"""Most labels of one request: they are decoded and logged in one step, which blocks others for some 20 ms."""
KINDS = {
    "id": "text",
    "model": "text",
    "label": "boolean",
    "known_at": "time",
    "name": "text",
    "value": "text",
    "rater": "text",
}
"""Types of the columns of a CSV; labels may be booleans or numbers."""

_encode = msgspec.json.Encoder().encode


class LabelBody(msgspec.Struct, omit_defaults=True):
    """One label: a number, or the name of a class. known_at: ISO 8601 text or microseconds since 1970; None: now.

    That of a turn of a prompt has name (thumbs, edited, judge:NAME@VERSION, human:NAME), value (up or down, pass or
    fail, a number from 0 to 1) and rater in the place of label.
    """

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID + 20)]
    label: float | str | None = None
    known_at: str | int | None = None
    model: str | None = None
    name: str | None = None
    value: float | str | bool | None = None
    rater: str | None = None


class LabelsBody(msgspec.Struct):
    """Several labels: all are taken or none."""

    labels: Annotated[list[LabelBody], msgspec.Meta(min_length=1, max_length=MOST_LABELS)]


class Invalid(msgspec.Struct):
    """The answer to a request with wrong labels: none was taken; `invalid` names the first ones."""

    error: str
    invalid: list[Wrong]


def routes(gateway: Gateway, key: ProjectKey | None = None) -> list[Route]:
    """Return the routes that take labels. key: of a gateway of prompts, which its ids of turns were made with."""
    recent: defaultdict[str, Recent] = defaultdict(Recent)

    async def of_model(call: Call) -> Answer:
        return await take(call, call.params["model"])

    async def of_any(call: Call) -> Answer:
        models = gateway.table.models
        return await take(call, call.model or (next(iter(models)) if len(models) == 1 else None))

    async def take(call: Call, model: str | None) -> Answer:
        if model is not None:
            gateway.table.model(model)
        try:
            labels = await gateway.decoding.read(decode, call.body, call.header(b"content-type") or "")
            by_model = _sorted(gateway, labels, model)
        except BadLabels as bad:
            gateway.metrics.refuse(400)
            return Answer(400, _encode(Invalid(str(bad), list(bad.wrong[:MOST_NAMED]))), JSON)
        if key is not None:
            _of_tenant(key, call.client or "", by_model.values())
        now = to_micros(gateway.clock.now())
        accepted = repeated = contradicting = 0
        unknown = Counter[str]()
        for name, labels in by_model.items():
            fresh, outcome, seen = recent[name].judge(labels, now)
            if fresh:
                await gateway.feedback(name, fresh)
            recent[name].keep(seen)
            accepted += outcome.accepted
            repeated += outcome.repeated
            contradicting += outcome.contradicting
            known = gateway.table.model(name).classes
            unknown.update(each.label for each in labels if isinstance(each.label, str) and each.label not in known)
        return Answer(200, _encode(Outcome(accepted, repeated, contradicting, dict(unknown.most_common(MOST_NAMED)))))

    many = LabelsBody([LabelBody("flight-4712", 0, "2013-06-01T19:10:00Z"), LabelBody("flight-4713/0", 1)])
    described = Description(
        takes=[
            Content((LabelBody, LabelsBody), many),
            Content({"type": "string"}, '{"id":"flight-4712","label":0}\n{"id":"flight-4713/0","label":1}\n', LINES[0]),
            Content({"type": "string"}, "id,label,known_at\nflight-4712,0,2013-06-01T19:10:00Z\n", CSV),
        ],
        gives=[Content(Outcome, Outcome(2, contradicting=1))],
        errors={413: f"More than {MOST_LABELS} labels, or too large a body."},
        detail=f"All labels of a request are taken or none; the answer to wrong ones names up to {MOST_NAMED} of them "
        "under `invalid`. Repeated labels have no second effect; of contradictory ones the latest known_at counts; "
        "labels of unknown ids are taken. So are classes that no version in service knows; `unknown_classes` counts "
        "them.",
    )
    return [
        Route("POST", "/v2/models/{model}/feedback", "feedback", of_model, encode_error, "Take labels.", described),
        Route("POST", "/v2/feedback", "feedback", of_any, encode_error, "Take labels of any model.", described),
    ]


def decode(body: bytes, content_type: str = "application/json") -> list[Label]:
    """Read labels. Raises Refused; BadLabels when some are wrong."""
    kind = content_type.partition(";")[0].strip().lower()
    items = _csv(body) if kind == CSV else _lines(body) if kind in LINES else _json(body)
    if not items:
        raise Refused(400, "labels is empty; expected at least one")
    if len(items) > MOST_LABELS:
        raise Refused(413, f"{len(items)} labels are more than {MOST_LABELS}; send them in several requests")
    found = [
        read_label(index, item)
        if isinstance(item, dict)
        else Wrong(index, "", f"labels[{index}] is {shown(item)}; expected an object with id and label")
        for index, item in enumerate(items)
    ]
    wrong = [each for each in found if isinstance(each, Wrong)]
    if wrong:
        raise BadLabels(wrong)
    return [each for each in found if isinstance(each, Label)]


def _json(body: bytes) -> list[Any]:
    found = read(msgspec.json.decode, body, "feedback")
    if isinstance(found, dict) and isinstance(found.get("labels", []), list):
        labels: list[Any] = found.get("labels", [found])
        return labels
    raise Refused(400, 'malformed feedback: expected {"id", "label", "known_at"?} or {"labels": [...]}')


def _lines(body: bytes) -> list[Any]:
    found: list[Any] = []
    for line in body.split(b"\n"):
        if line.strip():
            try:
                found.append(msgspec.json.decode(line))
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise Refused(400, f"malformed feedback: labels[{len(found)}]: {error}") from None
    return found


def _csv(body: bytes) -> list[Any]:
    table: InferenceRequest = csv_body.decode(body, KINDS, MOST_LABELS)
    needed = ("id", "name", "value") if "name" in table.columns else ("id", "label")
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise Refused(400, f"malformed CSV: column '{missing[0]}' is missing; expected {','.join(needed)},known_at")
    names = [name for name in KINDS if name in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*[table.columns[name] for name in names], strict=True)]


def _of_tenant(key: ProjectKey, tenant: str, labels: Iterable[Iterable[Label]]) -> None:
    """Raise Refused (404) for an id that is none of a tenant's turns; hash who rated."""
    for label in chain.from_iterable(labels):
        if not key.issued(label.id, tenant):
            raise Refused(404, f"labels[{label.index}].id is {shown(label.id)}; this token asked for no such turn")
        if label.rater is not None and label_rule.source(label.name or "") == "user":
            label.rater = key.of_name("user", f"{tenant}\x1f{label.rater}")


def _sorted(gateway: Gateway, labels: list[Label], model: str | None) -> dict[str, list[Label]]:
    """Return the labels of each model, checked against its task. Raises BadLabels.

    model: the model that the path or a header names, or the only one; None: each label names its own. Labels that name
    another model are wrong: a token for one model gives no access to others.
    """
    tables = gateway.table.models
    found: dict[str, list[Label]] = {}
    wrong: list[Wrong] = []
    classes = {name: table.classes for name, table in tables.items()}
    for label in labels:
        name = label.model or model
        if name is None or name not in tables or model not in (None, name):
            valid = [model] if model is not None else sorted(tables)
            hint = nearest((label.model or "")[:60], valid)
            reason = f"labels[{label.index}].model is {shown(label.model)}; expected the name of a model.{hint}"
            wrong.append(Wrong(label.index, "model", reason))
            continue
        bad = label.wrong(tables[name].spec.task, classes[name])
        if bad is not None:
            wrong.append(bad)
        found.setdefault(name, []).append(label)
    if wrong:
        raise BadLabels(wrong)
    return found
