"""Promotions in the console of the environment that a bundle is to come into."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from kit.consoles import browser
from kit.environments import Pair
from trimtab.app.gateway import tokens
from trimtab.app.operations.actors import Actor
from trimtab.errors import ApprovalNeeded
from trimtab.records.training import Bundle

REASON = {"reason": "two quiet weeks in staging"}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    rules = {"from": "staging", "approvals": 1, "console": {"authentication": "tokens"}}
    made = Pair(tmp_path / "project", environments={"staging": {}, "production": rules})
    made.serve(1)
    with pytest.raises(ApprovalNeeded):
        made.promote(actor=Actor(name="ann", role="approver"))
    return made


def signed_in(pair: Pair, name: str, role: str) -> TestClient:
    """Return a client with the token of a person."""
    store = pair.production.metadata
    _, secret = tokens.create(store, pair.production.clock, name, role=role, by="tests")  # type: ignore[arg-type]
    client = browser(pair.production)
    client.headers["authorization"] = f"Bearer {secret}"
    return client


def test_the_list_says_what_waits_and_an_answer_ends_it(pair: Pair) -> None:
    client = signed_in(pair, "bob", "approver")

    (found,) = client.get("/api/v1/promotions").json()
    assert (found["state"], found["request"]["by"], found["needed"]) == ("waits", "ann", 1)
    page = client.get("/decisions").text
    assert "Promotions that wait" in page
    assert "/api/v1/models/delay/promotions/1/answer" in page

    answer = client.post("/api/v1/models/delay/promotions/1/answer", json={"verdict": "approve", **REASON})
    assert (answer.status_code, answer.json()["state"], answer.json()["approved_by"]) == (200, "approved", ["bob"])


@pytest.mark.parametrize(("name", "role"), [("ann", "approver"), ("vic", "viewer")])
def test_who_asked_and_who_has_no_role_may_not_approve(pair: Pair, name: str, role: str) -> None:
    client = signed_in(pair, name, role)

    answer = client.post("/api/v1/models/delay/promotions/1/answer", json={"verdict": "approve", **REASON})

    assert answer.status_code == 403, answer.text
    assert client.get("/api/v1/promotions").json()[0]["answers"] == []


def test_a_bundle_is_asked_for_and_comes_after_the_answer(pair: Pair) -> None:
    pair.serve(2, (0.2, 0.9))
    dev, bob = signed_in(pair, "dev", "developer"), signed_in(pair, "bob", "approver")

    asked = dev.post("/api/v1/models/delay/promotions", json=REASON)
    assert (asked.status_code, asked.json()["state"], asked.json()["request"]["number"]) == (202, "waits", 2)
    bob.post("/api/v1/models/delay/promotions/2/answer", json={"verdict": "approve", **REASON})
    done = dev.post("/api/v1/models/delay/promotions", json={"from": "staging", "as": None, **REASON})

    assert done.status_code == 200, done.text
    assert (done.json()["by"], done.json()["origin"]["approvals"]) == ("dev", ["bob"])
    assert pair.production.metadata.find(Bundle)[0].id == "delay/2"


def test_what_is_not_there_or_not_allowed_is_told(pair: Pair) -> None:
    client = signed_in(pair, "bob", "approver")
    ask = {"verdict": "approve", **REASON}

    assert "Did you mean 'delay/promotion/1'" in client.post("/api/v1/models/delay/promotions/2/answer", json=ask).text
    assert client.post("/api/v1/models/delay/promotions", json={"share": "much", **REASON}).status_code == 422
