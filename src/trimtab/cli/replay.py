"""The verb replay, with its live view."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.loop.auto_approve import Reviewer
from trimtab.app.loop.steering import read_progress
from trimtab.app.loop.up import Stop
from trimtab.app.project.locks import REPLAY, locked
from trimtab.app.project.process_files import send_signal
from trimtab.app.project.workspace import Workspace
from trimtab.app.replay.client import Client
from trimtab.app.replay.replay import Replay, Tally
from trimtab.app.reports.summary import other_predictions, summarise
from trimtab.cli.context import Context, Verbs, option_time
from trimtab.cli.live import LoopView
from trimtab.cli.terminal import console
from trimtab.cli.views import show_summary
from trimtab.errors import StageError, StoreError, UsageError
from trimtab.serving.processes.listening import Announcement

app = Verbs()

STOP_SECONDS = 30.0
POLL_SECONDS = 0.05
SIGINT, SIGKILL = 2, 9


@app.verb(model=True, json=False)
def replay(
    context: Context,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="Start of the replay, in event time.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="Event time at which to stop.")],
    up: Annotated[bool, typer.Option("--up/--no-up", help="Start `trimtab up` for the replay when it is off.")] = True,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve reviews as they come, as a person at the desk would.")
    ] = False,
    measured: Annotated[
        bool,
        typer.Option(
            "--measured",
            help="Let latency, processor time and the gateway's guard decide, too. The result then depends on this "
            "machine.",
        ),
    ] = False,
) -> None:
    """Play a table as live traffic in event time.

    The table is that of a model's examples. At the end the replay shows what the loop did.
    """
    first, last = option_time("--from", start), option_time("--to", end)
    assert first is not None
    assert last is not None
    if last <= first:
        raise UsageError(f"--to {end} must be later than --from {start}")
    run_replay(
        context.workspace,
        env=context.env,
        model=context.model,
        start=first,
        end=last,
        up=up,
        approve=approve,
        measured=measured,
    )


def run_replay(
    ws: Workspace,
    *,
    env: str,
    model: str | None,
    start: datetime,
    end: datetime,
    up: bool,
    approve: bool,
    measured: bool = False,
) -> None:
    """Replay with a live view and print the summary. Exit code 1 when a request failed."""
    definition = ws.model(model)
    warn_of_others(ws, definition.name, start)
    answer = Reviewer(ws, definition.name).step if approve else None
    play = Replay(ws, definition, start=start, end=end, answer=answer, measured=measured)
    stop = Stop()
    stop.install()
    why = "Two replays would send the same rows twice: wait for its end, or stop it first"
    with locked(ws, REPLAY, "trimtab replay", why=why), _loop(ws, env, start=up) as gateway:
        warn_of_training(play, start)
        client = Client(url_of(gateway), ws.clock)
        bar = _bar()
        task = bar.add_task("", total=play.rows.height, moment="", failed=0)
        view = LoopView(ws, definition.name)
        with Live(Group(view, bar), console=console, refresh_per_second=4):

            def tell(tally: Tally) -> None:
                shown = f"{tally.moment:%Y-%m-%d}" if tally.moment else "nothing new"
                bar.update(task, completed=tally.sent, failed=tally.failed, moment=shown)

            tally = play.run(client, tell=tell, stopping=stop)
        client.close()
    show_summary(console, summarise(ws, definition.name), failed=tally.failed + tally.labels_failed)
    for error in tally.errors:
        console.print(f"failed: {error}", style="red", soft_wrap=True, markup=False)
    if tally.failed or tally.labels_failed:
        raise typer.Exit(1)
    if stop.requested:
        console.print("stopped before the end; the same command goes on from here")
        raise typer.Exit(130)


def warn_of_others(ws: Workspace, model: str, start: datetime) -> None:
    """Tell a person that the log holds predictions that no replay sent, and what becomes of them."""
    others = other_predictions(ws, model)
    if not others.predictions or others.newest is None:
        return
    texts = [
        f"the log holds {others.predictions:,} predictions of model '{model}' that no replay sent: windows and "
        "decisions count them, the comparison at the end leaves them out"
    ]
    if others.newest > start:
        texts.append(
            f"their event times go up to {others.newest:%Y-%m-%d %H:%M} UTC: replayed rows before the window of that "
            "moment come too late, and the loop judges no window of them; replay in a copy of the project without "
            ".trimtab/ to see what the loop does"
        )
    for text in texts:
        console.print(text, style="yellow", soft_wrap=True)


def warn_of_training(play: Replay, start: datetime) -> None:
    """Tell a person that a version in service was trained on rows that are to be replayed."""
    for version, until in play.trained_on():
        console.print(
            f"version {version} was trained on rows up to {until:%Y-%m-%d %H:%M} UTC: on replayed rows before then it "
            "looks better than on new ones. To replay rows that no model has seen, copy the project without .trimtab/, "
            f"and there, before the replay: trimtab run --as-of {start:%Y-%m-%dT%H:%M:%SZ}",
            style="yellow",
            soft_wrap=True,
        )


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.fields[moment]}"),
        BarColumn(bar_width=40),
        TextColumn("{task.completed:,} of {task.total:,} requests"),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
    )


@contextmanager
def _loop(ws: Workspace, env: str, *, start: bool) -> Iterator[Announcement]:
    """Use the loop that runs, or run one for the time of the replay."""
    found = running_gateway(ws.run_folder)
    if found and (read_progress(ws.run_folder) or not start):
        yield found
        return
    if not start:
        raise StageError("no gateway runs for this project; start one with: trimtab up")
    log_path = ws.run_folder / "up.log"
    command = [
        sys.executable,
        "-m",
        "trimtab.cli",
        "up",
        "--project",
        str(ws.project.folder),
        "--env",
        env,
        "--port",
        "0",
    ]
    with log_path.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield _wait(ws, child, log_path)
    finally:
        send_signal(child.pid, SIGINT)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            send_signal(child.pid, SIGKILL)


def _wait(ws: Workspace, child: subprocess.Popen[bytes], log_path: Path) -> Announcement:
    while child.poll() is None:
        found = running_gateway(ws.run_folder)
        if found and read_progress(ws.run_folder):
            return found
        ws.clock.sleep(POLL_SECONDS)
    raise StoreError(f"the loop did not start: {log_path.read_text(errors='replace').strip()[-2000:]}")
