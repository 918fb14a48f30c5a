"""Alerts arrive at a real mail server and a real webhook; no death, no hanging server and no secret breaks that."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from integration.gateway_project import GatewayProject
from kit.alert_project import make_alert_project
from kit.commands import typed
from kit.decisions import decide
from kit.receivers import MailServer, Webhook, mail_server, webhook
from kit.waiting import wait_for
from trimtab.app.alerts import sending
from trimtab.app.alerts.alert_list import channel_states, sent_messages
from trimtab.app.alerts.channel_states import read_states
from trimtab.app.alerts.message_text import Message
from trimtab.app.alerts.sending import send, url_problem
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.project.process_files import is_running, read_progress
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.policy.alert_channels import Channel
from trimtab.records.alert_records import AlertMessage

SECRET = "correct horse/battery@staple"


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as found:
        yield found


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as found:
        yield found


class Sends:
    """A project with channels, and the process that sends its alerts."""

    def __init__(self, folder: Path, channels: str) -> None:
        self.folder = make_alert_project(folder, channels)
        self.workspace = open_workspace(self.folder)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, and wait until it looks at new records."""
        (self.workspace.run_folder / "alerts.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "trimtab.cli", "alerts", "send", "-p", str(self.folder)]
        with (self.folder / "send.log").open("ab") as output:
            environment = {**os.environ, "HOOK_TOKEN": SECRET, "TRIMTAB_LOG_LEVEL": "DEBUG"}
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        wait_for(lambda: read_states(self.workspace.run_folder), "the process sends")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def decide(self, days_ago: int = 3) -> str:
        return decide(self.workspace, start=self.workspace.now() - timedelta(days=days_ago)).id


@pytest.fixture
def running() -> Iterator[list[Sends]]:
    """Projects whose processes are ended."""
    found: list[Sends] = []
    yield found
    for each in found:
        if each.process is not None and each.process.poll() is None:
            each.kill()
        each.workspace.metadata.close()


def test_alerts_of_one_time_arrive_as_one_mail_and_one_call(
    tmp_path: Path, mails: MailServer, hook: Webhook, running: list[Sends]
) -> None:
    channels = f"mail: {{ url: '{mails.url}', group: 2s }}\nhook: {{ url: '{hook.url}', group: 2s }}"
    project = Sends(tmp_path / "project", channels)
    running.append(project)
    project.start()
    first, second = project.decide(4), project.decide(3)
    wait_for(lambda: len(sent_messages(project.workspace)) == 2, "the messages")
    (mail,), (body,) = mails.mails, hook.bodies
    assert mail["subject"] == "[severe] small: 2 alerts (2 review)"
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    for number in (1, 2):
        page = f"https://console.example.com/models/delay/decisions/{number}"
        assert f"page: {page}" in plain.get_content().replace("\n", " ")
        assert f'<a href="{page}"' in html.get_content()
    assert "trimtab approve delay/decision/2 --reason '...'" in plain.get_content()
    assert [alert["refers_to"] for alert in body["alerts"]] == [first, second]
    assert body["type"] == "failure"


def test_a_process_that_is_killed_while_it_sends_loses_nothing(
    tmp_path: Path, hook: Webhook, running: list[Sends]
) -> None:
    project = Sends(tmp_path / "project", f"hook: {{ url: '{hook.url}', group: 10ms }}")
    running.append(project)
    project.start()
    hook.open.clear()
    project.decide()
    wait_for(lambda: hook.paths, "the message is on its way")
    project.kill()
    hook.open.set()
    assert [m.state for m in project.workspace.metadata.find(AlertMessage)] == ["sending"]
    # when a second process comes, and more happens
    project.start()
    project.decide()
    wait_for(lambda: len(sent_messages(project.workspace)) == 2, "both messages are sent")
    titles = [body["title"] for body in hook.bodies]
    again = "[severe] delay: decision 1 waits for an answer: retrain?"
    assert set(titles[:-1]) == {again}
    assert len(titles) <= 3, "the one that was on its way may have arrived, and is sent again once"
    assert all("message hook-1" in body["message"] for body in hook.bodies[:-1])
    assert titles[-1] == again.replace("decision 1", "decision 2")


def test_a_secret_reaches_its_channel_and_nothing_else(
    tmp_path: Path, hook: Webhook, running: list[Sends], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Sends(tmp_path / "project", f"hook: {{ url: '{hook.url}/${{HOOK_TOKEN}}', group: 10ms }}")
    running.append(project)
    hook.status = 500
    project.start()
    project.decide()
    wait_for(lambda: channel_states(project.workspace)[0].failures, "the channel fails")
    assert hook.paths[0] == "/hook/correct%20horse%2Fbattery@staple"
    monkeypatch.setenv("HOOK_TOKEN", SECRET)
    said = [typed("alerts", action, "-p", project.folder, check=False) for action in ("test", "list", "pending")]
    assert "500" in said[0].stdout
    texts = [each.stdout + each.stderr for each in said] + [typed("doctor", "-p", project.folder, check=False).stdout]
    project.kill()
    texts += [path.read_bytes().decode("latin-1") for path in project.folder.rglob("*") if path.is_file()]
    for word in ("correct horse", "correct%20horse", "battery"):
        assert not [text for text in texts if word in text]


SHORT = Message(title="a title", text="a text", html="<p>a text</p>", markdown="a text", severity="minor")


def test_a_channel_that_is_away_or_hangs_is_named_without_its_url(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = send("ops", Channel(url="json://127.0.0.1:1/quite-secret-path?-token=abcdef"), SHORT, ())
    assert reason == "A Connection error occurred sending JSON notification to 127.0.0.1: Connection refused"
    monkeypatch.setattr(sending, "SEND_SECONDS", 3.0)
    hook.open.clear()
    assert send("ops", Channel(url=f"{hook.url}?rto=60"), SHORT, ()) == "no answer within 3 s"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops", None),
        ("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", None),
        ("workflows://prod-00.westus.logic.azure.com:443/643e69f83c8944/signature", None),
        ("pagerduty://1234567890abcdef@A1234567890abcd", None),
        ("mailtos://robot:hunter22@example.com?to=owner@example.com", None),
        ("${OPS_URL}", None),
        ("slakc://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "Apprise does not understand it as a URL of 'slakc'"),
        ("slack://T1JJ3T3L2", "Apprise does not understand it as a URL of 'slack'"),
        ("${OPS_NONE}", "the environment variable OPS_NONE is not set"),
    ],
)
def test_the_urls_of_services_are_checked_before_anything_is_sent(
    url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_URL", "pagerduty://1234567890abcdef@A1234567890abcd")
    found = url_problem("ops", Channel(url=url))
    assert (found is None) == (expected is None)
    if expected is not None:
        assert expected in str(found)
        assert "T1JJ3T3L2" not in str(found)


@pytest.fixture
def project(tmp_path: Path, hook: Webhook) -> GatewayProject:
    made = GatewayProject(tmp_path / "gateway")
    made.deploy(1)
    policy = made.folder / "trimtab.yaml"
    policy.write_text(
        policy.read_text() + f"\nalerts: {{ channels: {{ hook: {{ url: '{hook.url}', group: 10ms }} }} }}\n"
    )
    return made


def started(project: GatewayProject) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "trimtab.cli", "up", "-p", str(project.folder), "--port", "0", "--no-console"]
    with (project.folder / "up.log").open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    wait_for(lambda: read_progress(project.workspace.run_folder), "the loop runs")
    return process


def sender(workspace: Workspace) -> int:
    """Return the process that sends, once there is one."""
    return int(wait_for(lambda: (s := read_states(workspace.run_folder)) and is_running(s.pid) and s.pid, "a sender"))


def test_the_death_of_the_loop_is_told_by_another_process(project: GatewayProject, hook: Webhook) -> None:
    run_folder = project.workspace.run_folder
    processes = [started(project)]
    try:
        first = sender(project.workspace)
        processes[0].kill()
        processes[0].wait()
        wait_for(lambda: hook.bodies, "the death is told")
        assert "stands still" in hook.bodies[0]["title"]
        assert "has ended without closing" in hook.bodies[0]["message"]
        # when the loop is started again, the process that outlived it tells so and makes room
        processes.append(started(project))
        wait_for(lambda: len(hook.bodies) == 2, "the loop turns again")
        assert hook.bodies[1]["title"] == "[minor] The loop turns again"
        wait_for(lambda: not is_running(first), "the first sender ends")
        assert wait_for(lambda: (s := read_states(run_folder)) and s.pid != first and is_running(s.pid), "the next one")
        second = sender(project.workspace)
        processes[1].terminate()
        processes[1].wait()
        assert not is_running(second)
    finally:
        for process in processes:
            process.kill()
        for pid in (s.pid for s in [read_states(run_folder)] if s and is_running(s.pid)):
            os.kill(pid, 9)
        if gateway := running_gateway(run_folder):
            os.kill(gateway.pid, 9)
