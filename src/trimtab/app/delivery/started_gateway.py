"""A gateway that runs for the time of a test, on a free port of this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.process_files import send_signal
from trimtab.app.project.workspace import Workspace
from trimtab.errors import StageError, StoreError

POLL_S = 0.1
STOP_S = 30.0
SHOWN_LOG = 600
LOG = "test-gateway.log"


@contextmanager
def started_gateway(workspace: Workspace, environment: str, *, wait_s: float) -> Iterator[str]:
    """Run `trimtab serve` for the time of the context, and return its URL.

    Raises StageError if a gateway of the project runs already, StoreError if it does not start in `wait_s`.
    """
    if found := running_gateway(workspace.run_folder):
        raise StageError(f"a gateway of this project runs already, at {url_of(found)}; test that one, without --start")
    command = [sys.executable, "-m", "trimtab.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
    command += ["--project", str(workspace.project.folder), "--env", environment]
    path = workspace.run_folder / LOG
    with path.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + wait_s
        while child.poll() is None and time.monotonic() < deadline:
            if found := running_gateway(workspace.run_folder):
                break
            workspace.clock.sleep(POLL_S)
        else:
            text = path.read_text(encoding="utf-8", errors="replace").strip()[-SHOWN_LOG:]
            why = "ended" if child.poll() is not None else f"was not up after {wait_s:g} s"
            raise StoreError(f"the gateway {why}: {text or 'it printed nothing'}")
        yield url_of(found)
    finally:
        send_signal(child.pid, signal.SIGTERM)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
