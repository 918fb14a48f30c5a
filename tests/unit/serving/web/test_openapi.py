"""The OpenAPI document: every route is in it, and its examples are what the gateway reads and writes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import msgspec
import pytest

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import Route
from trimtab.serving.protocols import feedback
from trimtab.serving.protocols.mlflow import scoring
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.protocols.v2.request import decode as decode_v2
from trimtab.serving.web.openapi import document

if TYPE_CHECKING:
    from unit.serving.conftest import Served


@pytest.fixture
def routes(served: Served) -> list[Route]:
    return standard_routes(served.gateway)


@pytest.fixture
def found(routes: list[Route]) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document(routes, secured=True)))
    return found


def operations(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in found["paths"].items()
        for method, operation in methods.items()
    ]


def success(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request that succeeds."""
    found: dict[str, Any] = next(each for status, each in operation["responses"].items() if status in ("200", "202"))
    return found


def test_every_route_is_described(served: Served, routes: list[Route]) -> None:
    found = served.browser.get("/openapi.json").json()
    assert found["openapi"] == "3.1.0"
    expected = {f"{route.method} {route.path}" for route in routes} | {"GET /openapi.json"}
    assert {name for name, _ in operations(found)} == expected


def test_every_operation_says_what_it_takes_gives_and_refuses(found: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(found)]
    assert len(set(names)) == len(names)
    for name, operation in operations(found):
        assert operation["summary"].endswith("."), name
        assert success(operation)["content"], name
        assert ("requestBody" in operation) == name.startswith("POST"), name
        assert {"500", "504"} <= operation["responses"].keys(), name
        assert [each["name"] for each in operation["parameters"] if each["in"] == "path"] == re.findall(
            r"\{(\w+)\}", name
        )


def test_tokens_are_asked_for_where_they_are(routes: list[Route], found: dict[str, Any]) -> None:
    assert found["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    permissions = {f"{route.method} {route.path}": route.permission for route in routes}
    for name, operation in operations(found):
        assert ("security" in operation) == ("401" in operation["responses"]) == (permissions[name] != "open"), name
    open_to_all = document(routes, secured=False)
    assert not any("security" in operation for _, operation in operations(open_to_all))


def test_examples_fit_their_schemas(found: dict[str, Any]) -> None:
    checked = 0
    for name, operation in operations(found):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (each for body in bodies for each in body.get("content", {}).values() if "example" in each):
            schema = content["schema"] | {"components": found["components"]}
            jsonschema_rs.validate(schema, content["example"])
            checked += 1
        assert any(
            "example" in each or each["schema"].get("type") in ("string", "object")
            for each in success(operation)["content"].values()
        ), name
    assert checked > 50


def test_examples_of_bodies_are_read(found: dict[str, Any]) -> None:
    def examples(path: str) -> dict[str, bytes]:
        contents = found["paths"][path]["post"]["requestBody"]["content"]
        return {
            kind: each["example"].encode() if isinstance(each["example"], str) else msgspec.json.encode(each["example"])
            for kind, each in contents.items()
            if "example" in each
        }

    request, _ = decode_v2(examples("/v2/models/{model}/infer")["application/json"])
    assert request.columns.keys() == {"carrier", "scheduled_at", "distance"}
    read = {kind: scoring.decode(body, kind).columns for kind, body in examples("/invocations").items()}
    assert read["application/json"] == read["text/csv"] == request.columns
    labels = {kind: len(feedback.decode(body, kind)) for kind, body in examples("/v2/feedback").items()}
    assert labels == {"application/json": 2, "application/x-ndjson": 2, "text/csv": 1}


def test_errors_are_shown_in_each_protocols_own_shape(found: dict[str, Any]) -> None:
    def example(path: str, method: str) -> Any:
        return found["paths"][path][method]["responses"]["404"]["content"]["application/json"]["example"]

    assert example("/invocations", "post").keys() == {"error_code", "message"}
    assert example("/v2/models/{model}/infer", "post").keys() == {"error"}


def test_a_gateway_of_other_routes_describes_those(served: Served) -> None:
    assert isinstance(served.gateway, Gateway)
    found = document(feedback.routes(served.gateway), secured=False)
    assert set(found["paths"]) == {"/v2/models/{model}/feedback", "/v2/feedback"}
