"""A console and a gateway of a project as processes, and what they use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.console_process import running_console

PATIENCE_S = 120.0

T = TypeVar("T")


class Server:
    """A process and its address."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self._process = psutil.Process(pid)

    def memory_mb(self) -> float:
        """Return the resident memory of the process; children are others' programs that end by themselves."""
        found: int = self._process.memory_info().rss
        return found / 2**20

    def cpu_s(self) -> float:
        """Return the processor time that it has used."""
        times = self._process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def console(project: Path) -> Iterator[Server]:
    """Run the console of a project."""
    run_folder = project / ".trimtab" / "run"
    with _process("console", project):
        found = _wait(lambda: running_console(run_folder))
        yield Server(found.url, found.pid)


@contextmanager
def gateway(project: Path) -> Iterator[Server]:
    """Run the gateway of a project."""
    run_folder = project / ".trimtab" / "run"
    with _process("serve", project):
        found = _wait(lambda: running_gateway(run_folder))
        yield Server(url_of(found), found.pid)


@contextmanager
def _process(verb: str, project: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "trimtab.cli", verb, "-p", str(project), "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        os.kill(child.pid, signal.SIGTERM)
        child.wait()


def _wait(look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.05)
    raise SystemExit("the process did not start; run the command by hand to see why")
