"""Server-sent events: which records were written since. One look at the store a second serves all viewers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from trimtab.app.project.limited_workspace import model_of
from trimtab.errors import StoreError
from trimtab.records.control import Decision, Freeze, Resolution, WorkflowStep
from trimtab.records.data import CheckReport, TableVersion
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.records.record import Record
from trimtab.records.serving import LogGap, Revision
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import Metadata

log = logging.getLogger(__name__)

KINDS: tuple[type[Record], ...] = (
    WindowReport, Signal, Decision, Resolution, Revision, WorkflowStep, GateReport, Bundle, Run, TableVersion,
    CheckReport, LogGap, Freeze,
)  # fmt: skip


PAUSE_S = 1.0
KEEP_ALIVE_S = 15.0
MOST = 20
"""Records of one kind that one look tells one by one; of more, the newest ones."""

Positions = Mapping[str, int]
Models = Callable[[], "tuple[str, ...] | None"]


class Told(NamedTuple):
    """One event as text, and the model that its record is about: "" for the whole project."""

    model: str
    text: str


class LiveEvents:
    """Reads the positions of the store once a second while a viewer listens, and hands on what is new."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._listeners: set[asyncio.Queue[list[Told]]] = set()
        self._task: asyncio.Task[None] | None = None
        self.closing = asyncio.Event()

    async def listen(self, last_id: str | None, models: Models) -> AsyncIterator[str]:
        """Yield events as text, from the state that `last_id` names, or from now on.

        models: returns the models whose events the listener may see, empty for all, or None once it may see none. It is
        asked again before events are sent; a listener that comes back with the id of the last one misses nothing.
        """
        queue: asyncio.Queue[list[Told]] = asyncio.Queue(maxsize=100)
        self._listeners.add(queue)  # before the positions are read, so that nothing is missed in between
        try:
            yield "retry: 2000\n\n"
            now = await asyncio.to_thread(self._metadata.positions)
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._look(now))
            before = _parsed(last_id)
            if before is None:
                yield _event("hello", {}, now)
            else:
                _offer(queue, await asyncio.to_thread(self._since, before, now))
            while not self.closing.is_set():
                try:
                    events = await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
                except TimeoutError:
                    events = [Told("", ": nothing new\n\n")]
                shown = await asyncio.to_thread(models)
                if shown is None:
                    return
                for event in events:
                    if not shown or event.model in (*shown, ""):
                        yield event.text
        except StoreError as error:
            log.warning("a stream of events ended: %s", error)  # the browser asks again
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
            try:
                now = await asyncio.to_thread(self._metadata.positions)
                if now == before:
                    continue
                events = await asyncio.to_thread(self._since, before, now)
            except StoreError as error:
                log.warning("events could not be read, and are looked for again: %s", error)
                continue
            before = now
            for queue in list(self._listeners):
                _offer(queue, events)  # without events, too: the record may be the end of a token

    def _since(self, before: Positions, now: Positions) -> list[Told]:
        """Return one event for each new record that a page shows."""
        events = []
        for kind in KINDS:
            name = kind.KIND
            added = now.get(name, 0) - before.get(name, 0)
            if added <= 0:
                continue
            for record in self._metadata.find(kind, limit=min(added, MOST))[::-1]:
                model = model_of(record)
                told = {"kind": name, "model": model or None, "key": record.id, "seq": now[name]}
                events.append(Told(model, _event(name, told, now)))
        return events


def _offer(queue: asyncio.Queue[list[Told]], events: list[Told]) -> None:
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
