"""Triggers over HTTP: what is taken from clients, CI, GitHub and GitLab, who may, and what is no event."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.loaded_bundle import LoadedBundle
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.endpoints import Access, Grants
from trimtab.serving.inbox import TRIGGERS, AskedTrigger, Inbox, inbox
from trimtab.serving.orders import Grant
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.web.asgi import Application
from trimtab.serving.worker_options import FiredTrigger

if TYPE_CHECKING:
    from unit.serving.conftest import Served

PRICES, MERGED, SIGNED = "/v1/triggers/prices", "/v1/triggers/merged", "/v1/triggers/signed"
COMMIT = "3f1a9c07d2b84e6f90a1b2c3d4e5f60718293a4b"
SECRET, KEY = "tt_" + "1" * 64, "of the webhook"
RULES = (
    FiredTrigger(name="prices", option=" --env production"),
    FiredTrigger(name="merged", branch="main"),
    FiredTrigger(name="releases", branch="release/*"),
    FiredTrigger(name="signed", branch="main", secret="HOOK"),
)
PUSH = {"ref": "refs/heads/main", "after": COMMIT, "pusher": {"name": "ann"}, "commits": []}
GITHUB_MERGE = {
    "action": "closed",
    "pull_request": {
        "merged": True,
        "merge_commit_sha": COMMIT,
        "base": {"ref": "main"},
        "merged_by": {"login": "ann"},
    },
}
GITLAB_PUSH = {"object_kind": "push", "ref": "refs/heads/main", "after": COMMIT, "user_username": "ann"}
GITLAB_MERGE = {
    "object_kind": "merge_request",
    "user": {"username": "ann"},
    "object_attributes": {"action": "merge", "target_branch": "main", "merge_commit_sha": COMMIT},
}


@pytest.fixture
def gate(
    served: Served, pack: Callable[..., LoadedBundle], table_of: Callable[..., ModelTable], tmp_path: Path
) -> Served:
    """A gateway that asks for no token, with triggers and no loop."""
    found = served.serve(table_of(("champion", pack(), 100)))
    found.gateway.options = msgspec.structs.replace(found.gateway.options, triggers=RULES)
    found.gateway.triggers = Inbox(inbox(tmp_path, TRIGGERS), "worker-0", [rule.name for rule in RULES])
    found.browser._application = Application(found.gateway, standard_routes(found.gateway))
    return found


@pytest.fixture
def locked(gate: Served) -> Served:
    """The same, with tokens; SECRET may fire triggers."""
    guard(gate, ("trigger",))
    return gate


def guard(gate: Served, verbs: tuple[str, ...], models: tuple[str, ...] = ()) -> None:
    grant = Grant(hashlib.sha256(SECRET.encode()).hexdigest(), "ci", models, verbs, None)
    access = Access(Grants.of([grant]), gate.clock)
    gateway: Gateway = gate.gateway
    gate.browser._application = Application(gateway, standard_routes(gateway), access=access)


def waiting(folder: Path) -> list[AskedTrigger]:
    files = sorted(inbox(folder, TRIGGERS).glob("*.json"))
    return [asked for file in files for asked in msgspec.json.decode(file.read_bytes(), type=list[AskedTrigger])]


def signature(body: bytes, key: str = KEY) -> str:
    return "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def test_an_event_is_on_disk_when_the_answer_says_where_to_see_it(gate: Served, tmp_path: Path) -> None:
    reply = gate.browser.post(PRICES, {"id": "prices-11", "reason": " new prices "})
    assert reply.status == 202
    found = reply.json()
    assert (found["trigger"], found["accepted"], found["id"]) == ("prices", True, "prices-11")
    assert found["see"] == "trimtab trigger show prices --id prices-11 --env production"
    assert found["detail"].startswith("kept: the loop of `trimtab up` does not run, or has not begun yet")
    gate.gateway.is_steered = lambda: True
    assert gate.browser.post(PRICES, b"").json()["detail"] == "the loop acts on it"
    first, second = waiting(tmp_path)
    assert (first.name, first.id, first.reason, first.by) == ("prices", "prices-11", "new prices", "gateway")
    assert second.id not in ("", "prices-11")


def test_the_id_comes_from_the_header_or_of_a_merge_from_its_commit(gate: Served, tmp_path: Path) -> None:
    merge = {"commit": COMMIT, "ref": "refs/heads/main"}
    gate.browser.post(PRICES, {"id": "body"}, idempotency_key="header")
    gate.browser.post(PRICES, b"", x_request_id="request")
    gate.browser.post(MERGED, merge)
    gate.browser.post(MERGED, merge, idempotency_key="again")
    assert [asked.id for asked in waiting(tmp_path)] == ["header", "request", COMMIT, "again"]
    assert waiting(tmp_path)[2].reason == "3f1a9c07d2b8 on main"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (PUSH, {"x_github_event": "push"}),
        (GITHUB_MERGE, {"x_github_event": "pull_request"}),
        (GITLAB_PUSH, {"x_gitlab_event": "Push Hook", "idempotency_key": "of-this-delivery"}),
        (GITLAB_MERGE, {"x_gitlab_event": "Merge Request Hook"}),
    ],
)
def test_webhooks_of_a_merge_are_one_event_by_their_commit(
    gate: Served, tmp_path: Path, body: Any, headers: dict[str, str]
) -> None:
    assert gate.browser.post(MERGED, body, **headers).status == 202
    (asked,) = waiting(tmp_path)
    assert (asked.id, asked.commit, asked.reference, asked.by) == (COMMIT, COMMIT, "main", "ann")
    assert asked.reason == "3f1a9c07d2b8 on main by ann"


@pytest.mark.parametrize(
    ("path", "body", "event", "said"),
    [
        (MERGED, PUSH | {"ref": "refs/heads/docs"}, "push", "branch 'docs' is not 'main'"),
        (MERGED, PUSH | {"ref": "refs/tags/v1"}, "push", "refs/tags/v1 is no branch"),
        (MERGED, PUSH | {"after": "0" * 40}, "push", "branch 'main' was deleted"),
        (MERGED, {"zen": "Keep it simple"}, "ping", "GitHub's event 'ping' is no push and no merge"),
        (MERGED, GITHUB_MERGE | {"action": "opened"}, "pull_request", "the pull request was not merged"),
        ("/v1/triggers/releases", PUSH, "push", "branch 'main' is not 'release/*'"),
    ],
)
def test_what_is_no_event_of_the_trigger_is_answered_and_not_kept(
    gate: Served, tmp_path: Path, path: str, body: Any, event: str, said: str
) -> None:
    reply = gate.browser.post(path, body, x_github_event=event)
    assert (reply.status, reply.json()["accepted"], reply.json()["detail"]) == (200, False, said)
    assert not waiting(tmp_path)


def test_a_pattern_of_branches_takes_those_that_fit(gate: Served, tmp_path: Path) -> None:
    body = {"commit": COMMIT, "ref": "release/1.2"}
    assert gate.browser.post("/v1/triggers/releases", body).status == 202
    assert waiting(tmp_path)[0].reference == "release/1.2"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (PRICES, {"reson": "a"}, "unknown field 'reson'. Did you mean 'reason'?"),
        (PRICES, {"reason": 7}, "reason is 7; expected text"),
        (PRICES, {"reason": "a\nb"}, "no control characters, such as U+000A"),
        (PRICES, {"id": "a/b"}, "id is 'a/b'; expected up to 64 letters"),
        (PRICES, {"commit": "main"}, "commit is 'main'; expected 7 to 64 hexadecimal digits"),
        (PRICES, [1], "malformed event of a trigger"),
        (PRICES, b"nonsense", "malformed"),
        (MERGED, {"commit": COMMIT}, "ref is missing; a merge needs both"),
        (MERGED, {"ref": "main"}, "commit is missing; a merge needs both"),
        (MERGED, GITLAB_PUSH | {"after": None}, "the webhook names no commit and branch: commit null"),
        (MERGED, GITLAB_PUSH | {"ref": "a\nb"}, "the webhook names no commit and branch"),
    ],
)
def test_a_wrong_event_is_refused_and_says_why(gate: Served, tmp_path: Path, path: str, body: Any, said: str) -> None:
    reply = gate.browser.post(path, body)
    assert reply.status == 400
    assert said in reply.json()["error"].replace('"', "'")
    assert not waiting(tmp_path)


def test_an_unknown_trigger_and_a_project_without_any_are_told(gate: Served) -> None:
    reply = gate.browser.post("/v1/triggers/price", b"")
    assert (reply.status, "Did you mean 'prices'?" in reply.json()["error"]) == (404, True)
    gate.gateway.triggers = None
    assert gate.browser.post(PRICES, b"").status == 404


def test_an_event_that_cannot_be_written_is_not_acknowledged(gate: Served, tmp_path: Path) -> None:
    inbox(tmp_path, TRIGGERS).write_text("a file where the folder should be")
    assert gate.browser.post(PRICES, b"").status == 503


def test_a_token_needs_the_verb_and_all_models(gate: Served, tmp_path: Path) -> None:
    header = f"Bearer {SECRET}"
    for verbs, models, status in (
        (("trigger",), (), 202),
        (("admin", "infer", "feedback", "read"), (), 403),
        (("trigger",), ("delay",), 403),
    ):
        guard(gate, verbs, models)
        assert gate.browser.post(PRICES, b"", authorization=header).status == status
        assert gate.browser.post(PRICES, b"").status == 401
    assert [asked.by for asked in waiting(tmp_path)] == ["ci"]


def test_a_signature_takes_the_place_of_a_token(
    locked: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = msgspec.json.encode(PUSH)
    monkeypatch.delenv("HOOK", raising=False)

    def send(path: str = SIGNED, content: bytes = body, **headers: str) -> int:
        return locked.browser.post(path, content, x_github_event="push", **headers).status

    assert send(x_hub_signature_256=signature(body)) == 503  # the variable is not set
    monkeypatch.setenv("HOOK", KEY)
    assert send(x_hub_signature_256=signature(body)) == 202
    assert send(x_gitlab_token=KEY) == 202
    assert send(authorization=f"Bearer {SECRET}") == 202
    refused = [
        send(),
        send(content=body + b" ", x_hub_signature_256=signature(body)),
        send(x_hub_signature_256=signature(body, "another")),
        send(x_hub_signature_256=""),
        send(x_gitlab_token="another"),
        send(x_gitlab_token=""),
        send(path=PRICES, x_hub_signature_256=signature(body, "")),  # without a secret nothing is signed
        send(path="/v1/triggers/unknown", x_hub_signature_256=signature(body)),
        send(authorization="Bearer another", x_hub_signature_256=signature(body)),
    ]
    assert refused == [401] * 9
    monkeypatch.setenv("HOOK", "")
    assert send(x_hub_signature_256=signature(body, "")) == 401
    assert len(waiting(tmp_path)) == 3


def test_a_trigger_with_a_secret_asks_for_it_where_the_gateway_asks_for_no_token(
    gate: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", KEY)
    body = msgspec.json.encode(PUSH)
    assert gate.browser.post(SIGNED, body, x_github_event="push").status == 401
    signed = gate.browser.post(SIGNED, body, x_github_event="push", x_hub_signature_256=signature(body))
    assert signed.status == 202
