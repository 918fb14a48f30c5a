"""Whether gateway and loop ran, a mark a minute for a day: a small file in the run folder that the console writes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import Literal

import msgspec

from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.project.locks import LOOP, REPLAY, holder
from trimtab.app.project.process_files import write_atomically
from trimtab.app.project.workspace import Workspace
from trimtab.clock import from_micros, to_micros
from trimtab.units import MICROS

FILE = "health.json"
MINUTES = 24 * 60
RUNNING, TROUBLE, STOPPED, NOT_SEEN = "r", "t", "s", " "
MEANS: dict[str, Literal["running", "trouble", "stopped"]] = {
    RUNNING: "running",
    TROUBLE: "trouble",
    STOPPED: "stopped",
}


class HealthMarks(msgspec.Struct, frozen=True, kw_only=True):
    """health.json. first: number of the first minute since 1970. marks: by process, a character a minute."""

    first: int
    marks: dict[str, str]


class HealthSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of wall time in which a process was in one state."""

    name: str
    start: datetime
    end: datetime
    state: Literal["running", "trouble", "stopped"]


def note_health(workspace: Workspace) -> None:
    """Add the mark of this minute; minutes without a console stay empty."""
    now = to_micros(workspace.now()) // MICROS["m"]
    known = _read(workspace)
    first = max(min(known.first, now), now - MINUTES + 1)
    marks = {}
    for name, mark in _states(workspace):
        old = known.marks.get(name, "")
        before = (NOT_SEEN * (known.first - first) + old)[max(0, first - known.first) :][: now - first]
        marks[name] = before.ljust(now - first, NOT_SEEN) + mark
    content = msgspec.json.encode(HealthMarks(first=first, marks=marks))
    write_atomically(workspace.run_folder / FILE, content)


def health_spans(workspace: Workspace) -> tuple[HealthSpan, ...]:
    """Return the states of the last day, oldest first, by process."""
    return tuple(_spans(_read(workspace)))


def _spans(known: HealthMarks) -> Iterator[HealthSpan]:
    for name, marks in known.marks.items():
        place = known.first
        for mark, group in groupby(marks):
            end = place + sum(1 for _ in group)
            if mark in MEANS:
                yield HealthSpan(name=name, start=_time(place), end=_time(end), state=MEANS[mark])
            place = end


def _states(workspace: Workspace) -> Iterator[tuple[str, str]]:
    gateway = running_gateway(workspace.run_folder)
    yield "gateway", STOPPED if gateway is None else TROUBLE if gateway.troubles else RUNNING
    loop = holder(workspace, LOOP) or holder(workspace, REPLAY)
    yield "loop", STOPPED if loop is None else RUNNING


def _read(workspace: Workspace) -> HealthMarks:
    try:
        return msgspec.json.decode((workspace.run_folder / FILE).read_bytes(), type=HealthMarks)
    except (OSError, msgspec.DecodeError):
        return HealthMarks(first=to_micros(workspace.now()) // MICROS["m"], marks={})


def _time(minute: int) -> datetime:
    return from_micros(minute * MICROS["m"])
