"""What is the same for all protocols: request ids, tokens, limits of time, compressed bodies, errors."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.endpoints import Answer, Call, Headers, Permission, Route
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.requests import Refused
from trimtab.serving.web.asgi import Application
from trimtab.serving.web.observing import GONE, Observer

if TYPE_CHECKING:
    from unit.serving.conftest import Browser, Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
Body = Callable[..., dict[str, Any]]
INFER = "/v2/models/delay/infer"


@pytest.fixture
def delay(served: Served, pack: Packer, table_of: TableOf) -> Served:
    """A gateway that serves the model "delay", versions 2 and 3 loaded."""
    return served.serve(table_of(("champion", pack(3), 100), warm=[pack(2)]))


def own_shape(status: int, message: str) -> bytes:
    return msgspec.json.encode({"own": [status, message]})


async def wait_for_ever(call: Call) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


async def fail(call: Call) -> Answer:
    raise RuntimeError("a secret")


async def shed(call: Call) -> Answer:
    raise Refused(503, "too much is waiting", retry_after=2)


async def echo(call: Call) -> Answer:
    return Answer(200, call.body or b"nothing", b"text/plain", ((b"x-own", b"yes"),))


OWN = [
    Route("POST", "/wait", "infer", wait_for_ever, own_shape, "Wait."),
    Route("POST", "/fail", "infer", fail, own_shape, "Fail."),
    Route("POST", "/shed", "infer", shed, own_shape, "Shed."),
    Route("POST", "/echo", "infer", echo, own_shape, "Echo."),
    Route("PUT", "/echo", "admin", echo, own_shape, "Echo."),
    Route("DELETE", "/echo", "admin", echo, own_shape, "Echo."),
    Route("GET", "/open", "open", echo, own_shape, "Be open."),
    Route("POST", "/models/{model}/echo", "infer", echo, own_shape, "Echo."),
]


@pytest.fixture
def browse(delay: Served) -> Iterator[Callable[..., Browser]]:
    """Return a function that makes a browser of an application with routes of the test."""
    made: list[Browser] = []

    def make(**options: Any) -> Browser:
        made.append(type(delay.browser)(Application(delay.gateway, OWN, max_body=1000, **options)))
        return made[-1]

    yield make
    for browser in made:
        browser.close()


def test_a_request_id_comes_back_and_is_the_id_where_the_body_has_none(delay: Served, infer_body: Body) -> None:
    named = delay.browser.post(INFER, infer_body(0), x_request_id="abc")
    both = delay.browser.post(INFER, infer_body(0, id="own"), x_request_id="def")
    scored = delay.browser.post("/invocations", {"inputs": {"row": [0, 1]}}, content_type="application/json")
    refused = delay.browser.post(INFER, b"{", x_request_id="ghi")
    long = delay.browser.post(INFER, infer_body(0), x_request_id="x" * 300)
    assert (named.json()["id"], named.headers["x-request-id"]) == ("abc", "abc")
    assert (both.json()["id"], both.headers["x-request-id"]) == ("own", "def")
    assert refused.headers["x-request-id"] == "ghi"
    assert len(long.json()["id"]) == 32
    made = scored.headers["x-request-id"]
    ids = [row["prediction_id"] for row in delay.rows()]
    assert ids == ["abc", "own", f"{made}/0", f"{made}/1", long.json()["id"]]


def test_a_version_is_pinned_by_its_header(delay: Served, infer_body: Body) -> None:
    reply = delay.browser.post(INFER, infer_body(0), x_trimtab_version="2")
    missing = delay.browser.post(INFER, infer_body(0), x_trimtab_version="9")
    scored = delay.browser.post(
        "/invocations", {"inputs": {"row": [0]}}, content_type="application/json", x_trimtab_version="2"
    )
    assert (reply.json()["model_version"], missing.status, scored.status) == ("2", 404, 200)
    assert [row["version"] for row in delay.rows() if row["served"]] == [2, 2]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("identity", lambda body: body),
    ],
)
def test_bodies_may_be_compressed(
    delay: Served, infer_body: Body, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = compress(msgspec.json.encode(infer_body(1)))
    assert delay.browser.post(INFER, body, content_encoding=encoding).status == 200


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"x", 415),
        ("gzip", b"x", 400),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4], 400),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"more", 400),
        ("gzip", gzip.compress(bytes(10_000_000), mtime=0), 413),
        ("deflate", b"", 400),
    ],
)
def test_bodies_that_cannot_be_unpacked_are_refused(delay: Served, encoding: str, body: bytes, status: int) -> None:
    assert delay.browser.post(INFER, body, content_encoding=encoding).status == status


def test_a_request_that_takes_too_long_is_ended(browse: Callable[..., Browser]) -> None:
    browser = browse(timeout_s=0.5)
    replies = browser.together([("/wait", b""), ("/echo", b"a"), ("/wait", b"")])
    assert [reply.status for reply in replies] == [504, 200, 504]
    assert replies[0].json() == {"own": [504, "the request took longer than 0.5 s"]}
    assert browser.post("/echo", b"b").body == b"b"


def test_errors_have_the_shape_of_their_protocol_and_no_secrets(browse: Callable[..., Browser], delay: Served) -> None:
    browser = browse()
    failed, shed = browser.together([("/fail", b""), ("/shed", b"")])
    assert failed.json() == {"own": [500, "the gateway failed; its log says why"]}
    assert shed.json() == {"own": [503, "too much is waiting"]}
    assert shed.headers["retry-after"] == "2"
    assert browser.post("/echo", bytes(1001)).json()["own"][0] == 413
    assert browser.get("/echo").json()["own"][0] == 405
    assert browser.get("/echo").headers["allow"] == "DELETE, POST, PUT"
    text = delay.gateway.metrics.text()
    assert {status: f'status="{status}"' in text for status in (405, 413, 500, 503)} == dict.fromkeys(
        (405, 413, 500, 503), True
    )


def test_all_methods_are_served(browse: Callable[..., Browser]) -> None:
    browser = browse()
    replies = [browser.post("/echo", b"x"), browser.get("/echo", "PUT"), browser.get("/echo", "DELETE")]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"x"), (200, b"nothing"), (200, b"nothing")]
    assert replies[0].headers["x-own"] == "yes"


class Doorman:
    """Lets those through who know the word, and notes what he was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Permission, str | None]] = []

    def check(self, headers: Headers, permission: Permission, model: str | None) -> None:
        self.asked.append((permission, model))
        if dict(headers).get(b"authorization") != b"Bearer word":
            raise Refused(401, "who are you?")
        if permission == "admin":
            raise Refused(403, "not you")


def test_tokens_are_asked_for(browse: Callable[..., Browser]) -> None:
    doorman = Doorman()
    browser = browse(access=doorman)
    assert browser.get("/open").status == 200
    assert browser.get("/openapi.json").status == 200
    assert doorman.asked == []
    stranger = browser.post("/echo", bytes(5000))  # asked before the body is looked at
    assert (stranger.status, stranger.json()) == (401, {"own": [401, "who are you?"]})
    assert stranger.headers["www-authenticate"].startswith("Bearer")
    assert browser.post("/echo", b"x", authorization="Bearer word").status == 200
    assert browser.post("/models/price/echo", b"x", authorization="Bearer word").status == 200
    assert browser.post("/echo", b"x", authorization="Bearer word", x_trimtab_model="fraud").status == 200
    assert browser.get("/echo", "DELETE").status == 401
    assert doorman.asked == [
        ("infer", "delay"),  # the only one there is
        ("infer", "delay"),
        ("infer", "price"),
        ("infer", "fraud"),
        ("admin", None),
    ]


def test_a_client_that_leaves_is_not_answered(delay: Served) -> None:
    class Noting(Observer):
        ended: ClassVar[list[int]] = []

        def end(self, trace: Any, scope: Any, route: Route | None, status: int, received_ns: int) -> None:
            self.ended.append(status)
            super().end(trace, scope, route, status, received_ns)

    observer = Noting(delay.gateway.metrics)
    application = Application(delay.gateway, OWN, observer=observer)
    sent: list[Any] = []

    async def call(*messages: dict[str, Any]) -> None:
        waiting = list(messages)

        async def receive() -> dict[str, Any]:
            return waiting.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await application({"type": "http", "method": "POST", "path": "/echo", "headers": []}, receive, send)

    gone = {"type": "http.disconnect"}
    asyncio.run(call(gone))
    asyncio.run(call({"type": "http.request", "body": b"x", "more_body": True}, gone))
    assert (sent, observer.ended) == ([], [GONE, GONE])
    asyncio.run(call({"type": "http.request", "body": b"x"}))
    assert (len(sent), observer.ended[-1]) == (2, 200)
    assert delay.gateway.metrics.in_progress == 0


def test_two_routes_of_one_path_are_a_mistake(delay: Served) -> None:
    with pytest.raises(ValueError, match="two routes answer GET"):
        Application(
            delay.gateway,
            [*standard_routes(delay.gateway), Route("GET", "/openapi.json", "open", echo, own_shape, "Own.")],
        )
