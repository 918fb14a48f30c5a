"""The processes that send alerts: `trimtab alerts send`, a child of `trimtab up`; the console while no loop turns.

One process at a time sends, by a lock. The one of `up` outlives a crash of `up`, so that it can tell it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import timedelta

from trimtab.app.alerts.dispatcher import Dispatcher
from trimtab.app.alerts.heart import read_pulse, standstill
from trimtab.app.project.kept_process import KeptProcess
from trimtab.app.project.locks import Locked, locked
from trimtab.app.project.workspace import Workspace
from trimtab.errors import Conflict, StoreError, TrimtabError

log = logging.getLogger(__name__)

LOCK = "alerts"
WHY = "The alerts of a project are sent by one process"
STEP_SECONDS = 1.0
PAUSE_SECONDS = 10.0
"""After a store has failed."""
LEFT_ALONE = timedelta(minutes=10)
"""A process whose `up` has gone ends when it has had nothing to tell for so long."""


class AlertsProcess:
    """Sends the alerts of a project in a process of its own; without channels it does nothing."""

    def __init__(self, workspace: Workspace, *, environment: str) -> None:
        self._wanted = bool(workspace.project.policy.alerts.channels)
        self._process = KeptProcess(
            workspace, ["alerts", "send"], environment=environment, what="sends alerts", log_name="alerts.log"
        )

    def watch(self) -> None:
        """Start the process if none runs, not before its pause has passed."""
        if self._wanted:
            self._process.watch()

    def stop(self) -> None:
        """Let the process send what it has begun, and end it."""
        self._process.stop()


def send_alerts(workspace: Workspace, stop: Callable[[], bool]) -> None:
    """Send alerts until `stop`. Waits while another process does.

    A process whose parent has gone ends when the loop of another `up` turns, or nothing is left to tell.
    """
    parent, busy_at = os.getppid(), workspace.now()

    def is_done(dispatcher: Dispatcher) -> bool:
        nonlocal busy_at
        now = workspace.now()
        busy_at = busy_at if dispatcher.is_idle else now
        left = os.getppid() != parent and (_turns(workspace) or now - busy_at > LEFT_ALONE)
        return stop() or left

    while not stop():
        try:
            with locked(workspace, LOCK, "trimtab alerts send", why=WHY):
                _send(workspace, is_done)
                return
        except Locked:
            workspace.clock.sleep(STEP_SECONDS)


def watch_loop(workspace: Workspace, stop: Callable[[], bool]) -> None:
    """Send alerts while the loop of the project stands still and no other process sends them, until `stop`.

    Meant for a thread of a process that is not the loop, such as the console.
    """
    while not stop():
        try:
            if workspace.project.policy.alerts.channels and not _turns(workspace):
                with locked(workspace, LOCK, "a process that watches the loop", why=WHY):
                    _send(workspace, lambda _: stop() or _turns(workspace))
        except Locked:
            pass  # the process of `up` lives, and tells it
        except (TrimtabError, OSError) as error:  # the store or the disk may come back
            log.error("alerts pause for %g s: %s", PAUSE_SECONDS, error)
            workspace.clock.sleep(PAUSE_SECONDS)
        workspace.clock.sleep(STEP_SECONDS)


def _send(workspace: Workspace, is_done: Callable[[Dispatcher], bool]) -> None:
    dispatcher = Dispatcher(workspace)
    try:
        while True:
            try:
                dispatcher.step()
            except Conflict as error:  # a process on another machine, say: what is in memory does not hold
                log.error("alerts: %s", error)
                dispatcher.close()
                dispatcher = Dispatcher(workspace)
            except (StoreError, OSError) as error:  # the store may come back
                log.error("alerts pause for %g s: %s", PAUSE_SECONDS, error)
                workspace.clock.sleep(PAUSE_SECONDS)
            if is_done(dispatcher):
                return
            workspace.clock.sleep(STEP_SECONDS)
    finally:
        dispatcher.close()


def _turns(workspace: Workspace) -> bool:
    """Return True if the loop of the project runs and ends steps."""
    pulse = read_pulse(workspace.run_folder)
    silence = timedelta(microseconds=workspace.project.policy.alerts.loop_silence)
    return pulse is not None and standstill(pulse, workspace.now(), silence) is None
