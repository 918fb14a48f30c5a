"""The stream of events: what is new, and what a listener missed while it was away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from trimtab.app.project.workspace import Workspace
from trimtab.console import live_events
from trimtab.console.live_events import LiveEvents
from trimtab.errors import StoreError
from trimtab.records.control import Freeze


def all_models() -> tuple[str, ...]:
    """Return what a listener may see who may see all."""
    return ()


def freeze(workspace: Workspace, number: int, model: str = "risk") -> None:
    """Write a record that pages show."""
    workspace.metadata.put(
        Freeze(
            id=f"freeze/{number}", created_at=workspace.now(), model=model, number=number, frozen=True, until=None,
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
        stream = LiveEvents(workspace.metadata).listen(None, all_models)
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
        stream = LiveEvents(workspace.metadata).listen(position, all_models)
        return [await anext(stream) for _ in range(3)]

    assert [told(event)[2]["key"] for event in asyncio.run(listen())[1:]] == ["freeze/2", "freeze/3"]


def test_all_streams_end_with_the_console(workspace: Workspace) -> None:
    async def listen() -> list[str]:
        events = LiveEvents(workspace.metadata)
        stream = events.listen("not a position", all_models)
        found = [await anext(stream), await anext(stream)]
        waiting = asyncio.create_task(anext(stream, "end"))
        await asyncio.sleep(0)
        events.close()
        return [*found, await asyncio.wait_for(waiting, 5)]

    assert asyncio.run(listen())[-1] == "end"


def test_a_listener_is_told_of_its_models_and_of_the_whole_project(workspace: Workspace) -> None:
    position = json.dumps(workspace.metadata.positions())
    for number, model in enumerate(("risk", "other", "")):
        freeze(workspace, number, model)

    async def listen() -> list[str]:
        stream = LiveEvents(workspace.metadata).listen(position, lambda: ("other",))
        return [await anext(stream) for _ in range(3)]

    assert [told(event)[2]["model"] for event in asyncio.run(listen())[1:]] == ["other", None]


def test_a_stream_ends_with_the_token_of_its_listener(workspace: Workspace) -> None:
    may: list[tuple[str, ...] | None] = [()]

    async def listen() -> list[str]:
        stream = LiveEvents(workspace.metadata).listen(None, lambda: may[0])
        found = [await anext(stream), await anext(stream)]
        may[0] = None
        freeze(workspace, 1)
        return [*found, await asyncio.wait_for(anext(stream, "end"), 5)]

    assert asyncio.run(listen())[-1] == "end"


def test_a_stream_goes_on_after_the_store_did_not_answer(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = workspace.metadata.positions, [0]

    def positions() -> dict[str, int]:
        calls[0] += 1
        if calls[0] == 2:
            raise StoreError("busy")
        return real()

    monkeypatch.setattr(workspace.metadata, "positions", positions)

    async def listen() -> str:
        stream = LiveEvents(workspace.metadata).listen(None, all_models)
        await anext(stream)
        await anext(stream)
        freeze(workspace, 1)
        return await asyncio.wait_for(anext(stream), 5)

    assert told(asyncio.run(listen()))[2]["key"] == "freeze/1"
    assert calls[0] > 2


def test_what_is_written_while_a_listener_connects_is_told(workspace: Workspace) -> None:
    freeze(workspace, 1)
    position, events = json.dumps(workspace.metadata.positions()), LiveEvents(workspace.metadata)

    async def listen() -> set[str]:
        first = events.listen(None, all_models)
        await anext(first)
        await anext(first)
        freeze(workspace, 2)
        second = events.listen(position, all_models)
        await anext(second)
        keys = {told(await anext(second))[2]["key"]}
        freeze(workspace, 3)
        while "freeze/3" not in keys:
            keys.add(told(await asyncio.wait_for(anext(second), 5))[2]["key"])
        return keys

    assert asyncio.run(listen()) == {"freeze/2", "freeze/3"}
