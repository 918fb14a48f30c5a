"""The console as a child of `trimtab up`: started, watched, started again, stopped. The loop never depends on it."""

from __future__ import annotations

import importlib.util
import logging
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from trimtab.app.project.process_files import is_running, send_signal, write_atomically
from trimtab.app.project.workspace import Workspace
from trimtab.errors import MissingExtra

log = logging.getLogger(__name__)

ANNOUNCEMENT = "console.json"
LOG = "console.log"
STARTED = "console.started"
"""In the run folder: process id of the console that an `up` started, so that the next one knows it as its own."""
NEEDED = {"fastapi": "fastapi", "jinja2": "jinja2", "uvicorn": "uvicorn", "vl_convert": "vl-convert-python"}
"""Module -> package of the extra `console`."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
START_SECONDS = 15.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05


class ConsoleAnnouncement(msgspec.Struct, frozen=True, kw_only=True):
    """console.json in the run folder: the address of a running console."""

    host: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        """The address of the first page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def running_console(run_folder: Path) -> ConsoleAnnouncement | None:
    """Return the announcement of the console that runs for a project, or None."""
    try:
        found = msgspec.json.decode((run_folder / ANNOUNCEMENT).read_bytes(), type=ConsoleAnnouncement)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if is_running(found.pid) else None


def console_url(workspace: Workspace) -> str | None:
    """Return the address that people reach the console by, for links in messages, or None."""
    if workspace.project.policy.console.url:
        return workspace.project.policy.console.url.rstrip("/")
    found = running_console(workspace.run_folder)
    return None if found is None else found.url


def require_console() -> None:
    """Raise MissingExtra unless the packages of the extra `console` are there."""
    for module, package in NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(package, "console")


class ConsoleProcess:
    """The console of a project in a process of its own."""

    def __init__(self, workspace: Workspace, *, environment: str) -> None:
        self._workspace = workspace
        self._command = [sys.executable, "-m", "trimtab.cli", "console", "--project", str(workspace.project.folder)]
        self._command += ["--env", environment]
        self._child: subprocess.Popen[bytes] | None = None
        self._not_before, self._pause = 0.0, FIRST_PAUSE_S
        self._wanted = False

    def start(self) -> str:
        """Use the console that runs, or start one; return the line that says where it is, or why there is none."""
        if found := running_console(self._workspace.run_folder):
            return f"console  {found.url} (was running already)"
        try:
            require_console()
        except MissingExtra as error:
            return f"console  none: {error}"
        self._wanted = True
        self.watch()
        waited = 0.0
        while waited < START_SECONDS and self._child is not None and self._child.poll() is None:
            if found := running_console(self._workspace.run_folder):
                return f"console  {found.url}"
            self._workspace.clock.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        return f"console  did not start: {self._last_words()}"

    def watch(self) -> None:
        """Start the console again if it has died, after a pause that doubles each time."""
        now = self._workspace.now().timestamp()
        if not self._wanted or now < self._not_before or (self._child is not None and self._child.poll() is None):
            return
        if self._child is not None:
            log.warning("the console has ended (%s); starting it again", self._last_words())
            self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
        with (self._workspace.run_folder / LOG).open("ab") as output:
            self._child = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )
        write_atomically(self._workspace.run_folder / STARTED, str(self._child.pid).encode())
        self._not_before = now + self._pause

    def stop(self) -> None:
        """End the console, if this `up` or one that has crashed started it."""
        self._wanted = False
        found = running_console(self._workspace.run_folder)
        pid = (
            self._child.pid if self._child is not None and self._child.poll() is None else found.pid if found else None
        )
        if pid is None or not self._is_own(pid):
            return
        send_signal(pid, signal.SIGTERM)
        waited = 0.0
        while is_running(pid) and waited < STOP_SECONDS:
            if self._child is not None:
                self._child.poll()
            self._workspace.clock.sleep(POLL_SECONDS)
            waited += POLL_SECONDS
        if is_running(pid):
            send_signal(pid, signal.SIGKILL)

    def _is_own(self, pid: int) -> bool:
        try:
            return (self._workspace.run_folder / STARTED).read_text() == str(pid)
        except FileNotFoundError:
            return False

    def _last_words(self) -> str:
        try:
            text = (self._workspace.run_folder / LOG).read_text(errors="replace").strip()
        except OSError:
            return "it said nothing"
        return text.rpartition("\n")[2][-300:] or "it said nothing"
