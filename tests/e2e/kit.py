"""What the tests of the whole loop share: commands as a user types them, and processes that are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import yaml

from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.loop.steering import read_progress
from trimtab.app.project.process_files import is_running
from trimtab.app.project.workspace import Workspace
from trimtab.clock import SystemClock
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft
from trimtab.control.ledger import Ledger
from trimtab.records.control import Decision
from trimtab.records.monitoring import WindowReport

CARRIERS = ("UA", "MQ")
TRAINED_UNTIL = datetime(2013, 3, 1, 5, tzinfo=UTC)
LAST_DAY = datetime(2013, 4, 15, tzinfo=UTC)
PATIENCE_SECONDS = 90.0
WINDOW = (datetime(2013, 3, 12, tzinfo=UTC), datetime(2013, 3, 13, tzinfo=UTC))


def trimtab(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would."""
    command = [sys.executable, "-m", "trimtab.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if check and done.returncode:
        raise AssertionError(f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition, or fail saying what was waited for."""
    clock = SystemClock()
    start = clock.now()
    while not condition():
        if (clock.now() - start).total_seconds() > seconds:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        clock.sleep(0.02)


def edit_policy(folder: Path, **sections: dict[str, object]) -> None:
    """Change keys of trimtab.yaml, section by section."""
    path = folder / "trimtab.yaml"
    policy = yaml.safe_load(path.read_text())
    for section, changes in sections.items():
        policy.setdefault(section, {}).update(changes)
    path.write_text(yaml.safe_dump(policy, sort_keys=False))


def stop_everything(folder: Path) -> None:
    """End the loop and the gateway of a project, if they run."""
    run_folder = folder / ".trimtab" / "run"
    progress, gateway = read_progress(run_folder), running_gateway(run_folder)
    for pid in [p.pid for p in (progress, gateway) if p is not None]:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


class Up:
    """`trimtab up` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it steers."""
        (self.folder / ".trimtab" / "run").mkdir(parents=True, exist_ok=True)
        with (self.folder / ".trimtab" / "run" / "up.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trimtab.cli", "up", "-p", str(self.folder), "--port", "0"],
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

        wait_until(steers, "trimtab up steers")

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
        return self.process.wait(60)


def order_retraining(workspace: Workspace, action: Literal["retrain", "review"] = "retrain") -> Decision:
    """Write the decision that the controller writes on a severe window of high impact."""
    window = WindowReport(
        id="delay/v1/2013-03-12/matured",
        created_at=workspace.now(),
        model="delay",
        version=1,
        role="champion",
        stage="matured",
        start=WINDOW[0],
        end=WINDOW[1],
        rows=400,
        served_rows=400,
        labelled=390,
        coverage=0.975,
        metrics={},
    )
    draft = Draft(
        cause=Cause(window=window, signals=()),
        band="severe",
        impact_per_day=2000.0,
        impact="high",
        cell="retrain",
        action=action,
        reasons=("the test orders a retraining",),
    )
    ledger = Ledger(workspace.metadata, "delay")
    decision = ledger.append(draft, clock=workspace.clock)
    assert decision is not None
    return decision
