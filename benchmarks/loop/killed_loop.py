"""`python -m benchmarks.loop.killed_loop FOLDER [--kill] [--every N]`: what kill_points.py starts and ends itself.

It plays days of traffic into the prediction log of a project and lets the loop (monitor, controller, workflows) work on
each until nothing is left to do. What serves is read from the records, and its bundles score the rows; no gateway runs.
With `--kill` it ends itself by SIGKILL at the first point that it meets and that no process before it was killed at:
just before and after each record of control is written, each workflow is started, each of its steps is recorded, and
each message is sent to one. On some days a person acts: holds rows and lets them in, freezes and unfreezes, asks for a
retraining by the API. With `--every N` one point of N kills, chosen by its name.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from dbos import DBOS

from trimtab.app.loop.steering import Steering
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.bundle.spec import read_spec
from trimtab.clock import SystemClock, from_micros
from trimtab.control.holds import set_freeze
from trimtab.control.resolve import resolve
from trimtab.control.reviews import pending_reviews
from trimtab.control.suspects import hold, let_in
from trimtab.errors import NotFound
from trimtab.records.control import (
    Decision,
    Freeze,
    Resolution,
    RetrainRequest,
    Suspicion,
    SuspicionEnd,
    WorkflowStep,
)
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import Comparison
from trimtab.records.record import Record
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.runtimes.opening import open_scorer
from trimtab.serving.inbox import RETRAININGS, AskedRetraining, Inbox, inbox
from trimtab.stores.metadata.contract import latest
from trimtab.testing import streams

MODEL = "delay"
TRAINED_DAYS, LAST_DAY = 45, 58
WORLD = streams.World(rows=200)
FAILING_DAY = 55
"""On this day the champion fails on half of the rows, which breaks a limit."""
UNIT_DAY, UNIT = 50, 1000.0
"""On this day the wind is sent in another unit where the policy has a quarantine."""
HELD_DAY, HOLDS, LETS_IN = 47, 49, 52
"""The rows of this day are held by a person before another day, and let in before a third."""
FREEZES, UNFREEZES = 52, 53
ASKS = 54
"""Before this day a client asks for a retraining."""
POINTS, PLAYED = "kill_points.txt", "played.txt"
CONTROL: tuple[type[Record], ...] = (
    Decision, Freeze, Resolution, RetrainRequest, Suspicion, SuspicionEnd, WorkflowStep, GateReport, Revision, Bundle,
    Comparison, DatasetVersion, Run,
)  # fmt: skip
BY_NATURE: tuple[type[Record], ...] = (GateReport, Bundle, DatasetVersion, Run)
"""Their ids may differ between two runs, so a point is named by their number instead."""
LIBRARIES = ("mlflow", "sklearn.linear_model", "skl2onnx", "onnxruntime", "deltalake")
QUIET_STEPS = 3
"""Steps of the loop in a row that find nothing to do, before the next day begins."""
PAUSE_S = 0.01


class Killer:
    """Ends this process at points that no process before it was killed at; every: at one of so many."""

    def __init__(self, folder: Path, every: int) -> None:
        self._every = every
        self._path = folder / POINTS
        self._met = set(self._path.read_text().splitlines()) if self._path.exists() else set()
        self._lock = threading.Lock()

    def at(self, point: str) -> None:
        """Note a point and end the process, the first time that any process meets it."""
        with self._lock:
            if point in self._met or zlib.crc32(point.encode()) % self._every:
                return
            with self._path.open("a") as file:
                file.write(point + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.kill(os.getpid(), signal.SIGKILL)

    def arm(self, workspace: Workspace, steering: Steering) -> None:
        """Put a point before and after all that the controller and its workflows do."""
        metadata, retraining = workspace.metadata, steering._retraining
        put, start, tell, run_step = metadata.put, retraining.start, retraining.tell, DBOS.run_step

        def killing_put(*records: Record) -> None:
            names = [_name(workspace, record) for record in records if isinstance(record, CONTROL)]
            for name in names:
                self.at(f"before put {name}")
            put(*records)
            for name in names:
                self.at(f"after put {name}")

        def around(what: str, function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
            def killing(*args: Any, **kwargs: Any) -> Any:
                self.at(f"before {what} {name(*args)}")
                done = function(*args, **kwargs)
                self.at(f"after {what} {name(*args)}")
                return done

            return killing

        def killing_step(options: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            name = f"{options['name']} of {args[0] if args else ''}"
            executed: list[bool] = []

            def noted(*args: Any, **kwargs: Any) -> Any:
                executed.append(True)
                return function(*args, **kwargs)

            done = run_step(options, noted, *args, **kwargs)
            if executed:
                self.at(f"after step {name}")
            return done

        metadata.put = killing_put  # type: ignore[method-assign]
        retraining.start = around("start", start, lambda decision: decision.id)  # type: ignore[method-assign]
        told = around("tell", tell, lambda workflow, topic, message: f"{workflow} {topic}")
        retraining.tell = told  # type: ignore[method-assign]
        DBOS.run_step = killing_step  # type: ignore[method-assign, assignment]


def _name(workspace: Workspace, record: Record) -> str:
    """Return a name of a record that is the same in each run; a record that is stored has the name of a new one."""
    if not isinstance(record, BY_NATURE):
        return f"{record.KIND} {record.id}"
    kind = type(record)
    try:
        workspace.metadata.get(kind, record.id)
    except NotFound:
        return f"{record.KIND} number {workspace.metadata.count(kind) + 1}"
    return f"{record.KIND} that is stored"


def play_day(workspace: Workspace, number: int) -> None:
    """Write the labels that became known by a day, and its rows as what serves scores them."""
    days = {n: WORLD.day(n) for n in range(max(TRAINED_DAYS, number - streams.KEPT_DAYS), number + 1)}
    start = (streams.FIRST_DAY + number) * streams.DAY
    streams.log_labels(workspace.predictions, days, after=start - streams.DAY, until=start, model=MODEL)
    day, revision = days[number], latest(workspace.metadata, Revision, model=MODEL)
    unit = UNIT if number == UNIT_DAY and workspace.project.policy.retrain.refresh is not None else 1.0
    sent = (day.X * [1, unit, 1, 1]).astype(np.float32)
    assert revision is not None
    for assignment in revision.assignments:
        bundle = workspace.metadata.get(Bundle, assignment.bundle)
        folder = workspace.artifacts.open(bundle.path)
        scores = open_scorer(folder, read_spec(folder), trust=()).score(sent).astype(np.float64).tolist()
        failing = number == FAILING_DAY and assignment.role == "champion"
        score = [None if failing and row % 2 else value for row, value in enumerate(scores)]
        count = len(score)
        workspace.predictions.append(
            {
                "prediction_id": [f"{MODEL}-{number}-{row}" for row in range(count)],
                "model": [MODEL] * count,
                "version": [assignment.version] * count,
                "role": [assignment.role] * count,
                "served": [assignment.role == "champion"] * count,
                "route": ["split"] * count,
                "revision": [revision.number] * count,
                "event_time": day.times.tolist(),
                "logged_at": day.times.tolist(),
                "entities": [None] * count,
                "features": list(sent),
                "score": score,
                "confidence": [None if value is None else max(value, 1 - value) for value in score],
                "latency_us": [2000] * count,
                "cpu_us": [80] * count,
                "error": ["the model failed" if value is None else None for value in score],
            }
        )


def answer(workspace: Workspace) -> None:
    """Approve the first review, in the place of a person; the others expire."""
    answers = workspace.metadata.find(Resolution, model=MODEL)
    for review in pending_reviews(workspace.metadata, MODEL):
        if not any(each.verdict == "approve" for each in answers):
            resolve(workspace.metadata, review.id, "approve", "a person has looked", "ann", workspace.clock)


def act(workspace: Workspace, number: int) -> None:
    """Do what a person or a client does before a day, but for what is on record already."""
    metadata, clock = workspace.metadata, workspace.clock
    of_day = [from_micros((streams.FIRST_DAY + HELD_DAY + n) * streams.DAY) for n in (0, 1)]
    if number == HOLDS and not any(s.rule == "person" for s in metadata.find(Suspicion)):
        hold(metadata, MODEL, *of_day, reason="a sensor was cleaned", by="ann", clock=clock)
    if number == LETS_IN and not any(
        e.outcome == "let_in" and e.start == of_day[0] for e in metadata.find(SuspicionEnd)
    ):
        let_in(metadata, MODEL, *of_day, reason="the rows are right", by="ann", clock=clock)
    for day, frozen in ((FREEZES, True), (UNFREEZES, False)):
        if number == day and not any(f.frozen == frozen for f in metadata.find(Freeze)):
            set_freeze(metadata, MODEL, frozen=frozen, reason="the fair", by="ann", clock=clock)
    if number == ASKS:
        asked = AskedRetraining(model=MODEL, id="fair", reason="the fair is over", by="ann", received_at=1)
        Inbox(inbox(workspace.run_folder, RETRAININGS), "worker", [MODEL]).keep([asked])


def main() -> int:
    """Play the days that are left, in one process after the other; return 0 at their end.

    This process has imported what a loop needs and does nothing else; each process that plays is a fork of it.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop.killed_loop")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args()
    for library in LIBRARIES:
        import_module(library)
    kills = 0
    while True:
        if (pid := os.fork()) == 0:
            play(given.folder, every=given.every if given.kill else 0)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != -signal.SIGKILL:
            return code
        kills += 1
        if kills % 20 == 0:
            print(f"{kills} kills so far", flush=True)


def play(folder: Path, *, every: int) -> None:
    """Play the days that are left, and end by the first point that no process before was killed at; 0: by none."""
    workspace = open_workspace(folder)
    played = folder / PLAYED
    steering = Steering(workspace)
    if every:
        Killer(folder, every).arm(workspace, steering)
    steering.launch()
    first = int(played.read_text()) if played.exists() else TRAINED_DAYS - 1
    _settle(steering)
    for number in range(first + 1, LAST_DAY + 1):
        act(workspace, number)
        _settle(steering)
        answer(workspace)  # once all reviews of the days before are asked, so that a new process answers the same ones
        _settle(steering)
        play_day(workspace, number)
        played.write_text(str(number))
        _settle(steering)
    steering.close()


def _settle(steering: Steering) -> None:
    """Let the loop work until there is nothing to do."""
    clock, quiet = SystemClock(), 0
    while quiet < QUIET_STEPS:
        found = steering.step()
        quiet = 0 if found or steering._busy else quiet + 1
        clock.sleep(PAUSE_S)


if __name__ == "__main__":
    sys.exit(main())
