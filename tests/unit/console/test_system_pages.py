"""The page of the system, its logs and tokens, and who may see or change them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kit.consoles import POLICY, browser, make_project
from trimtab.app.gateway import tokens
from trimtab.app.project.workspace import Workspace
from trimtab.records.control import TriggerEvent, TriggerOutcome
from trimtab.testing.judged import FIRST


def test_the_page_and_the_api_say_the_same(workspace: Workspace) -> None:
    (workspace.run_folder / "gateway.log").write_text("started with tt_0123456789abcdef\n")
    client = browser(workspace)
    page = client.get("/system").text
    assert client.get("/api/v1/system").json()["sentence"] in page
    assert "/system/findings" in page
    assert "started with tt_***" in client.get("/system/logs/gateway.log").text
    assert client.get("/api/v1/system/logs/gateway.log").json() == ["started with tt_***"]
    assert client.get("/system/gaps.csv").text == "id,worker,rows,start,end,reason\n"


def test_logs_need_a_developer_and_tokens_an_admin(guarded: Workspace, secret_of: Callable[..., str]) -> None:
    (guarded.run_folder / "gateway.log").write_text("started\n")
    client = browser(guarded)
    headers = {"authorization": f"Bearer {secret_of('reader', 'read')}"}
    assert "needs the role developer" in client.get("/system", headers=headers).text
    for path, role in (("system/logs/gateway.log", "developer"), ("tokens", "admin")):
        answer = client.get(f"/api/v1/{path}", headers=headers)
        assert (answer.status_code, f"needs the role {role}" in answer.text) == (403, True)
    for path, body in (
        ("tokens", {"name": "x", "reason": "a long reason"}),
        ("tokens/reader/revocation", {"reason": "a long reason"}),
        ("alerts/test", {}),
    ):
        assert client.post(f"/api/v1/{path}", json=body, headers=headers).status_code == 403, path


def test_logs_are_of_all_models_and_need_the_role_on_all(guarded: Workspace) -> None:
    (guarded.run_folder / "gateway.log").write_text("started\n")
    client = browser(guarded)
    made = (guarded.metadata, guarded.clock)
    for name, models, expected in (("one", ("delay",), 403), ("all", (), 200)):
        _, secret = tokens.create(*made, name, verbs=("read",), role="developer", models=models, by="test")
        answer = client.get("/api/v1/system/logs/gateway.log", headers={"authorization": f"Bearer {secret}"})
        assert answer.status_code == expected


def test_an_admin_makes_and_revokes_a_token(guarded: Workspace, secret_of: Callable[..., str]) -> None:
    client = browser(guarded)
    headers = {"authorization": f"Bearer {secret_of('boss', 'admin')}"}
    new = {"name": "ann", "role": "approver", "expires_days": 2, "reason": "on duty this week"}
    made = client.post("/api/v1/tokens", json=new, headers=headers)
    assert made.status_code == 200
    assert made.json()["secret"].startswith("tt_")
    assert "sha256" not in made.json()
    assert "ann" in client.get("/system", headers=headers).text
    body = {"reason": "she has left us"}
    assert client.post("/api/v1/tokens/ann/revocation", json=body, headers=headers).status_code == 200
    (ann,) = [each for each in tokens.statuses(guarded.metadata, guarded.clock) if each.token.name == "ann"]
    assert (ann.state, ann.token.role) == ("revoked", "approver")


def test_triggers_are_listed_with_what_became_of_their_last_event(tmp_path: Path) -> None:
    made = make_project(tmp_path, policy=f"{POLICY}triggers: {{ nightly: {{ on: schedule, cron: '15 3 * * *' }} }}\n")
    page = browser(made).get("/system").text
    assert "15 3 * * *" in page
    assert "none yet" in page
    event = TriggerEvent(
        id="nightly/1", created_at=FIRST, name="nightly", key="1", cause="schedule", reason="it is time", by="schedule"
    )
    outcome = TriggerOutcome(
        id="nightly/1/outcome", created_at=FIRST, name="nightly", event=event.id, state="skipped",
        outcome="it cools down", fired_at=FIRST,
    )  # fmt: skip
    made.metadata.put(event)
    made.metadata.put(outcome)
    page = browser(made).get("/system").text
    assert "it cools down" in page
    assert "none yet" not in page
    made.metadata.close()
