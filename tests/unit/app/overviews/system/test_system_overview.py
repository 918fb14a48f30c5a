"""What runs, what is wrong, logs without secrets, and tokens without their hashes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from kit.consoles import make_project
from trimtab.app.gateway import tokens
from trimtab.app.overviews.system.system_overview import (
    alert_summary,
    doctor_findings,
    log_tail,
    system_overview,
    token_list,
    without_secrets,
)
from trimtab.app.project.locks import LOOP, locked
from trimtab.app.project.process_files import own_pid
from trimtab.app.project.workspace import Workspace
from trimtab.errors import NotFound
from trimtab.records.serving import LogGap
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement
from trimtab.testing.judged import FIRST


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = make_project(tmp_path)
    yield opened
    opened.metadata.close()


def announce(workspace: Workspace, **more: object) -> None:
    found = Announcement(host="127.0.0.1", port=1, pid=own_pid(), workers=(own_pid(),), **more)  # type: ignore[arg-type]  # fields
    (workspace.run_folder / ANNOUNCEMENT).write_bytes(msgspec.json.encode(found))


def log_gap(number: int) -> LogGap:
    end = FIRST + timedelta(minutes=1)
    return LogGap(id=f"gap{number}", created_at=FIRST, worker="0", rows=7, start=FIRST, end=end, reason="disk full")


def test_what_does_not_run_is_named_with_its_command(workspace: Workspace) -> None:
    found = system_overview(workspace)
    assert found.sentence == "Console runs; gateway and loop do not: trimtab up."
    assert {process.name: process.state for process in found.processes} == {
        "gateway": "stopped", "loop": "stopped", "console": "running",
    }  # fmt: skip
    assert [(finding.subject, finding.remedy) for finding in found.findings] == [
        ("gateway", "trimtab up"), ("loop", "trimtab up"),
    ]  # fmt: skip


def test_doctor_does_not_call_fine_what_the_page_warns_about(workspace: Workspace) -> None:
    warned = {each.subject for each in system_overview(workspace).findings}
    found = doctor_findings(workspace, "local")
    assert warned >= {"gateway", "loop"}
    assert warned <= {each.subject for each in found if each.verdict != "ok"}
    assert not warned & {each.subject for each in found if each.verdict == "ok"}


def test_what_runs_has_its_memory_and_nothing_is_wrong(workspace: Workspace) -> None:
    announce(workspace, serving={"risk": 4})
    with locked(workspace, LOOP, "steers", why=""):
        found = system_overview(workspace)
    assert found.sentence == "Gateway, loop and console run; nothing is wrong."
    assert all(process.memory and process.since for process in found.processes)
    assert [(model.model, model.revision) for model in found.models] == [("risk", 4)]
    assert found.url == "http://127.0.0.1:1"


def test_trouble_of_a_model_and_lost_answers_come_first(workspace: Workspace) -> None:
    announce(workspace, troubles={"risk": "too little memory"})
    workspace.metadata.put(log_gap(1), log_gap(2), log_gap(3))
    with locked(workspace, LOOP, "steers", why=""):
        found = system_overview(workspace, limit=2)
    assert [finding.verdict for finding in found.findings] == ["fail", "warn"]
    assert "too little memory" in found.sentence
    assert ([gap.id for gap in found.gaps], found.next_gap, found.lost_rows) == (["gap3", "gap2"], "gap2", 14)
    assert [gap.id for gap in system_overview(workspace, before="gap2").gaps] == ["gap1"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("using token tt_0123456789abcdef0123", "using token tt_***"),
        ("postgresql://ann:pass@word@db/x", "postgresql://***@db/x"),
        ("GET / authorization: Bearer abcdef.123456", "GET / authorization: Bearer ***"),
        ('{"password": "hunter22", "user": "ann"}', '{"password": "***", "user": "ann"}'),
        ("api_key=abc123&x=1", "api_key=***&x=1"),
        ("DB_PASSWORD=hunter22 next", "DB_PASSWORD=*** next"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+1 x", "AWS_SECRET_ACCESS_KEY=*** x"),
        ("GET /x?access_token=abc123&y=1", "GET /x?access_token=***&y=1"),
        ('{"client_secret": "a b, c", "user": "ann"}', '{"client_secret": "***", "user": "ann"}'),
        (r'{"text": "{\"client_secret\": \"a b\"}"}', r'{"text": "{\"client_secret\": \"***\"}"}'),
        ('"Authorization: Token abcdef", retried', '"Authorization: ***", retried'),
        ("{'Authorization': 'Token abc def'}", "{'Authorization': '***'}"),
        ("(b'authorization', b'Token abc')", "(b'authorization', b'***')"),
        ("POST https://hooks.slack.com/services/T0/B0/xyz 404", "POST https://hooks.slack.com/*** 404"),
        ("https://discord.com/api/webhooks/1/abc gave 401", "https://discord.com/api/webhooks/*** gave 401"),
        ("channel slack://A/B/C failed", "channel slack://*** failed"),
        ("https://ghp_abc@github.com/x", "https://***@github.com/x"),
        ('password: "a b c" was refused', 'password: "***" was refused'),
        (r'password: "a\"b c", user: ann', 'password: "***", user: ann'),
        ("password='never closed, d", "password='***'"),
        ("run --api-key abcdef --rows 3", "run --api-key *** --rows 3"),
        ("https://x.blob/y?sv=1&sig=abcdef", "https://x.blob/y?sv=1&sig=***"),
        ("GET http://127.0.0.1:8000/infer 200", "GET http://127.0.0.1:8000/infer 200"),
        ("2026-11-28 10:00:00 monitor: 3 tokens, passed", "2026-11-28 10:00:00 monitor: 3 tokens, passed"),
        ("flights: 12 rows at 10:00", "flights: 12 rows at 10:00"),
    ],
)
def test_secrets_are_hidden_in_logs(line: str, shown: str) -> None:
    assert without_secrets(line) == shown


def test_a_log_is_read_from_its_end_and_no_other_file_is(workspace: Workspace) -> None:
    path = workspace.run_folder / "gateway.log"
    path.write_text("".join(f"line {n} {'x' * 200}\n" for n in range(3000)) + "token tt_0123456789abcdef\n")
    found = log_tail(workspace, "gateway.log", 3)
    assert [line.split(" x")[0] for line in found] == ["line 2998", "line 2999", "token tt_***"]
    assert len(log_tail(workspace, "gateway.log", 5000)) < 3000, "no more than the last bytes are read"
    for name in ("gateway.json", "../metadata.db", "nothing.log"):
        with pytest.raises(NotFound, match="there is no log"):
            log_tail(workspace, name)


def test_tokens_are_shown_without_secret_or_hash(workspace: Workspace) -> None:
    token, secret = tokens.create(workspace.metadata, workspace.clock, "ann", verbs=("read",), by="test")
    tokens.revoke(workspace.metadata, workspace.clock, "ann", reason="lost", by="test")
    (found,) = token_list(workspace)
    assert (found.name, found.state, found.why) == ("ann", "revoked", "lost")
    text = msgspec.json.encode(found).decode()
    assert secret not in text
    assert token.sha256 not in text


def test_without_channels_there_is_no_alert(workspace: Workspace) -> None:
    found = alert_summary(workspace)
    assert (found.channels, found.pending, found.alerts, found.trouble) == ((), (), (), None)
