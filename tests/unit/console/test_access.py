"""Signing in, sessions, changes from other sites, and hosts that are none of the console's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from fastapi import FastAPI

from kit.consoles import ADDRESS, browser, make_project
from trimtab.app.gateway import tokens
from trimtab.app.project.workspace import Workspace
from trimtab.console.access import Visitor
from trimtab.console.application import create_app

HTML = {"accept": "text/html"}


def with_change(app: FastAPI) -> FastAPI:
    """Give an application a route that changes something."""

    @app.post("/api/v1/change")
    def change(visit: Visitor) -> str:
        return visit.actor.name

    return app


def test_a_console_without_sign_in_takes_the_person_at_this_machine(workspace: Workspace) -> None:
    found = browser(workspace).get("/api/v1/session").json()
    assert (found["role"], found["models"]) == ("admin", [])


def test_a_page_sends_a_visitor_who_is_not_signed_in_to_the_form_and_back(guarded: Workspace) -> None:
    answer = browser(guarded).get("/find?q=risk", headers=HTML, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=/find%3Fq%3Drisk"


def test_a_program_that_brings_no_token_gets_a_problem(guarded: Workspace) -> None:
    answer = browser(guarded).get("/api/v1/session")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_opens_a_session_that_ends_with_it(guarded: Workspace, secret_of: Callable[..., str]) -> None:
    client = browser(guarded)
    answer = client.post("/sign-in", data={"token": secret_of("ann"), "next": "/find?q=risk"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/find?q=risk")
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert client.get("/api/v1/session").json()["name"] == "ann"
    tokens.revoke(guarded.metadata, guarded.clock, "ann", reason="she left", by="test")
    assert client.get("/api/v1/session").status_code == 401


def test_a_session_outlives_a_restart_and_not_a_change_of_its_cookie(
    guarded: Workspace, secret_of: Callable[..., str]
) -> None:
    first = browser(guarded)
    first.post("/sign-in", data={"token": secret_of("ann")}, follow_redirects=False)
    cookie = first.cookies["trimtab_session"]
    second = browser(guarded)
    second.cookies.set("trimtab_session", cookie)
    assert second.get("/api/v1/session").json()["name"] == "ann"
    third = browser(guarded)
    third.cookies.set("trimtab_session", cookie.replace("ann", "bob", 1))
    assert third.get("/api/v1/session").status_code == 401


def test_a_wrong_token_is_refused_with_the_command_that_makes_one(guarded: Workspace) -> None:
    answer = browser(guarded).post("/sign-in", data={"token": "tt_wrong"}, headers=HTML)
    assert answer.status_code == 403
    assert "trimtab token create" in answer.text


def test_a_sign_in_never_leads_to_another_site(guarded: Workspace, secret_of: Callable[..., str]) -> None:
    secret = secret_of("ann")
    for target in ("//evil.example", "https://evil.example", "/\\evil.example"):
        answer = browser(guarded).post("/sign-in", data={"token": secret, "next": target}, follow_redirects=False)
        assert answer.headers["location"] == "/"


def test_a_token_for_inference_alone_has_no_role(guarded: Workspace, secret_of: Callable[..., str]) -> None:
    answer = browser(guarded).get("/api/v1/session", headers={"authorization": f"Bearer {secret_of('app', 'infer')}"})
    assert answer.status_code == 403
    assert "has no role" in answer.json()["detail"]


def test_a_change_from_a_browser_needs_the_value_that_the_page_holds(workspace: Workspace) -> None:
    app = with_change(create_app(workspace))
    client = browser(workspace, app)
    assert client.post("/api/v1/change").status_code == 403
    csrf = client.get("/api/v1/session").json()["csrf"]
    assert client.post("/api/v1/change", headers={"x-csrf-token": csrf}).status_code == 200


def test_a_change_from_a_page_of_another_site_is_refused(workspace: Workspace) -> None:
    client = browser(workspace, with_change(create_app(workspace)))
    csrf = client.get("/api/v1/session").json()["csrf"]
    answer = client.post("/api/v1/change", headers={"x-csrf-token": csrf, "origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "another site" in answer.json()["detail"]
    assert client.post("/api/v1/change", headers={"x-csrf-token": csrf, "origin": ADDRESS}).status_code == 200


def test_a_host_that_is_no_name_of_the_console_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    answer = browser(workspace).get("/api/v1/session", headers={"host": "evil.example"})
    assert answer.status_code == 403
    assert "console.allowed_hosts" in answer.json()["detail"]
    public = make_project(tmp_path / "public", "project: p\nconsole: { url: 'https://ml.example.com/' }\n")
    assert browser(public).get("/api/v1/session", headers={"host": "ml.example.com"}).status_code == 200


def test_pages_may_load_nothing_from_elsewhere(workspace: Workspace) -> None:
    policy = browser(workspace).get("/sign-in").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_session_that_was_ended_opens_nothing_and_other_sessions_of_the_token_go_on(
    guarded: Workspace, secret_of: Callable[..., str]
) -> None:
    first, second, secret = browser(guarded), browser(guarded), secret_of("ann")
    for client in (first, second):
        client.post("/sign-in", data={"token": secret}, follow_redirects=False)
    cookie = first.cookies["trimtab_session"]
    first.post("/sign-out", follow_redirects=False)
    for app in (None, create_app(guarded)):
        copied = browser(guarded, app) if app else first
        copied.cookies.set("trimtab_session", cookie)
        assert copied.get("/api/v1/session").status_code == 401
    assert second.get("/api/v1/session").json()["name"] == "ann"


def test_a_body_that_is_too_long_is_refused_while_it_is_read(guarded: Workspace, secret_of: Callable[..., str]) -> None:
    client = browser(guarded)

    def parts() -> Iterator[bytes]:
        yield from (b"x" * 2**15 for _ in range(3))

    assert client.post("/sign-in", content=b"x" * (2**16 + 1)).status_code == 413
    assert client.post("/sign-in", content=parts()).status_code == 413
    bearer = {"authorization": f"Bearer {secret_of('ann', 'admin')}"}
    answer = client.post("/api/v1/freeze", content=b" " * (2**20 + 1), headers=bearer)
    assert (answer.status_code, answer.json()["status"]) == (413, 413)


def test_a_change_without_a_token_is_refused_before_its_body_is_read(guarded: Workspace) -> None:
    answer = browser(guarded).post("/api/v1/freeze", content=b"no json", headers={"content-type": "application/json"})
    assert answer.status_code == 401
