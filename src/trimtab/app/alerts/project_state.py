"""Alerts about what no record tells: a loop that stands still, a stream that does not flow.

Such a state is told when it begins and when it is over. Which of the two was told last stands in the alerts.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from trimtab.app.alerts.heart import read_pulse, standstill
from trimtab.app.ingestion.progress import read_ingestion
from trimtab.app.overviews import wording
from trimtab.app.project.workspace import Workspace
from trimtab.records.alert_records import Alert, AlertEvent, Severity

OVER = "/over"
LASTING = timedelta(minutes=1)
"""A stream that does not flow for less long is not told."""
LOOKED_BACK = 100


def loop_alerts(workspace: Workspace, now: datetime) -> list[Alert]:
    """Return the alert that the loop stands still, or turns again, if that was not told."""
    pulse = read_pulse(workspace.run_folder)
    silence = timedelta(microseconds=workspace.project.policy.alerts.loop_silence)
    fault = None if pulse is None else standstill(pulse, now, silence)
    told = _told(workspace, "loop", "loop")
    if pulse is not None and fault is not None:
        if told is not None:
            return []
        return [
            _alert(
                "loop",
                f"{wording.iso(pulse.at)}",
                now,
                severity="severe",
                title=f"The loop stands still since {wording.instant(pulse.at)}",
                figure=f"no step for {wording.duration((now - pulse.at).total_seconds())}; serving goes on",
                reason=fault,
                command="trimtab up",
            )
        ]
    return (
        [] if told is None else [_over(told, now, "The loop turns again" if pulse else "The loop was stopped in order")]
    )


def stream_alerts(workspace: Workspace, since: dict[str, datetime], now: datetime) -> list[Alert]:
    """Return the alerts of streams that do not flow, or flow again. since: when each trouble was seen first."""
    found = read_ingestion(workspace.run_folder)
    if found is None:
        return []
    alerts = []
    for stream in found.streams:
        told = _told(workspace, "stream", stream.source)
        if stream.trouble is None:
            since.pop(stream.source, None)
            if told is not None:
                alerts.append(_over(told, now, f"Stream {stream.source} flows again"))
            continue
        first = since.setdefault(stream.source, now)
        if told is None and now - first >= LASTING:
            alerts.append(
                _alert(
                    "stream",
                    f"{stream.source}/{wording.iso(first)}",
                    now,
                    severity="moderate",
                    title=f"Stream {stream.source} does not flow",
                    figure=f"{stream.rows:,} rows taken in, none since {wording.instant(first)}",
                    reason=stream.trouble,
                    command="trimtab status",
                )
            )
    return alerts


def _told(workspace: Workspace, event: AlertEvent, subject: str) -> Alert | None:
    """Return the last alert of a subject if it told that something is wrong, else None."""
    prefix = f"alert/{event}/{subject}/" if event == "stream" else f"alert/{event}/"
    told = workspace.metadata.find(Alert, event=event, limit=LOOKED_BACK)
    last = next((alert for alert in told if alert.id.startswith(prefix)), None)
    return None if last is None or last.id.endswith(OVER) else last


def _over(told: Alert, now: datetime, title: str) -> Alert:
    """Return the alert that a state is over. It goes to the channels that were told of it."""
    return msgspec.structs.replace(
        told,
        id=f"{told.id}{OVER}",
        created_at=now,
        at=now,
        severity="minor",
        title=title,
        figure=f"after {wording.duration((now - told.at).total_seconds())}",
        reason=f"it was told: {told.title}",
        command="trimtab status",
    )


def _alert(
    event: AlertEvent,
    key: str,
    now: datetime,
    *,
    severity: Severity,
    title: str,
    figure: str,
    reason: str,
    command: str,
) -> Alert:
    return Alert(
        id=f"alert/{event}/{key}",
        created_at=now,
        event=event,
        model="",
        severity=severity,
        at=now,
        title=title,
        figure=figure,
        reason=reason,
        path="/system",
        command=command,
        refers_to="",
        channels=(),
    )
