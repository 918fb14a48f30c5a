"""`python -m benchmarks.serving.kills --times 50 [--workers N] [--durability MODE]`

kill -9 under load, in turn: of a worker, of the parent, of all processes. The gateway must restart a worker by itself;
after the other kills this program starts the gateway again. Then it looks for every acknowledged prediction in the log.
Exit code 1 unless none is lost or doubled, the service was back every time, no worker outlived its parent, and every
entity kept its role.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from benchmarks.serving.audit import compare_books, stickiness
from benchmarks.serving.clients import Clients, Seen
from benchmarks.serving.gateway_server import Options, gateway, read_log, worker_pids
from benchmarks.serving.model import Roles, fit, make_project, requests_of
from benchmarks.serving.processes import tree
from benchmarks.serving.servers import NotRunning, free_port, start, stop, until_answered, unwinding
from benchmarks.serving.table import ROW
from benchmarks.serving.targets import Target
from trimtab.clock import SystemClock

TREES = 100
SPLIT: Roles = {1: ("champion", 90.0), 2: ("challenger", 10.0)}
KINDS = ("worker", "parent", "everything")
ANSWERS_BETWEEN = 200
"""So many at least are acknowledged between two kills."""
ORPHANS_S = 20.0
"""Workers without a parent are to end within this time."""
BACK_S = 60.0


@dataclass
class Outcome:
    """The results of the kills."""

    back_s: dict[str, list[float]] = field(default_factory=dict)
    """Kind of kill -> seconds until the service was whole again (an answer, and all workers)."""
    orphans: int = 0
    never_back: list[str] = field(default_factory=list)


class Gateway:
    """A gateway that is killed and started again on the same port and project."""

    def __init__(self, target: Target, workers: int) -> None:
        self.target, self.port = target, free_port()
        self._workers = workers
        self.outcome = Outcome()
        self.process = start(target, self.port)
        self._wait()

    def kill(self, kind: str, chance: random.Random, answered: Callable[[], int]) -> None:
        """Kill, start again where that is needed, and wait until the service is whole."""
        began = time.perf_counter()
        victims = self._pids()
        if kind == "worker":
            victims = {chance.choice(sorted(victims))}
            _kill(*victims)
        elif kind == "parent":
            _kill(self.process.pid)
            self.process.wait()
            self.outcome.orphans += _outlived(victims)
        else:
            for one in tree(self.process.pid):
                _kill(one.pid)
            self.process.wait()
        if kind != "worker":
            self.process = start(self.target, self.port)
            self._wait()
        before = answered()
        while answered() == before or len(self._pids() - victims) < self._workers:
            if time.perf_counter() - began > BACK_S or self.process.poll() is not None:
                self.outcome.never_back.append(kind)
                return
            SystemClock().sleep(0.005)
        self.outcome.back_s.setdefault(kind, []).append(time.perf_counter() - began)

    def close(self) -> None:
        """End it as one does."""
        stop(self.process)

    def _wait(self) -> None:
        """Wait for the first answer and for all workers. Raises NotRunning."""
        began = time.perf_counter()
        try:
            until_answered(self.target, self.port, self.process, ROW)
            while len(self._pids()) < self._workers:
                if time.perf_counter() - began > BACK_S:
                    raise NotRunning(f"has {len(self._pids())} of {self._workers} workers after {BACK_S:.0f} s")
                SystemClock().sleep(0.005)
        except NotRunning:
            stop(self.process)
            raise

    def _pids(self) -> set[int]:
        return worker_pids(self.target.folder, self.process.pid)


def main() -> int:
    """Kill a gateway over and over and judge it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.kills")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--durability", choices=("acknowledged", "interval"), default="acknowledged")
    parser.add_argument("--per-second", type=float, default=1_000.0, help="requests")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--entities", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trimtab-kills-") as folder:
        project = Path(folder) / "project"
        models = {version: fit(version, trees=TREES) for version in (1, 2)}
        make_project(project, models, SPLIT)
        options = Options(workers=given.workers, durability=given.durability)
        target = gateway("kills", "kills", project, Path(folder) / "work", options)
        with (
            unwinding(),
            closing(Gateway(target, given.workers)) as killed,
            Clients(
                killed.port,
                requests_of(target, given.entities),
                entities=given.entities,
                connections=given.connections,
                per_second=given.per_second,
                seed=given.seed,
            ) as clients,
        ):
            _kill_all(killed, clients.seen, given.times, given.seed)
        return _judge(killed, clients.seen, project)


def _kill_all(killed: Gateway, seen: Seen, times: int, seed: int) -> None:
    chance, clock = random.Random(seed), SystemClock()
    for number in range(times):
        kind = KINDS[number % len(KINDS)]
        enough = len(seen.acknowledged) + ANSWERS_BETWEEN
        while len(seen.acknowledged) < enough:
            clock.sleep(0.005)
        clock.sleep(chance.random() * 0.3)
        killed.kill(kind, chance, lambda: len(seen.acknowledged))
        if (number + 1) % 10 == 0:
            print(f"{number + 1} kills, {len(seen.acknowledged)} answers, {len(seen.failures)} broken", flush=True)
    clock.sleep(0.5)


def _judge(killed: Gateway, seen: Seen, project: Path) -> int:
    outcome, books = killed.outcome, compare_books(seen.acknowledged, read_log(project))
    sticky = stickiness(seen.acknowledged, {1: {role: weight / 100 for role, weight in SPLIT.values()}})
    for kind, took in outcome.back_s.items():
        print(f"  kill -9 of {kind:10} {len(took):3} times, back after {median(took):.2f} s, at most {max(took):.2f} s")
    print(
        f"  {len(seen.failures)} requests broke while processes died; {books.unheard} rows are in the log whose answer "
        "did not get through"
    )
    lines = [
        (not books.lost, f"{books.lost} lost of {books.acknowledged} acknowledged"),
        (not books.doubled, f"{books.doubled} doubled of {books.served_rows} rows that the log calls served"),
        (not books.different, f"{books.different} logged otherwise than answered {books.example}"),
        (
            not sticky.strayed,
            f"{sticky.strayed} of {sticky.repeated} repeated answers came from another role, restarts or not",
        ),
        (not outcome.never_back, f"{len(outcome.never_back)} times the service was not back in {BACK_S:.0f} s"),
        (not outcome.orphans, f"{outcome.orphans} workers outlived their parent by {ORPHANS_S:.0f} s"),
    ]
    for held, text in lines:
        print(f"  {'held  ' if held else 'MISSED'}  {text}")
    return 0 if all(held for held, _ in lines) else 1


def _kill(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).send_signal(signal.SIGKILL)


def _outlived(pids: set[int]) -> int:
    """Wait for workers whose parent is gone; kill those that stay and return how many."""
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, ORPHANS_S)
    for one in alive:
        _kill(one.pid)
    psutil.wait_procs(alive, ORPHANS_S)
    return len(alive)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NotRunning as error:
        sys.exit(f"the gateway {error}")
