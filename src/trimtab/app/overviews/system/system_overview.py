"""The processes of a project and what they leave: gaps of the log, disk, findings of doctor, logs, tokens, alerts."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib import metadata as packages
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from trimtab.app.alerts.alert_list import PendingAlert, alert_trouble, channel_states, pending_alerts
from trimtab.app.alerts.channel_states import ChannelState
from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.gateway.tokens import statuses
from trimtab.app.ingestion.progress import progress_line, read_ingestion
from trimtab.app.overviews import wording
from trimtab.app.overviews.reads.child_reader import reader
from trimtab.app.overviews.system.health_log import HealthSpan, health_spans
from trimtab.app.overviews.system.storage import FolderSize, storage
from trimtab.app.project.locks import LOOP, REPLAY, Holder, holder
from trimtab.app.project.process_files import own_pid
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.trigger_list import ListedTrigger, trigger_list
from trimtab.errors import NotFound, nearest
from trimtab.records.alert_records import Alert
from trimtab.records.serving import LogGap
from trimtab.units import plural

UP = "trimtab up"
TAIL_LINES = 500
TAIL_BYTES = 256 * 1024
LEAST_FREE = 2_000_000_000
"""Bytes of free disk below which the page says so; doctor has the same limit."""
SHOWN_PACKAGES = ("trimtab", "mlflow-skinny", "dbos", "deltalake", "onnxruntime", "fastapi")
HIDDEN = "***"
_WORDS = (
    r"(?:password|passwd|passphrase|pwd|_pass\b|secret|token|credential|cookie|signature|\bsig\b|"
    r"(?:api|access|private|account|shared|encryption)[_-]?key)[\w.-]{0,40}"
)
_QUOTED = r"""(?P<mark>\\*["'])(?:(?!(?P=mark))(?:\\.|.))*(?:(?P=mark))?"""
_OPEN_SCHEMES = r"https?|file|s3a?|gs|az|abfss?|wss?|redis|rediss|kafka|nats|sqlite|(?:postgres(?:ql)?|mysql)(?:\+\w+)?"
SECRETS = (
    (re.compile(r"\btt_[0-9a-f]{8,}"), f"tt_{HIDDEN}"),
    (re.compile(r"(?<=://)[^/\s]+(?=@)"), HIDDEN),
    (re.compile(rf"(?i)\b(?!(?:{_OPEN_SCHEMES})://)([a-z][a-z0-9+.-]{{0,30}}://)[^\s\"'<>]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(hooks?\.slack(?:-gov)?\.com/|webhooks?/|\bwebhook\.[\w.-]+/)[^\s\"'<>]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"""(?i)(\b(?:proxy-)?authorization(?:\\*["']?\s*[:=]|\\*["']\s*,)\s*(?:b(?=["']))?\\*["']?)"""
            r"""(?!\s*(?:bearer|basic)\s+\*{3})[^"'\\]+"""
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            rf"""(?i)({_WORDS}(?:\\*["'])?\]?\s*[:=]\s*|(?<![\w-])--[\w-]{{0,40}}{_WORDS}\s+)(?:{_QUOTED}|[^\s"',;&]{{3,}})"""
        ),
        rf"\1\g<mark>{HIDDEN}\g<mark>",
    ),
)
"""What is hidden in logs: tokens of Trimtab, accounts in addresses, addresses of channels, headers, and values after
such words, quoted ones whole."""

State = Literal["running", "stopped", "late"]


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the project."""

    name: str
    state: State
    pid: int | None = None
    since: datetime | None = None
    memory: int | None = None
    """Resident bytes; None: not known, such as on another machine."""
    host: str = ""
    """Empty: this machine."""
    text: str = ""
    """What it does, or its last word."""
    command: str = ""
    """That starts it."""


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway says of one model. trouble: why a worker cannot serve it as ordered."""

    model: str
    revision: int | None
    trouble: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that doctor looked at."""

    subject: str
    verdict: Literal["ok", "warn", "fail"]
    text: str
    remedy: str = ""


class TokenSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One token, without its secret and the hash of that."""

    id: str
    name: str
    role: str | None
    verbs: tuple[str, ...]
    models: tuple[str, ...]
    state: str
    created_at: datetime
    expires_at: datetime | None
    by: str
    why: str
    """Why it was revoked."""


class LogFile(msgspec.Struct, frozen=True, kw_only=True):
    """A log in the run folder."""

    name: str
    bytes: int
    changed_at: datetime


class AlertSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts of the project: channels, what waits for one, and the newest alerts."""

    channels: tuple[ChannelState, ...]
    trouble: str | None
    """Why none is sent."""
    pending: tuple[PendingAlert, ...]
    alerts: tuple[Alert, ...]
    next: str | None


class SystemOverview(msgspec.Struct, frozen=True, kw_only=True):
    """What runs, and what it left."""

    sentence: str
    url: str | None
    """Of the gateway."""
    processes: tuple[ProcessState, ...]
    models: tuple[ServedModel, ...]
    triggers: tuple[ListedTrigger, ...]
    """Of models that the reader may see."""
    gaps: tuple[LogGap, ...]
    next_gap: str | None
    lost_rows: int
    """Answers that could not be logged, in the gaps of this page."""
    storage: tuple[FolderSize, ...]
    free_bytes: int
    logs: tuple[LogFile, ...]
    versions: dict[str, str]
    health: tuple[HealthSpan, ...]
    """Of gateway and loop over the last day; minutes without a console are in none."""
    findings: tuple[Finding, ...]
    """What can be seen without doctor, the worst first."""


def system_overview(workspace: Workspace, *, before: str | None = None, limit: int = 50) -> SystemOverview:
    """Return what runs. before: id of the gap after which the page of gaps begins. Raises NotFound for another id."""
    gateway = running_gateway(workspace.run_folder)
    processes = tuple(_processes(workspace))
    gaps = workspace.metadata.find(LogGap, before=before, limit=limit + 1)
    free = shutil.disk_usage(workspace.root).free
    models = _models(workspace)
    findings = tuple(sorted(_findings(processes, models, gaps, free), key=lambda found: found.verdict != "fail"))
    return SystemOverview(
        sentence=_sentence(processes, findings),
        url=url_of(gateway) if gateway else None,
        processes=processes,
        models=models,
        triggers=tuple(each for each in trigger_list(workspace) if all(map(workspace.shows, each.models))),
        gaps=tuple(gaps[:limit]),
        next_gap=gaps[limit - 1].id if len(gaps) > limit else None,
        lost_rows=sum(gap.rows for gap in gaps[:limit]),
        storage=storage(workspace),
        free_bytes=free,
        logs=tuple(_logs(workspace)),
        versions={name: packages.version(name) for name in SHOWN_PACKAGES},
        health=health_spans(workspace),
        findings=findings,
    )


def doctor_findings(workspace: Workspace, environment: str) -> tuple[Finding, ...]:
    """Return what doctor finds and what can be seen without it, the worst first. It takes seconds."""
    seen = {each.subject: each for each in system_overview(workspace).findings}
    found = reader(workspace, lane="doctor").read("doctor", tuple[Finding, ...], environment=environment)
    others = (each for each in found if each.verdict != "ok" or each.subject not in seen)
    return tuple(sorted((*seen.values(), *others), key=lambda each: ("fail", "warn", "ok").index(each.verdict)))


def token_list(workspace: Workspace) -> tuple[TokenSummary, ...]:
    """Return all tokens that ever were, newest first."""
    return tuple(
        TokenSummary(
            id=each.token.id,
            name=each.token.name,
            role=each.token.role,
            verbs=each.token.verbs,
            models=each.token.models,
            state=each.state,
            created_at=each.token.created_at,
            expires_at=each.token.expires_at,
            by=each.token.by,
            why=each.revocation.reason if each.revocation else "",
        )
        for each in statuses(workspace.metadata, workspace.clock)
    )


def alert_summary(workspace: Workspace, *, before: str | None = None, limit: int = 50) -> AlertSummary:
    """Return channels, waiting alerts and a page of alerts, newest first. before: id of the last alert before it."""
    alerts = workspace.metadata.find(Alert, before=before, limit=limit + 1)
    return AlertSummary(
        channels=tuple(channel_states(workspace)),
        trouble=alert_trouble(workspace),
        pending=tuple(pending_alerts(workspace)),
        alerts=tuple(alerts[:limit]),
        next=alerts[limit - 1].id if len(alerts) > limit else None,
    )


def log_tail(workspace: Workspace, name: str, lines: int = TAIL_LINES) -> list[str]:
    """Return the last lines of a log of the run folder, without secrets. Raises NotFound."""
    known = {log.name for log in _logs(workspace)}
    if name not in known:
        raise NotFound(f"there is no log '{name}'.{nearest(name, known) if known else ' No process has written one.'}")
    with (workspace.run_folder / name).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    found = text.splitlines()[1 if size > TAIL_BYTES else 0 :]  # the first one may be cut
    return [without_secrets(line) for line in found[-lines:]]


def without_secrets(line: str) -> str:
    """Return a line of a log without tokens and passwords."""
    for pattern, instead in SECRETS:
        line = pattern.sub(instead, line)
    return line


def _processes(workspace: Workspace) -> Iterator[ProcessState]:
    gateway = running_gateway(workspace.run_folder)
    if gateway is None:
        yield ProcessState(name="gateway", state="stopped", command=UP, text=_last_word(workspace, "gateway.log"))
    else:
        yield _of_pid("gateway", gateway.pid, f"answers at {url_of(gateway)}")
        for number, pid in enumerate(gateway.workers):
            yield _of_pid(f"worker {number}", pid, "scores and logs")
    loop = holder(workspace, LOOP)
    if loop is None:
        yield ProcessState(name="loop", state="stopped", command=UP, text=_last_word(workspace, "up.log"))
    else:
        yield _of_holder("loop", loop)
    if replay := holder(workspace, REPLAY):
        yield _of_holder("replay", replay)
    if streams := read_ingestion(workspace.run_folder):
        late = any(one.trouble for one in streams.streams)
        text = "; ".join(progress_line(one) for one in streams.streams)
        yield msgspec.structs.replace(_of_pid("streams", streams.pid, text), state="late" if late else "running")
    yield _of_pid("console", own_pid(), "this page")


def _of_pid(name: str, pid: int, text: str) -> ProcessState:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            since, memory = process.create_time(), process.memory_info().rss
    except psutil.Error:
        return ProcessState(name=name, state="stopped", pid=pid, text=text, command=UP)
    started = datetime.fromtimestamp(since).astimezone()
    return ProcessState(name=name, state="running", pid=pid, since=started, memory=memory, text=text)


def _of_holder(name: str, found: Holder) -> ProcessState:
    if found.host != socket.gethostname():
        return ProcessState(
            name=name, state="running", pid=found.pid, since=found.since, host=found.host, text=found.doing
        )
    return msgspec.structs.replace(_of_pid(name, found.pid, found.doing), since=found.since)


def _models(workspace: Workspace) -> tuple[ServedModel, ...]:
    gateway = running_gateway(workspace.run_folder)
    if gateway is None:
        return ()
    names = sorted(filter(workspace.shows, {*gateway.serving, *gateway.troubles}))
    return tuple(
        ServedModel(model=name, revision=gateway.serving.get(name), trouble=gateway.troubles.get(name, ""))
        for name in names
    )


def _findings(
    processes: Sequence[ProcessState], models: Sequence[ServedModel], gaps: Sequence[LogGap], free: int
) -> Iterator[Finding]:
    for process in processes:
        if process.state != "running":
            state = "does not run" if process.state == "stopped" else f"has trouble: {process.text}"
            yield Finding(subject=process.name, verdict="warn", text=state, remedy=process.command)
    for model in models:
        if model.trouble:
            text = f"a worker cannot serve it as ordered: {model.trouble}"
            yield Finding(subject=f"model {model.model}", verdict="fail", text=text, remedy="trimtab doctor")
    if gaps:
        rows = plural(sum(gap.rows for gap in gaps), "answer")
        text = f"{rows} could not be logged; the newest: {gaps[0].reason}"
        yield Finding(subject="prediction log", verdict="warn", text=text, remedy="trimtab doctor")
    if free < LEAST_FREE:
        text = f"{wording.size(free)} are free"
        yield Finding(subject="disk", verdict="warn", text=text, remedy="make room, or trimtab tables vacuum")


def _sentence(processes: Sequence[ProcessState], findings: Sequence[Finding]) -> str:
    running = [process.name for process in processes if process.state == "running" and not process.name[-1].isdigit()]
    stopped = [process.name for process in processes if process.state == "stopped"]
    others = [found for found in findings if found.subject not in stopped]
    verb = "runs" if len(running) == 1 else "run"
    return wording.sentence(
        f"{wording.joined(running)} {verb}" if running else "nothing runs",
        f"{wording.joined(stopped)} {'does' if len(stopped) == 1 else 'do'} not: {UP}" if stopped else "",
        *(f"{found.subject}: {found.text}" for found in others[:2]),
        "" if findings else "nothing is wrong",
    )


def _logs(workspace: Workspace) -> Iterator[LogFile]:
    for path in sorted(workspace.run_folder.glob("*.log")):
        about = path.stat()
        changed = datetime.fromtimestamp(about.st_mtime).astimezone()
        yield LogFile(name=path.name, bytes=about.st_size, changed_at=changed)


def _last_word(workspace: Workspace, name: str) -> str:
    path: Path = workspace.run_folder / name
    if not path.is_file():
        return ""
    lines = [line for line in log_tail(workspace, name, 20) if line.strip()]
    return lines[-1][:300] if lines else ""
