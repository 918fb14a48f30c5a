"""What the tests of the whole loop share: commands as a user types them, and processes that are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml

from kit.waiting import PATIENCE_S, wait_for
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.ingestion.progress import read_ingestion
from trimtab.app.project.broker import running_broker
from trimtab.app.project.console_process import running_console
from trimtab.app.project.process_files import is_running, read_progress

CARRIERS = ("UA", "MQ")
TRAINED_UNTIL = datetime(2013, 3, 1, 5, tzinfo=UTC)
LAST_DAY = datetime(2013, 4, 15, tzinfo=UTC)
WINDOW = datetime(2013, 3, 12, tzinfo=UTC)
"""Start of the window on which a retraining is decided."""


def edit_policy(folder: Path, **sections: dict[str, object]) -> None:
    """Change keys of trimtab.yaml, section by section."""
    path = folder / "trimtab.yaml"
    policy = yaml.safe_load(path.read_text())
    for section, changes in sections.items():
        policy.setdefault(section, {}).update(changes)
    path.write_text(yaml.safe_dump(policy, sort_keys=False))


def stop_everything(folder: Path) -> None:
    """End what runs for a project: loop, gateway, console, the process that reads its streams, its broker."""
    run_folder = folder / ".trimtab" / "run"
    found = (
        read_progress(run_folder),
        running_gateway(run_folder),
        read_ingestion(run_folder),
        running_broker(run_folder),
        running_console(run_folder),
    )
    for pid in [p.pid for p in found if p is not None]:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


class Up:
    """`trimtab up` as a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._options = options or ("--no-console",)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it steers."""
        (self.folder / ".trimtab" / "run").mkdir(parents=True, exist_ok=True)
        with (self.folder / ".trimtab" / "run" / "up.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trimtab.cli", "up", "-p", str(self.folder), "--port", "0", *self._options],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = self.process

        def steers() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"trimtab up ended: {self.log()}")
            progress = read_progress(self.folder / ".trimtab" / "run")
            return progress is not None and progress.pid == process.pid

        wait_for(steers, "trimtab up steers")

    def log(self) -> str:
        """Return what it printed."""
        return (self.folder / ".trimtab" / "run" / "up.log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL the steering process; the gateway is left alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)
