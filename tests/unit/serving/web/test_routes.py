"""Paths to routes: names in braces, escaped texts, hints, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.serving.endpoints import Answer, Call, Route, encode_error
from trimtab.serving.web.routes import KNOWN_PATHS, NotServed, Router


async def nothing(call: Call) -> Answer:
    return Answer(200, b"")


def route(method: Any, path: str, permission: Any = "infer") -> Route:
    return Route(method, path, permission, nothing, lambda status, text: b"own", "Do nothing.")


ROUTES = [
    route("GET", "/v2", "open"),
    route("POST", "/invocations"),
    route("GET", "/v1/models", "read"),
    route("GET", "/v1/models/{model}", "read"),
    route("POST", "/v1/models/{model}:predict"),
    route("POST", "/v2/models/{model}/infer"),
    route("POST", "/v2/models/{model}/versions/{version}/infer"),
    route("GET", "/v2/models/{model}/predictions/{id}/explanation", "read"),
]


def find(method: str, path: str, *, raw: bytes | None = None, router: Router | None = None) -> tuple[str, Any]:
    scope = {"method": method, "path": path, "raw_path": path.encode() if raw is None else raw}
    found, params = (router or Router(ROUTES)).find(scope)
    return found.path, dict(params)


@pytest.mark.parametrize(
    ("method", "path", "pattern", "params"),
    [
        ("GET", "/v2", "/v2", {}),
        ("HEAD", "/v2", "/v2", {}),
        ("POST", "/invocations", "/invocations", {}),
        ("GET", "/v1/models", "/v1/models", {}),
        ("GET", "/v1/models/delay", "/v1/models/{model}", {"model": "delay"}),
        ("POST", "/v1/models/delay:predict", "/v1/models/{model}:predict", {"model": "delay"}),
        ("POST", "/v1/models/a:b:predict", "/v1/models/{model}:predict", {"model": "a:b"}),
        ("POST", "/v2/models/delay/infer", "/v2/models/{model}/infer", {"model": "delay"}),
        (
            "POST",
            "/v2/models/delay/versions/3/infer",
            "/v2/models/{model}/versions/{version}/infer",
            {"model": "delay", "version": "3"},
        ),
    ],
)
def test_a_path_has_one_route(method: str, path: str, pattern: str, params: dict[str, str]) -> None:
    router = Router(ROUTES)
    assert find(method, path, router=router) == (pattern, params)
    assert find(method, path, router=router) == (pattern, params)  # remembered now


def test_a_name_may_hold_an_escaped_slash() -> None:
    path, raw = "/v2/models/delay/predictions/a/0/explanation", b"/v2/models/delay/predictions/a%2F0/explanation"
    assert find("GET", path, raw=raw)[1] == {"model": "delay", "id": "a/0"}
    assert find("POST", "/v2/models/d\u00e9lai/infer", raw=b"/v2/models/d%C3%A9lai/infer")[1] == {"model": "d\u00e9lai"}


def test_an_escaped_path_does_not_take_the_place_of_another() -> None:
    router, path = Router(ROUTES), "/v2/models/delay/versions/3/infer"
    escaped = find("POST", path, raw=b"/v2/models/delay%2Fversions%2F3/infer", router=router)
    assert escaped == ("/v2/models/{model}/infer", {"model": "delay/versions/3"})
    assert find("POST", path, router=router)[1] == {"model": "delay", "version": "3"}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v2", "GET, HEAD"),
        ("GET", "/invocations", "POST"),
        ("DELETE", "/v1/models/delay", "GET, HEAD"),
        ("OPTIONS", "/v2/models/delay/infer", "POST"),
        ("GET", "/v1/models/delay:predict", "POST"),
    ],
)
def test_another_method_is_told_which_ones_there_are(method: str, path: str, allow: str) -> None:
    with pytest.raises(NotServed) as refused:
        find(method, path)
    assert (refused.value.status, refused.value.allow) == (405, allow)
    assert refused.value.encode_error(405, "") == b"own"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v2/models/delay/infr", "Did you mean '/v2/models/delay/infer'?"),
        ("/v2/model/delay/infer", "Did you mean '/v2/models/delay/infer'?"),
        ("/invocation", "Did you mean '/invocations'?"),
        ("/v1/models/", "Did you mean '/v1/models'?"),
        ("/v1/models/delay/versions/3:predict", "Did you mean '/v1/models/{model}:predict'?"),
        ("/" + "x" * 5000, "See GET /openapi.json"),
        ("/", "See GET /openapi.json"),
    ],
)
def test_an_unknown_path_is_told_the_nearest(path: str, hint: str) -> None:
    with pytest.raises(NotServed) as refused:
        find("POST", path)
    assert refused.value.status == 404
    assert hint in str(refused.value)
    assert refused.value.encode_error(404, "no") == encode_error(404, "no") == b'{"error":"no"}'


def test_paths_are_remembered_in_bounded_number() -> None:
    router = Router(ROUTES)
    for number in range(3 * KNOWN_PATHS):
        find("POST", f"/v2/models/m{number}/infer", router=router)
    assert len(router.known) <= KNOWN_PATHS + len(ROUTES)
    assert find("POST", "/v2/models/m0/infer", router=router)[1] == {"model": "m0"}


def test_two_routes_of_one_path_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two routes answer POST"):
        Router([*ROUTES, route("POST", "/v2/models/{name}/infer")])
