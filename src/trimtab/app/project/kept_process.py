"""A process that `trimtab up` keeps running beside the gateway: started, started again when it ends, stopped.

It outlives a crash of `up`, and the next `up` goes on with it.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from trimtab.app.project.process_files import is_running, send_signal
from trimtab.app.project.workspace import Workspace

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Before the process is started again; each pause is twice as long as the one before."""
STEADY_S = 120.0
"""After so long a life the next pause is the first one again."""
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05


class KeptProcess:
    """One process with a verb of Trimtab.

    verb: with its arguments. what: the process in words. log_name: its output, in the run folder. other: returns the id
    of a process that does the same work and was started elsewhere.
    """

    def __init__(
        self,
        workspace: Workspace,
        verb: Sequence[str],
        *,
        environment: str,
        what: str,
        log_name: str,
        other: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._workspace = workspace
        self._command = [sys.executable, "-m", "trimtab.cli", *verb, "--project", str(workspace.project.folder)]
        self._command += ["--env", environment]
        self._what = what
        self._log = workspace.run_folder / log_name
        self._other = other
        self._child: subprocess.Popen[bytes] | None = None
        self._started = self._not_before = 0.0
        self._pause = FIRST_PAUSE_S

    def watch(self) -> None:
        """Start the process if none runs, not before its pause has passed."""
        now = self._workspace.now().timestamp()
        if self._pid() is not None or now < self._not_before:
            return
        if self._child is not None:
            self._pause = FIRST_PAUSE_S if now - self._started > STEADY_S else min(2 * self._pause, LONGEST_PAUSE_S)
            log.warning("the process that %s has ended (%s); starting it again", self._what, self._last_words())
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._started, self._not_before = now, now + self._pause

    def stop(self) -> None:
        """Let the process finish what it has begun, and end it."""
        pid, waited = self._pid(), 0.0
        if pid is None:
            return
        send_signal(pid, signal.SIGTERM)
        while is_running(pid) and waited < STOP_SECONDS:
            if self._child is not None:
                self._child.poll()
            self._workspace.clock.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        if is_running(pid):
            send_signal(pid, signal.SIGKILL)

    def _pid(self) -> int | None:
        """Return the process, this child or another one."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        return self._other()

    def _last_words(self) -> str:
        text = self._log.read_text(errors="replace").strip()
        return text.rpartition("\n")[2][-300:] or "it said nothing"
