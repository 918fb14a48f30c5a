"""The loopback provider of a project as a process, for endpoints with the URL "loopback": started, watched, stopped.

It outlives a crash of what started it, and keeps its port when it is started again.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import msgspec

from trimtab.app.project.child_processes import LOOPBACK as PROGRAM
from trimtab.app.project.locks import locked
from trimtab.app.project.process_files import is_running, send_signal
from trimtab.app.project.workspace import Workspace
from trimtab.definitions.llm.model_endpoints import LOOPBACK
from trimtab.errors import StoreError
from trimtab.llm.loopback.announcement import ANNOUNCED, RunningLoopback, announced

LOG = "loopback.log"
START_SECONDS = 30.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.05


class LoopbackProcess:
    """The process of a project's loopback provider; without an endpoint that names it, it does nothing."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._is_needed = any(each.url == LOOPBACK for each in workspace.project.definitions.endpoints.values())
        self._found: RunningLoopback | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> RunningLoopback | None:
        """Return the provider that runs, or start one; None where none is needed. Raises StoreError."""
        if not self._is_needed:
            return None
        with locked(self._workspace, "loopback", "starting the loopback provider", why="It is ready soon", wait=True):
            self._found = announced(self._workspace.run_folder) or self._start()
        return self._found

    @property
    def is_own(self) -> bool:
        """Whether `start` started it, rather than found it."""
        return self._child is not None

    def watch(self) -> None:
        """Start it again when it has ended. Raises StoreError."""
        if self._found is not None and not self._is_alive(self._found.pid):
            self.start()

    def stop(self) -> None:
        """End it; its bill is gone then."""
        if not self._is_needed or (found := announced(self._workspace.run_folder)) is None:
            return
        send_signal(found.pid, signal.SIGTERM)
        waited = 0.0
        while self._is_alive(found.pid) and waited < STOP_SECONDS:
            self._workspace.clock.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        if self._is_alive(found.pid):
            send_signal(found.pid, signal.SIGKILL)
        (self._workspace.run_folder / ANNOUNCED).unlink(missing_ok=True)
        self._found = None

    def _is_alive(self, pid: int) -> bool:
        if self._child is not None:
            self._child.poll()
        return is_running(pid)

    def _start(self) -> RunningLoopback:
        folder = self._workspace.run_folder
        with (folder / LOG).open("wb") as output:
            for port in dict.fromkeys((self._last_port(), 0)):
                self._child = subprocess.Popen(
                    [*PROGRAM, "--port", str(port), "--announce", str(folder / ANNOUNCED)],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
                waited = 0.0
                while waited < START_SECONDS and self._child.poll() is None:
                    if (found := announced(folder)) is not None and found.pid == self._child.pid:
                        return found
                    self._workspace.clock.sleep(POLL_SECONDS)
                    waited += POLL_SECONDS
                if self._child.poll() is None:
                    self._child.kill()
        words = (folder / LOG).read_text(errors="replace").strip()[-1000:]
        raise StoreError(f"the loopback provider did not start: {words or 'it said nothing'}")

    def _last_port(self) -> int:
        """Return the port of the last one, which clients may still know; 0 for any."""
        with suppress(OSError, msgspec.DecodeError):
            found = msgspec.json.decode((self._workspace.run_folder / ANNOUNCED).read_bytes(), type=RunningLoopback)
            return urlsplit(found.url).port or 0
        return 0


@contextmanager
def loopback_beside(workspace: Workspace) -> Iterator[None]:
    """Run the loopback provider, if the project needs one and none runs, until the block ends."""
    process = LoopbackProcess(workspace)
    process.start()
    try:
        yield
    finally:
        if process.is_own:
            process.stop()
