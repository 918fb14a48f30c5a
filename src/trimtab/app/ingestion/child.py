"""The process that reads streams, as a child of `trimtab up`: started, watched, started again, stopped.

It outlives a crash of `up`, and the next `up` goes on with it. Serving never depends on it.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys

from trimtab.app.ingestion.progress import read_ingestion
from trimtab.app.ingestion.streaming import LOCK, needs_local_broker, streaming_sources
from trimtab.app.project.broker import RunningBroker, start_broker, stop_broker
from trimtab.app.project.locks import holder
from trimtab.app.project.process_files import is_running, send_signal
from trimtab.app.project.workspace import Workspace

log = logging.getLogger(__name__)

LOG = "stream.log"
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Before the process is started again; each pause is twice as long as the one before."""
STEADY_S = 120.0
"""After so long a life the next pause is the first one again."""
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05


class IngestionProcess:
    """Reads the streams of a project in a process of its own; without streams it does nothing."""

    def __init__(self, workspace: Workspace, *, environment: str) -> None:
        self._workspace = workspace
        self._command = [sys.executable, "-m", "trimtab.cli", "stream", "--project", str(workspace.project.folder)]
        self._command += ["--env", environment]
        self._child: subprocess.Popen[bytes] | None = None
        self._started = self._not_before = 0.0
        self._pause = FIRST_PAUSE_S
        self._sources = streaming_sources(workspace)

    @property
    def streams(self) -> list[str]:
        """Names of the streams."""
        return [source.name for source in self._sources]

    def start(self) -> RunningBroker | None:
        """Start the broker of this machine, if a stream needs it, and the process; return the broker."""
        broker = None
        if needs_local_broker(self._workspace, self._sources):
            broker, _ = start_broker(self._workspace)
        if self._sources:
            self.watch()
        return broker

    def watch(self) -> None:
        """Start the process if none runs, not before its pause has passed."""
        now = self._workspace.now().timestamp()
        if not self._sources or self._pid() is not None or now < self._not_before:
            return
        if self._child is not None:
            self._pause = FIRST_PAUSE_S if now - self._started > STEADY_S else min(2 * self._pause, LONGEST_PAUSE_S)
            log.warning("the process that reads streams has ended (%s); starting it again", self._last_words())
        with (self._workspace.run_folder / LOG).open("ab") as output:
            self._child = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._started, self._not_before = now, now + self._pause

    def stop(self) -> None:
        """Let the process land what it has read, end it, and the broker of this machine after it."""
        pid, waited = self._pid(), 0.0
        if pid is not None:
            send_signal(pid, signal.SIGTERM)
            while is_running(pid) and waited < STOP_SECONDS:
                if self._child is not None:
                    self._child.poll()
                self._workspace.clock.sleep(POLL_SECONDS)
                waited += POLL_SECONDS
            if is_running(pid):
                send_signal(pid, signal.SIGKILL)
        if needs_local_broker(self._workspace, self._sources):
            stop_broker(self._workspace)

    def _pid(self) -> int | None:
        """Return the process that reads streams, this child or another one."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        found = read_ingestion(self._workspace.run_folder)
        if found is not None:
            return found.pid
        held = holder(self._workspace, LOCK)
        return None if held is None else held.pid

    def _last_words(self) -> str:
        text = (self._workspace.run_folder / LOG).read_text(errors="replace").strip()
        return text.rpartition("\n")[2][-300:] or "it said nothing"
