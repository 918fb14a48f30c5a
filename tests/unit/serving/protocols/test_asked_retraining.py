"""Requests to retrain over HTTP: what is taken, what is refused, and that an answered request is on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.endpoints import Access, Grants
from trimtab.serving.inbox import RETRAININGS, AskedRetraining, Inbox, inbox
from trimtab.serving.orders import Grant
from trimtab.serving.protocols.asked_retraining import LONGEST_REASON
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.web.asgi import Application

if TYPE_CHECKING:
    from unit.serving.conftest import Served

PATH = "/v2/models/delay/retrain"
NOON = 1_772_366_400_000_000


@pytest.fixture
def open_gateway(
    served: Served, pack: Callable[..., LoadedBundle], table_of: Callable[..., ModelTable], tmp_path: Path
) -> Served:
    """A gateway with the model "delay" whose loop reads requests to retrain."""
    gateway = served.serve(table_of(("champion", pack(), 100)))
    gateway.gateway.retrainings = Inbox(inbox(tmp_path, RETRAININGS), "worker-0", ("delay",))
    return gateway


def waiting(folder: Path) -> list[AskedRetraining]:
    files = sorted(inbox(folder, RETRAININGS).glob("*.json"))
    return [asked for file in files for asked in msgspec.json.decode(file.read_bytes(), type=list[AskedRetraining])]


def test_a_request_is_on_disk_when_the_answer_comes(open_gateway: Served, tmp_path: Path) -> None:
    body = {"id": "prices-11", "reason": " new prices "}
    assert open_gateway.browser.post(PATH, body).json() == {"model": "delay", "id": "prices-11"}
    (asked,) = waiting(tmp_path)
    assert asked == AskedRetraining(model="delay", id="prices-11", reason="new prices", by="gateway", received_at=NOON)


def test_without_an_id_the_header_counts_else_a_new_one(open_gateway: Served, tmp_path: Path) -> None:
    body = {"reason": "new prices"}
    assert open_gateway.browser.post(PATH, body, x_request_id="from-header").json()["id"] == "from-header"
    for unfit in ("a b", ""):
        found = open_gateway.browser.post(PATH, body, x_request_id=unfit).json()["id"]
        assert found not in ("from-header", unfit)
    ids = [asked.id for asked in waiting(tmp_path)]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "reason is null; expected text of at most 500 characters"),
        ({"reason": "  "}, "reason is '  '"),
        ({"reason": 7}, "reason is 7"),
        ({"reason": "a" * (LONGEST_REASON + 1)}, "expected text of at most"),
        ({"reason": "a\nb"}, "no control characters, such as U+000A"),
        ({"reason": "a", "id": "a/b"}, "id is 'a/b'; expected up to 100 letters"),
        ({"reason": "a", "id": 7}, "id is 7"),
        ({"reason": "a", "id": ""}, "id is ''"),
        ({"reson": "a"}, "unknown field 'reson'. Did you mean 'reason'?"),
        ([{"reason": "a"}], "malformed request to retrain"),
        (b"nonsense", "malformed"),
    ],
)
def test_a_wrong_request_is_refused_and_says_why(open_gateway: Served, tmp_path: Path, body: Any, said: str) -> None:
    reply = open_gateway.browser.post(PATH, body)
    assert reply.status == 400
    assert said in reply.json()["error"].replace('"', "'")
    assert not inbox(tmp_path, RETRAININGS).exists()


def test_an_unknown_model_and_a_gateway_without_a_loop_are_told(open_gateway: Served) -> None:
    reply = open_gateway.browser.post("/v2/models/dely/retrain", {"reason": "a"})
    assert (reply.status, "Did you mean 'delay'?" in reply.json()["error"]) == (404, True)
    open_gateway.gateway.retrainings = None
    reply = open_gateway.browser.post(PATH, {"reason": "a"})
    assert (reply.status, "no loop reads" in reply.json()["error"]) == (404, True)


def test_a_request_that_cannot_be_written_is_not_acknowledged(open_gateway: Served, tmp_path: Path) -> None:
    inbox(tmp_path, RETRAININGS).write_text("a file where the folder should be")
    assert open_gateway.browser.post(PATH, {"reason": "a"}).status == 503


@pytest.mark.parametrize(("verbs", "status"), [(("admin",), 200), (("infer", "feedback", "read"), 403)])
def test_the_token_that_asked_is_named_and_needs_the_right(
    open_gateway: Served, tmp_path: Path, verbs: tuple[Any, ...], status: int
) -> None:
    secret = "tt_" + "1" * 64
    grant = Grant(hashlib.sha256(secret.encode()).hexdigest(), "pricing-team", ("delay",), verbs, None)
    access = Access(Grants.of([grant]), open_gateway.clock)
    routes = standard_routes(open_gateway.gateway)
    open_gateway.browser._application = Application(open_gateway.gateway, routes, access=access)
    reply = open_gateway.browser.post(PATH, {"reason": "new prices"}, authorization=f"Bearer {secret}")
    assert reply.status == status
    assert [asked.by for asked in waiting(tmp_path)] == (["pricing-team"] if status == 200 else [])
    assert open_gateway.browser.post(PATH, {"reason": "new prices"}).status == 401
