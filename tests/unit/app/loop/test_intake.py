"""Requests to retrain reach the records once, and the controller answers each by one decision."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.gateway_project import GatewayProject
from trimtab.app.gateway.configuration import gateway_config
from trimtab.app.loop.intake import request_intake
from trimtab.app.loop.watch import Watch
from trimtab.clock import parse_time, to_micros
from trimtab.control.controller import Controller
from trimtab.records.control import Decision, RetrainRequest
from trimtab.serving.inbox import RETRAININGS, AskedRetraining, Inbox, inbox
from trimtab.testing.judged import MODEL, RecordingActions

AT = to_micros(parse_time("2026-03-02T12:00:00Z"))


def asked(key: str = "a", reason: str = "new prices", at: int = AT) -> AskedRetraining:
    return AskedRetraining(model=MODEL, id=key, reason=reason, by="ann", received_at=at)


@pytest.fixture
def project(tmp_path: Path) -> GatewayProject:
    return GatewayProject(tmp_path / "project")


def test_a_request_becomes_a_record_once_and_one_decision(project: GatewayProject) -> None:
    workspace, actions = project.workspace, RecordingActions()
    files = Inbox(inbox(workspace.run_folder, RETRAININGS), "worker-0", (MODEL,))
    files.keep([asked()])
    (file,) = inbox(workspace.run_folder, RETRAININGS).iterdir()
    content = file.read_bytes()
    Watch(workspace).step()
    assert len(workspace.metadata.find(RetrainRequest, model=MODEL)) == 1
    file.write_bytes(content)  # as if the process had died before it removed the file
    files.keep([asked(reason="another", at=AT + 1)])  # the client tries again
    assert request_intake(workspace).step() == 1
    (found,) = workspace.metadata.find(RetrainRequest, model=MODEL)
    assert (found.key, found.reason, found.by, found.source) == ("a", "new prices", "ann", "api")
    policy = workspace.project.policy
    for _ in range(2):  # each time a new process, which starts again what another one may not have started
        Controller(workspace.metadata, policy, MODEL, actions, workspace.clock).step()
    (decision,) = workspace.metadata.find(Decision, model=MODEL)
    assert (decision.action, decision.trigger) == ("retrain", "request")
    assert set(actions.asked) == {("retrain", decision.id)}


def test_a_damaged_file_is_set_aside(project: GatewayProject) -> None:
    folder = inbox(project.workspace.run_folder, RETRAININGS)
    folder.mkdir(parents=True)
    (folder / "1.json").write_bytes(b'[{"model": "de')
    assert request_intake(project.workspace).step() == 0
    assert [path.name for path in folder.iterdir()] == ["1.unreadable"]


def test_the_gateway_of_a_project_takes_requests_for_its_models(project: GatewayProject) -> None:
    assert gateway_config(project.workspace).options.models == (MODEL,)
