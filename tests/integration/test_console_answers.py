"""An answer that is given through the control API, beside a loop that runs: it moves the workflow that waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.gateway_project import GatewayProject
from kit.consoles import browser
from kit.decisions import decide
from kit.waiting import wait_for
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.operations.actors import Actor
from trimtab.app.operations.token_orders import create_token
from trimtab.records.control import Resolution, WorkflowStep
from trimtab.stores.metadata.contract import latest

ROOT = Actor(name="root", role="admin")
ANSWER = "/api/v1/models/delay/decisions/1/resolution"
REASON = "the new terminal is open"
Ask = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path) -> GatewayProject:
    """A champion, and decision 1: a review that proposes a retraining."""
    made = GatewayProject(tmp_path / "project", console={"authentication": "tokens"})
    made.deploy(1)
    decide(made.workspace)
    return made


@pytest.fixture
def ask(project: GatewayProject) -> Ask:
    """Return a function that posts an answer as a person with a role."""
    client = browser(project.workspace)
    secrets = {
        role: create_token(project.workspace, ROOT, role, role=role)[1] for role in ("viewer", "developer", "approver")
    }

    def post(role: str, verdict: str, *, key: str, reason: str = REASON, path: str = ANSWER) -> Any:
        headers = {"authorization": f"Bearer {secrets[role]}", "idempotency-key": key}
        return client.post(path, json={"verdict": verdict, "reason": reason}, headers=headers)

    return post


@pytest.fixture
def loop(project: GatewayProject) -> Iterator[None]:
    """A loop that runs; it and its gateway are ended."""
    command = [sys.executable, "-m", "trimtab.cli", "up", "--no-console", "-p", str(project.folder), "--port", "0"]
    with (project.folder / "up.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    yield
    process.kill()
    process.wait()
    if gateway := running_gateway(project.workspace.run_folder):
        os.kill(gateway.pid, 9)


@pytest.mark.usefixtures("loop")
def test_an_approval_moves_the_workflow_that_waits_for_it(project: GatewayProject, ask: Ask) -> None:
    assert ask("approver", "approve", key="k1").status_code == 200

    def moved() -> WorkflowStep | None:
        return latest(project.workspace.metadata, WorkflowStep, step="approval")

    step = wait_for(moved, "the workflow takes the answer")
    assert step is not None
    assert (step.decision, step.outcome) == ("delay/decision/1", "the answer to the review: approve")


def test_who_may_answer_and_that_one_answer_is_one(project: GatewayProject, ask: Ask) -> None:
    metadata = project.workspace.metadata
    for role in ("viewer", "developer"):
        refused = ask(role, "approve", key="k0")
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        assert refused.json()["detail"] == "needs the role approver on delay"
    short = ask("approver", "approve", key="k0", reason="why not")
    assert (short.status_code, "at least 10 characters" in short.text) == (422, True)
    assert metadata.count(Resolution) == 0

    first, again = ask("approver", "reject", key="k1"), ask("approver", "reject", key="k1")
    assert (first.status_code, again.status_code, first.json()) == (200, 200, again.json())
    assert (first.json()["by"], first.json()["reason"]) == ("approver", REASON)
    second = ask("approver", "approve", key="k2")
    assert second.status_code == 409
    assert "answered by approver at" in second.json()["detail"]
    assert metadata.count(Resolution) == 1


def test_a_change_of_a_revision_that_is_not_the_newest_is_refused(project: GatewayProject) -> None:
    client = browser(project.workspace)
    _, secret = create_token(project.workspace, ROOT, "ann", role="approver")
    project.deploy(2)
    project.rollouts.abandon(cause="c", reason="it is worse", by="ben")
    headers = {"authorization": f"Bearer {secret}", "if-match": '"2"'}
    refused = client.post("/api/v1/models/delay/promote", json={"reason": REASON}, headers=headers)
    assert refused.status_code == 412
    assert "revision 3 came meanwhile (abandon by ben: it is worse)" in refused.json()["detail"]
    odd = client.post("/api/v1/models/delay/promote", json={"reason": REASON}, headers={**headers, "if-match": '"x"'})
    assert odd.status_code == 422


def test_a_viewer_sees_the_button_disabled_with_the_role_that_it_takes(project: GatewayProject) -> None:
    client = browser(project.workspace)
    _, secret = create_token(project.workspace, ROOT, "vic", role="viewer")
    for path in ("/decisions", "/models/delay/decisions/1"):
        text = client.get(path, headers={"authorization": f"Bearer {secret}"}).text
        assert 'aria-disabled="true" title="needs the role approver on delay"' in text
        assert "data-posts" not in text
