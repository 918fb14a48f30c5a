"""What a web page in a browser on this machine can send is refused; what a program sends is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.requests import Refused
from trimtab.serving.web.asgi import Application
from trimtab.serving.web.browsers import BrowserCheck

if TYPE_CHECKING:
    from unit.serving.conftest import Browser, Served

INFER = "/v2/models/delay/infer"


def refusal(check: BrowserCheck, host: str | None, origin: str | None = None) -> str:
    """Return why a request is refused; empty when it is not."""
    try:
        check.check(None if host is None else host.encode(), None if origin is None else origin.encode())
    except Refused as refused:
        return f"{refused.status}: {refused}"
    return ""


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("127.0.0.1:8080", True),
        ("127.8.9.1", True),
        ("localhost:8080", True),
        ("LOCALHOST.:8080", True),
        ("gateway.localhost", True),
        ("[::1]:8080", True),
        ("[0:0:0:0:0:0:0:1]", True),
        ("", True),  # no browser leaves it empty
        (None, True),  # HTTP/1.0
        ("evil.example", False),
        ("evil.example:8080", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.1.7:8080", False),
        ("[fd00::1]:8080", False),
        ("0x7f.1", False),
    ],
)
def test_without_tokens_only_names_of_this_machine_are_asked(host: str | None, passes: bool) -> None:
    assert (refusal(BrowserCheck(()), host) == "") == passes


def test_further_names_are_allowed_by_the_policy_and_told_in_the_refusal() -> None:
    check = BrowserCheck(("Gateway.example.com", "*.corp.example"))
    assert refusal(check, "gateway.EXAMPLE.com:443") == refusal(check, "a.b.corp.example") == ""
    assert refusal(check, "localhost:1") == ""
    assert "serving.allowed_hosts" in refusal(check, "corp.example")
    assert refusal(check, "corp.example").startswith("403")
    assert refusal(check, "notcorp.example")
    assert refusal(BrowserCheck(("*",)), "evil.example") == refusal(BrowserCheck(None), "evil.example") == ""


@pytest.mark.parametrize(
    ("host", "origin", "passes"),
    [
        ("localhost:8080", "http://localhost:8080", True),
        ("localhost:8080", "http://LOCALHOST:8080", True),
        ("localhost", "http://localhost", True),
        ("localhost:80", "http://localhost", True),
        ("localhost", "https://localhost:443", True),
        ("localhost:8080", "http://localhost:3000", False),
        ("localhost:8080", "http://127.0.0.1:8080", False),
        ("localhost:8080", "https://evil.example", False),
        ("localhost:8080", "null", False),
        ("localhost:8080", "", False),
        ("localhost:8080", "file://", False),
        ("localhost:8080", "http://localhost:8080x", False),
        ("localhost:8080", "http://[", False),
        ("localhost:8080", "https://app.example.com", True),
        ("localhost:8080", "https://app.example.com.evil.example", False),
        (None, "https://evil.example", False),
    ],
)
def test_pages_of_other_sites_are_refused_unless_they_are_allowed(host: str | None, origin: str, passes: bool) -> None:
    assert (refusal(BrowserCheck((), ("https://app.example.com/",)), host, origin) == "") == passes


@pytest.fixture
def guarded(served: Served, pack: Callable[..., LoadedBundle], table_of: Callable[..., ModelTable]) -> Browser:
    """The browser of a gateway without tokens that serves the model "delay"."""
    served.serve(table_of(("champion", pack(1), 100)))
    gateway = served.gateway
    gateway.repository.hold = lambda model, held: pytest.fail("it was told to change")
    served.browser._application = Application(gateway, standard_routes(gateway), browsers=BrowserCheck(()))
    return served.browser


@pytest.mark.parametrize(
    "headers", [{"host": "evil.example:8080"}, {"host": "127.0.0.1", "origin": "http://evil.example"}]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", INFER),
        ("POST", "/invocations"),
        ("POST", "/v1/models/delay:predict"),
        ("POST", "/v2/models/delay/feedback"),
        ("POST", "/v2/repository/models/delay/unload"),
        ("POST", "/v2/repository/models/delay/load"),
        ("GET", "/metrics"),
        ("GET", "/v2/models"),
        ("GET", "/v2/health/ready"),
    ],
)
def test_no_route_answers_a_page_of_another_site(
    guarded: Browser, infer_body: Callable[..., Any], method: str, path: str, headers: dict[str, str]
) -> None:
    reply = guarded.send(method, path, infer_body(1), **headers)
    assert reply.status == 403
    assert guarded.send("POST", INFER, infer_body(1), host="localhost:8080").status == 200


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "Text/Plain"])
@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/delay/feedback",
        "/v2/feedback",
        "/v2/repository/models/delay/unload",
        "/v2/repository/models/delay/load",
    ],
)
def test_what_changes_state_takes_no_form(guarded: Browser, path: str, kind: str) -> None:
    reply = guarded.post(path, b'{"id":"a","label":1}', host="localhost", content_type=kind)
    assert reply.status == 415
    assert "application/json" in reply.json()["error"]
