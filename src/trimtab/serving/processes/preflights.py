"""Runs the trials of bundles, each in a process of its own, and tells how they ended. Owned by supervisor."""

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

from trimtab.serving.orders import BundleOrder, Configure, Down, Trial, Tried, Up
from trimtab.serving.processes.channel import Channel
from trimtab.serving.processes.releases import Key
from trimtab.serving.processes.spawning import spawn

AT_ONCE = 2
"""A bundle that hangs keeps one place; a rollback waits for none."""
NEXT = "no worker loads it. Deploy another version, or go back: trimtab rollback"

logger = logging.getLogger(__name__)


class Ended(NamedTuple):
    """How the trial of a bundle ended. error empty: well; died: it took its process along."""

    bundle: BundleOrder
    error: str
    died: bool = False


@dataclass(slots=True)
class Trying:
    """A trial that is under way."""

    bundle: BundleOrder
    process: subprocess.Popen[bytes]
    channel: Channel[Up, Down]
    deadline: float
    answer: Tried | None = None
    alive: bool = True

    def read(self) -> None:
        """Take what it tells."""
        messages, self.alive = self.channel.pending()
        for message in messages:
            if isinstance(message, Tried):
                self.answer = message


class Trials:
    """The trials under way. Belongs to the thread that selects.

    command: of a worker. configure: what every worker is told first. limit_s: how long a trial may take.
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
        self._running: dict[Key, Trying] = {}

    def step(self, due: Sequence[BundleOrder]) -> list[Ended]:
        """Begin the trials that are due, drop those that are not any more, and return those that ended."""
        wanted = {bundle.key for bundle in due}
        found = []
        for key, trying in list(self._running.items()):
            if key not in wanted:
                self._end(trying)
            elif (ended := self._look(trying)) is not None:
                self._end(trying)
                found.append(ended)
        for bundle in due:
            if len(self._running) >= AT_ONCE:
                break
            if bundle.key not in self._running and bundle.key not in {ended.bundle.key for ended in found}:
                found += self._begin(bundle)
        return found

    def close(self) -> None:
        """End all of them."""
        for trying in list(self._running.values()):
            self._end(trying)

    def _begin(self, bundle: BundleOrder) -> list[Ended]:
        logger.info("bundle %s is tried in a process of its own", bundle.id)
        configure = msgspec.structs.replace(
            self._configure("trial"), trial=Trial(msgspec.structs.replace(bundle, error=""), self._limit_s)
        )
        try:
            spawned = spawn(self._command)
        except OSError as error:  # no memory, no processes: perhaps later
            return [Ended(bundle, f"bundle {bundle.id} cannot be tried, no process can be started: {error}")]
        channel: Channel[Up, Down] = Channel(spawned.end, Up)  # type: ignore[arg-type]  # a union
        trying = Trying(bundle, spawned.process, channel, time.monotonic() + self._limit_s)
        try:
            spawned.end.sendall(b"\0")  # there is no listening socket for it
            channel.send(configure)
        except OSError:  # it is gone already, which is noticed soon
            trying.alive = False
        self._running[bundle.key] = trying
        self._selector.register(channel, selectors.EVENT_READ, trying)
        return []

    def _look(self, trying: Trying) -> Ended | None:
        """Return how a trial ended, None while it goes on."""
        bundle = trying.bundle
        gone = not trying.alive or trying.process.poll() is not None
        if gone:
            trying.read()  # its last words
        if trying.answer is not None:
            return Ended(bundle, trying.answer.error)
        if gone:
            how = ending(trying.process)
            return Ended(bundle, f"bundle {bundle.id}: the process that tried to load it {how}; {NEXT}", died=True)
        if time.monotonic() > trying.deadline:
            why = f"it was not loaded and warm within {self._limit_s:g} s (serving.load_timeout)"
            return Ended(bundle, f"bundle {bundle.id}: {why}; {NEXT}", died=True)
        return None

    def _end(self, trying: Trying) -> None:
        trying.process.kill()
        trying.process.wait()
        self._selector.unregister(trying.channel)
        trying.channel.close()
        del self._running[trying.bundle.key]


def ending(process: subprocess.Popen[bytes]) -> str:
    """Say how a process ended that has closed its channel, or ends now."""
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
