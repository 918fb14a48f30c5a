"""The gateway described in OpenAPI 3.1, made from the routes themselves. Answers GET /openapi.json.

Bodies and answers come from the structs that the protocols read and write; errors from each protocol's own encoder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version as package_version
from inspect import cleandoc
from typing import Any

import msgspec

from trimtab.serving.endpoints import Answer, Call, Content, Description, Route, encode_error

PATH = "/openapi.json"
REF = "#/components/schemas/{name}"
ERRORS = {
    400: "The request cannot be understood; the text says what was expected.",
    404: "No such model, version or path.",
    413: "The body is too large, or has too many rows.",
    415: "A content type or encoding that is not served.",
    500: "The model or the gateway failed.",
    501: "This gateway is not set up for it.",
    503: "Not ready, or too much is waiting; Retry-After says when to try again.",
    504: "It took too long.",
}
OF_TOKENS = {401: "A token is asked for and was not shown.", 403: "The token does not allow this."}
OPEN_ERRORS = (500, 504)
"""Errors of a route without model and body; other routes may have all of ERRORS."""
PARAMETERS = {
    "model": "Name of a model.",
    "version": "Version of a model that is loaded, such as 3.",
    "id": "Id of a prediction, as the answer gave it.",
    "source": "Name of a push source.",
    "stream": "Name of a KPI whose points are pushed.",
    "row": "Number of a row, for the id of a request of several rows.",
}
EXAMPLES = {"model": "delay", "version": "3", "id": "flight-4711", "row": "0", "source": "clicks", "stream": "revenue"}
ANYTHING = Content({})


def routes(others: Sequence[Route], *, secured: bool) -> list[Route]:
    """Return the route of the OpenAPI document. secured: whether the gateway requires tokens."""

    @cache
    def text() -> bytes:
        return msgspec.json.encode(document([*others, *own], secured=secured))

    async def describe(call: Call) -> Answer:
        return Answer(200, text())

    own = [
        Route(
            "GET",
            PATH,
            "open",
            describe,
            encode_error,
            "Describe the gateway in OpenAPI 3.1.",
            Description(gives=[Content({"type": "object"})]),
            protocol="openapi",
        )
    ]
    return own


def document(routes: Sequence[Route], *, secured: bool) -> dict[str, Any]:
    """Return the OpenAPI document of the routes."""
    schemas = _Schemas([content for route in routes for content in _contents(route)])
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, secured=secured)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trimtab gateway",
            "version": package_version("trimtab"),
            "description": "Serves models, takes labels. Several protocols over one core: their names are the tags.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token of: trimtab token create"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same token."},
            },
        },
    }


class _Schemas:
    """Collects the schemas of all types that the document refers to."""

    def __init__(self, contents: Sequence[Content]) -> None:
        types = [each for content in contents for each in _types(content.schema)]
        found, components = msgspec.json.schema_components(types, ref_template=REF)
        self.components: dict[str, Any] = components
        for component in components.values():
            if "description" in component:
                component["description"] = cleandoc(component["description"])
        self._by_type = {repr(each): schema for each, schema in zip(types, found, strict=True)}

    def of(self, content: Content) -> Any:
        """Return the schema of a content."""
        if isinstance(content.schema, dict):
            return content.schema
        found = [self._by_type[repr(each)] for each in _types(content.schema)]
        return found[0] if len(found) == 1 else {"anyOf": found}


def _types(schema: Any) -> list[Any]:
    """Return the types of a schema: a type, or a tuple of alternatives; none for a JSON schema."""
    return [] if isinstance(schema, dict) else list(schema) if isinstance(schema, tuple) else [schema]


def _contents(route: Route) -> list[Content]:
    description = route.description
    return [] if description is None else [*description.takes, *description.gives, *description.also.values()]


def _operation(route: Route, schemas: _Schemas, *, secured: bool) -> dict[str, Any]:
    described = route.description or Description(takes=[ANYTHING], gives=[ANYTHING])
    protocol = route.protocol
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": route.summary,
        "tags": [protocol],
        "parameters": _parameters(route),
        "responses": {
            str(described.success): {"description": "As asked for.", "content": _body(described.gives, schemas)},
            **_errors(route, described),
            **{
                str(status): {"description": "Not ready.", "content": _body([content], schemas)}
                for status, content in described.also.items()
            },
        },
    }
    if described.detail:
        operation["description"] = described.detail
    if route.method in ("POST", "PUT"):
        operation["requestBody"] = {"content": _body(described.takes, schemas)}
    if secured and route.permission != "open":
        operation["security"] = [{"bearer": []}, {"key": []}]
        operation["responses"] |= {str(status): _error(route, status, text) for status, text in OF_TOKENS.items()}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    names = re.findall(r"\{(\w+)\}", route.path)
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PARAMETERS.get(name, ""),
            "schema": {"type": "string", "minLength": 1},
            "example": EXAMPLES.get(name, name),
        }
        for name in names
    ]
    if route.permission in ("infer", "feedback", "read"):
        if "model" not in names and route.permission != "read":
            found.append(_header("X-Trimtab-Model", "The model, where several are served."))
        if "version" not in names and route.permission == "infer":
            found.append(_header("X-Trimtab-Version", "The version that is to answer, whatever the rollout says."))
    found.append(_header("X-Request-Id", "Comes back in the answer; the request's id where its body brings none."))
    return found


def _header(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}


def _body(contents: Sequence[Content], schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for content in contents:
        found[content.content_type] = {"schema": schemas.of(content)}
        if content.example is not None:
            found[content.content_type]["example"] = msgspec.to_builtins(content.example)
    return found


def _errors(route: Route, described: Description) -> dict[str, Any]:
    plain = route.permission == "open" and "{" not in route.path
    statuses = {status: text for status, text in ERRORS.items() if not plain or status in OPEN_ERRORS}
    return {str(status): _error(route, status, text) for status, text in {**statuses, **described.errors}.items()}


def _error(route: Route, status: int, text: str) -> dict[str, Any]:
    example = msgspec.json.decode(route.encode_error(status, text))
    return {
        "description": text,
        "content": {"application/json": {"schema": _shape(example), "example": example}},
    }


def _shape(example: Any) -> dict[str, Any]:
    """Return the schema of an error from an example of it: objects of texts and numbers."""
    if isinstance(example, dict):
        return {
            "type": "object",
            "properties": {name: _shape(value) for name, value in example.items()},
            "required": list(example),
        }
    return {"type": {str: "string", int: "integer", bool: "boolean"}.get(type(example), "object")}
