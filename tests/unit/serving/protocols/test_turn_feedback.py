"""Labels of turns over HTTP: names, values, raters, and that a tenant labels its own turns alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from trimtab.llm.redaction.project_key import ProjectKey
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.endpoints import Access, Grants
from trimtab.serving.orders import Grant
from trimtab.serving.protocols import feedback
from trimtab.serving.web.asgi import Application

if TYPE_CHECKING:
    from unit.serving.conftest import Served

Packer = Callable[..., LoadedBundle]
TableOf = Callable[..., ModelTable]
PATH = "/v2/models/triage/feedback"
KEY = ProjectKey(b"k" * 32)


@pytest.fixture
def prompts(served: Served, pack: Packer, table_of: TableOf) -> Served:
    """A gateway that takes labels of the turns of a prompt, and of a model."""
    bundle = pack(model="triage", task="regression")
    triage = replace(bundle, spec=structs.replace(bundle.spec, task="chat"))
    served.serve(table_of(("champion", triage, 100)), table_of(("champion", pack(), 100)))
    routes = feedback.routes(served.gateway, KEY)
    served.browser.close()
    served.browser = type(served.browser)(Application(served.gateway, routes, max_body=100_000))
    return served


def logged(served: Served) -> list[tuple[Any, ...]]:
    rows = served.log.read_labels()[0].to_pylist()
    return [(row["name"], row["label"], row["source"], row["rater"]) for row in rows]


def test_thumbs_edits_and_verdicts_are_logged_as_how_bad_the_turn_is(prompts: Served) -> None:
    turn = KEY.turn_id("")
    given: list[dict[str, Any]] = [
        {"name": "thumbs", "value": "down", "rater": "anna@example.org"},
        {"name": "edited", "value": 0.25},
        {"name": "judge:polite@3f", "value": "pass"},
        {"name": "human:quality", "value": 0.9, "rater": "carla"},
    ]
    reply = prompts.browser.post(PATH, {"labels": [{"id": turn, **each} for each in given]})
    assert (reply.status, reply.json()) == (200, {"accepted": 4})
    assert logged(prompts) == [
        ("thumbs", 1.0, "user", KEY.of_name("user", "\x1fanna@example.org")),
        ("edited", 0.25, "user", None),
        ("judge:polite@3f", 0.0, "judge", None),
        ("human:quality", pytest.approx(0.1), "person", "carla"),
    ]


def test_labels_of_turns_come_as_csv_and_lines_too(prompts: Served) -> None:
    turn = KEY.turn_id("")
    body = f"id,name,value,rater\n{turn},thumbs,up,\n{turn},edited,0.5,\n{turn},human:q,fail,dora\n".encode()
    assert prompts.browser.post(PATH, body, content_type="text/csv").json() == {"accepted": 3}
    assert logged(prompts) == [
        ("thumbs", 0.0, "user", None),
        ("edited", 0.5, "user", None),
        ("human:q", 1.0, "person", "dora"),
    ]
    reply = prompts.browser.post(PATH, f"id,name\n{turn},thumbs\n".encode(), content_type="text/csv")
    assert (reply.status, "'value' is missing" in reply.json()["error"]) == (400, True)


def test_each_name_and_rater_has_a_label_of_its_own(prompts: Served) -> None:
    turn = KEY.turn_id("")
    down: dict[str, Any] = {"id": turn, "name": "thumbs", "value": "down", "rater": "a"}
    replies = [
        prompts.browser.post(PATH, body).json()
        for body in (
            down,
            down,
            {**down, "rater": "b"},
            {**down, "name": "edited", "value": 1},
            {**down, "value": "up"},
        )
    ]
    assert replies == [
        {"accepted": 1},
        {"accepted": 1, "repeated": 1},
        {"accepted": 1},
        {"accepted": 1},
        {"accepted": 1, "contradicting": 1},
    ]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"label": 1}, "name is null; expected thumbs, edited, judge:NAME@VERSION or human:NAME"),
        ({"name": "stars", "value": 1}, "expected thumbs, edited"),
        ({"name": "thumbs", "value": "sideways"}, "expected up or down"),
        ({"name": "edited", "value": 7}, "a number from 0 to 1"),
        ({"name": "human:a", "value": "pass", "rater": 7}, "rater is 7"),
        ({"name": "", "value": "up"}, "expected text of 1 to"),
    ],
)
def test_what_is_wrong_with_a_label_is_said(prompts: Served, label: dict[str, Any], said: str) -> None:
    reply = prompts.browser.post(PATH, {"id": KEY.turn_id(""), **label})
    assert reply.status == 400
    assert said in reply.json()["error"]
    assert logged(prompts) == []


def test_a_model_takes_no_named_labels(prompts: Served) -> None:
    reply = prompts.browser.post("/v2/models/delay/feedback", {"id": KEY.turn_id(""), "name": "thumbs", "value": "up"})
    assert (reply.status, "only turns of prompts" in reply.json()["error"]) == (400, True)


def test_a_turn_of_another_tenant_is_not_found(prompts: Served) -> None:
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("shop", "bank")}
    grants = [Grant(digest, name, (), ("feedback",), None) for name, digest in digests.items()]
    access = Access(Grants.of(grants), prompts.gateway.clock)
    browser = type(prompts.browser)(Application(prompts.gateway, feedback.routes(prompts.gateway, KEY), access=access))
    label = {"id": KEY.turn_id("shop"), "name": "thumbs", "value": "down"}
    replies = [browser.post(PATH, label, authorization=f"Bearer {name}") for name in ("bank", "shop")]
    guessed = browser.post(PATH, {**label, "id": "chatcmpl-" + "0" * 40}, authorization="Bearer shop")
    browser.close()
    assert [reply.status for reply in (*replies, guessed)] == [404, 200, 404]
    assert "this token asked for no such turn" in replies[0].json()["error"]
    assert len(logged(prompts)) == 1
