"""Starts the preflights of bundles, each in a process of its own, and collects their results."""

from __future__ import annotations

import logging
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from trimtab.serving.orders import BundleOrder, Configure, Down, Preflight, PreflightResult, Up
from trimtab.serving.processes.channel import Channel
from trimtab.serving.processes.releases import Key
from trimtab.serving.processes.spawning import spawn

MOST_RUNNING = 2
"""Preflights at a time: a bundle that hangs occupies one place, and a rollback can use the other."""
NEXT = "no worker loads it. Deploy another version, or go back: trimtab rollback"

logger = logging.getLogger(__name__)


class Ended(NamedTuple):
    """How the preflight of a bundle ended. error: empty when it passed. died: its process crashed or timed out."""

    bundle: BundleOrder
    error: str
    died: bool = False


@dataclass(slots=True)
class RunningPreflight:
    """A preflight in progress."""

    bundle: BundleOrder
    process: subprocess.Popen[bytes]
    channel: Channel[Up, Down]
    deadline: float
    answer: PreflightResult | None = None
    alive: bool = True

    def read(self) -> None:
        """Read the messages of the process."""
        messages, self.alive = self.channel.pending()
        for message in messages:
            if isinstance(message, PreflightResult):
                self.answer = message


class Preflights:
    """The preflights in progress. Not thread-safe: used by the thread that selects.

    command: the program of a worker. configure: returns the first message of a worker. limit_s: longest duration.
    """

    def __init__(
        self,
        command: Sequence[str],
        configure: Callable[[str], Configure],
        selector: selectors.BaseSelector,
        *,
        limit_s: float,
    ) -> None:
        self._command = command
        self._configure = configure
        self._selector = selector
        self._limit_s = limit_s
        self._running: dict[Key, RunningPreflight] = {}

    def step(self, due: Sequence[BundleOrder]) -> list[Ended]:
        """Start the preflights that are due, cancel those that no longer are, and return those that ended."""
        wanted = {bundle.key for bundle in due}
        found = []
        for key, running in list(self._running.items()):
            if key not in wanted:
                self._end(running)
            elif (ended := self._result(running)) is not None:
                self._end(running)
                found.append(ended)
        for bundle in due:
            if len(self._running) >= MOST_RUNNING:
                break
            if bundle.key not in self._running and bundle.key not in {ended.bundle.key for ended in found}:
                found += self._begin(bundle)
        return found

    def close(self) -> None:
        """Kill all of them."""
        for running in list(self._running.values()):
            self._end(running)

    def _begin(self, bundle: BundleOrder) -> list[Ended]:
        logger.info("bundle %s is tried in a process of its own", bundle.id)
        configure = msgspec.structs.replace(
            self._configure("preflight"), preflight=Preflight(msgspec.structs.replace(bundle, error=""), self._limit_s)
        )
        try:
            spawned = spawn(self._command)
        except OSError as error:  # out of memory or processes: a later attempt may succeed
            return [Ended(bundle, f"bundle {bundle.id} cannot be tried, no process can be started: {error}")]
        channel: Channel[Up, Down] = Channel(spawned.end, Up)  # type: ignore[arg-type]  # a union
        running = RunningPreflight(bundle, spawned.process, channel, time.monotonic() + self._limit_s)
        try:
            spawned.end.sendall(b"\0")  # in place of a listening socket
            channel.send(configure)
        except OSError:  # the process is gone, which the next step sees
            running.alive = False
        self._running[bundle.key] = running
        self._selector.register(channel, selectors.EVENT_READ, running)
        return []

    def _result(self, running: RunningPreflight) -> Ended | None:
        """Return how a preflight ended; None while it is in progress."""
        bundle = running.bundle
        gone = not running.alive or running.process.poll() is not None
        if gone:
            running.read()  # the messages that it sent before it ended
        if running.answer is not None:
            return Ended(bundle, running.answer.error)
        if gone:
            how = ending(running.process)
            return Ended(bundle, f"bundle {bundle.id}: the process that tried to load it {how}; {NEXT}", died=True)
        if time.monotonic() > running.deadline:
            why = f"it was not loaded and warm within {self._limit_s:g} s (serving.load_timeout)"
            return Ended(bundle, f"bundle {bundle.id}: {why}; {NEXT}", died=True)
        return None

    def _end(self, running: RunningPreflight) -> None:
        running.process.kill()
        running.process.wait()
        self._selector.unregister(running.channel)
        running.channel.close()
        del self._running[running.bundle.key]


def ending(process: subprocess.Popen[bytes]) -> str:
    """Describe how a process ended that has closed its channel; waits a second for its exit code."""
    try:
        code = process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return "closed its channel"
    if code >= 0:
        return f"ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    memory = ", perhaps by the system, for want of memory" if -code == signal.SIGKILL else ""
    return f"died of signal {-code} ({name}{memory})"
