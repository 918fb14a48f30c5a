"""Server-sent events: which records were written since. One look at the store a second serves all viewers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from trimtab.records.control import Decision, Freeze, Resolution, WorkflowStep
from trimtab.records.data import CheckReport, TableVersion
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.records.record import Record
from trimtab.records.serving import LogGap, Revision
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import Metadata

KINDS: tuple[type[Record], ...] = (
    WindowReport, Signal, Decision, Resolution, Revision, WorkflowStep, GateReport, Bundle, Run, TableVersion,
    CheckReport, LogGap, Freeze,
)  # fmt: skip


PAUSE_S = 1.0
KEEP_ALIVE_S = 15.0
MOST = 20
"""Records of one kind that one look tells one by one; of more, the newest ones."""

Positions = Mapping[str, int]


class LiveEvents:
    """Reads the positions of the store once a second while a viewer listens, and hands on what is new."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._listeners: set[asyncio.Queue[list[str]]] = set()
        self._task: asyncio.Task[None] | None = None
        self.closing = asyncio.Event()

    async def listen(self, last_id: str | None) -> AsyncIterator[str]:
        """Yield events as text, from the state that `last_id` names, or from now on."""
        queue: asyncio.Queue[list[str]] = asyncio.Queue(maxsize=100)
        now = await asyncio.to_thread(self._metadata.positions)
        before = _parsed(last_id)
        yield "retry: 2000\n\n"
        if before is not None:
            for event in await asyncio.to_thread(self._since, before, now):
                yield event
        else:
            yield _event("hello", {}, now)
        self._listeners.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(now))
        try:
            while not self.closing.is_set():
                try:
                    for event in await asyncio.wait_for(queue.get(), KEEP_ALIVE_S):
                        yield event
                except TimeoutError:
                    yield ": nothing new\n\n"
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        """End all streams of events."""
        self.closing.set()
        for queue in self._listeners:
            _offer(queue, [])

    async def _look(self, before: Positions) -> None:
        while self._listeners and not self.closing.is_set():
            await asyncio.sleep(PAUSE_S)
            now = await asyncio.to_thread(self._metadata.positions)
            if now == before:
                continue
            events = await asyncio.to_thread(self._since, before, now)
            before = now
            for queue in list(self._listeners):
                _offer(queue, events)

    def _since(self, before: Positions, now: Positions) -> list[str]:
        """Return one event for each new record that a page shows."""
        events = []
        for kind in KINDS:
            name = kind.KIND
            added = now.get(name, 0) - before.get(name, 0)
            if added <= 0:
                continue
            for record in self._metadata.find(kind, limit=min(added, MOST))[::-1]:
                told = {"kind": name, "model": getattr(record, "model", None), "key": record.id, "seq": now[name]}
                events.append(_event(name, told, now))
        return events


def _offer(queue: asyncio.Queue[list[str]], events: list[str]) -> None:
    """Hand events to a listener; one that is far behind misses some, and learns it from the next id."""
    if not queue.full():
        queue.put_nowait(events)


def _event(kind: str, told: Mapping[str, Any], positions: Positions) -> str:
    return f"event: {kind}\nid: {json.dumps(positions, separators=(',', ':'))}\ndata: {json.dumps(told)}\n\n"


def _parsed(text: str | None) -> Positions | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, int])
    except msgspec.DecodeError:
        return None
