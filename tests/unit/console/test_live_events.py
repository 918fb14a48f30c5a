"""The stream of events: what is new, and what a listener missed while it was away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from trimtab.app.project.workspace import Workspace
from trimtab.console import live_events
from trimtab.console.live_events import LiveEvents
from trimtab.records.control import Freeze


def freeze(workspace: Workspace, number: int) -> None:
    """Write a record that pages show."""
    workspace.metadata.put(
        Freeze(
            id=f"freeze/{number}", created_at=workspace.now(), model="risk", number=number, frozen=True, until=None,
            reason="holiday", by="ann",
        )
    )  # fmt: skip


def told(text: str) -> tuple[str, dict[str, int], Any]:
    """Return kind, id and content of an event."""
    lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
    return lines["event"], json.loads(lines["id"]), json.loads(lines["data"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the store more often than once a second."""
    monkeypatch.setattr(live_events, "PAUSE_S", 0.01)


def test_a_listener_is_told_what_is_written_from_then_on(workspace: Workspace) -> None:
    freeze(workspace, 1)

    async def listen() -> list[str]:
        stream = LiveEvents(workspace.metadata).listen(None)
        found = [await anext(stream), await anext(stream)]
        freeze(workspace, 2)
        return [*found, await anext(stream)]

    _, hello, event = asyncio.run(listen())
    assert told(hello)[0] == "hello"
    kind, position, content = told(event)
    assert (kind, content["key"], content["model"]) == ("freeze", "freeze/2", "risk")
    assert position["freeze"] > told(hello)[1]["freeze"]


def test_a_listener_that_comes_back_misses_nothing(workspace: Workspace) -> None:
    freeze(workspace, 1)
    position = json.dumps(workspace.metadata.positions())
    freeze(workspace, 2)
    freeze(workspace, 3)

    async def listen() -> list[str]:
        stream = LiveEvents(workspace.metadata).listen(position)
        return [await anext(stream) for _ in range(3)]

    assert [told(event)[2]["key"] for event in asyncio.run(listen())[1:]] == ["freeze/2", "freeze/3"]


def test_all_streams_end_with_the_console(workspace: Workspace) -> None:
    async def listen() -> list[str]:
        events = LiveEvents(workspace.metadata)
        stream = events.listen("not a position")
        found = [await anext(stream), await anext(stream)]
        waiting = asyncio.create_task(anext(stream, "end"))
        await asyncio.sleep(0)
        events.close()
        return [*found, await asyncio.wait_for(waiting, 5)]

    assert asyncio.run(listen())[-1] == "end"
