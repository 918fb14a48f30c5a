"""A replay from its command to its last answer: the lock, the loop that it needs, the warnings, the traffic."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.project.locks import REPLAY, locked
from trimtab.app.project.process_files import read_progress, send_signal
from trimtab.app.project.workspace import Workspace
from trimtab.app.replay.client import Client
from trimtab.app.replay.replay import Replay, Tally
from trimtab.app.reports.summary import other_predictions
from trimtab.control.resolve import resolve
from trimtab.control.reviews import pending_reviews
from trimtab.definitions.models import Model
from trimtab.errors import StageError, StoreError
from trimtab.serving.processes.listening import Announcement
from trimtab.units import plural

STOP_SECONDS = 90.0
POLL_SECONDS = 0.05
SHOWN_LOG = 2000
"""Characters of the loop's log that an error shows."""
APPROVED_BY = "replay"
APPROVED_REASON = "approved by the replay's --approve, in the place of a person"


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """What a replay is asked for.

    start, end: event times of the first row and after the last one. start_loop: run `trimtab up` for the time of the
    replay when it is off. approve: approve reviews as they come. measured: let what this machine measures decide.
    """

    environment: str
    start: datetime
    end: datetime
    start_loop: bool = True
    approve: bool = False
    measured: bool = False


View = Callable[[Replay], AbstractContextManager[Callable[[Tally], None]]]
"""Shows the progress of a replay: a context that gives the function to call after each tick."""


def run_replay(
    workspace: Workspace,
    model: Model,
    options: ReplayOptions,
    *,
    stopping: Callable[[], bool],
    warn: Callable[[str], None],
    view: View,
) -> Tally:
    """Replay the examples of a model, with the running loop or with one of its own.

    Raises Locked when another replay runs, StageError without a gateway, a row or a deployed bundle, StoreError when
    loop or gateway do not come up or stop answering.
    """
    for text in warnings_of_others(workspace, model.name, options.start):
        warn(text)
    answer = (lambda: approve_reviews(workspace, model.name)) if options.approve else None
    play = Replay(workspace, model, start=options.start, end=options.end, answer=answer, measured=options.measured)
    why = "Two replays would send the same rows twice: wait for its end, or stop it first"
    with (
        locked(workspace, REPLAY, "trimtab replay", why=why),
        running_loop(workspace, options.environment, start=options.start_loop) as gateway,
    ):
        for text in warnings_of_training(play, options.start):
            warn(text)
        client = Client(url_of(gateway), workspace.clock)
        try:
            with view(play) as tell:
                return play.run(client, tell=tell, stopping=stopping)
        finally:
            client.close()


def approve_reviews(workspace: Workspace, model: str) -> int:
    """Approve all open reviews of a model that propose a retraining; return how many."""
    pending = pending_reviews(workspace.metadata, model)
    for decision in pending:
        resolve(
            workspace.metadata,
            decision.id,
            "approve",
            reason=APPROVED_REASON,
            by=APPROVED_BY,
            clock=workspace.clock,
        )
    return len(pending)


def warnings_of_others(workspace: Workspace, model: str, start: datetime) -> Iterator[str]:
    """Yield what follows from predictions in the log that no replay sent."""
    others = other_predictions(workspace, model)
    if others.newest is None:
        return
    yield (
        f"the log holds {plural(others.predictions, 'prediction')} of model '{model}' that no replay sent; windows "
        "and decisions count all of them, the comparison at the end leaves them out"
    )
    if others.newest > start:
        yield (
            f"their event times go up to {others.newest:%Y-%m-%d %H:%M} UTC: replayed rows before the window of that "
            "time come too late, and the loop judges no window of them; replay in a copy of the project without "
            ".trimtab/ to see what the loop does"
        )


def warnings_of_training(play: Replay, start: datetime) -> Iterator[str]:
    """Yield which versions in service were trained on rows that are to be replayed."""
    for version, until in play.trained_on():
        yield (
            f"version {version} was trained on rows up to {until:%Y-%m-%d %H:%M} UTC: on replayed rows before then it "
            "looks better than on new ones. To replay rows that no model has seen, copy the project without .trimtab/, "
            f"and there, before the replay: trimtab run --as-of {start:%Y-%m-%dT%H:%M:%SZ}"
        )


@contextmanager
def running_loop(workspace: Workspace, environment: str, *, start: bool) -> Iterator[Announcement]:
    """Use the gateway and loop that run; with `start`, run them for the time of the context when they do not.

    Raises StageError when nothing runs and `start` is False, StoreError when the loop does not start.
    """
    found = running_gateway(workspace.run_folder)
    if found and (read_progress(workspace.run_folder) or not start):
        yield found
        return
    if not start:
        raise StageError("no gateway runs for this project; start one with: trimtab up")
    log_path = workspace.run_folder / "up.log"
    command = [sys.executable, "-m", "trimtab.cli", "up", "--no-console", "--port", "0"]
    command += ["--project", str(workspace.project.folder), "--env", environment]
    with log_path.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield _started(workspace, child, log_path)
    finally:
        send_signal(child.pid, signal.SIGINT)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            send_signal(child.pid, signal.SIGKILL)


def _started(workspace: Workspace, child: subprocess.Popen[bytes], log_path: Path) -> Announcement:
    """Wait until gateway and loop of a child process run. Raises StoreError with its log when it ends before."""
    while child.poll() is None:
        found = running_gateway(workspace.run_folder)
        if found and read_progress(workspace.run_folder):
            return found
        workspace.clock.sleep(POLL_SECONDS)
    raise StoreError(f"the loop did not start: {log_path.read_text(errors='replace').strip()[-SHOWN_LOG:]}")
