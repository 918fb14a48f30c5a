"""`python -m benchmarks.serving.soak --minutes 10 --changes 100 [--workers N] [--durability MODE]`

Load by entity key while verbs of the command line change the bundles in service many times, in a project whose models
were trained, gated and registered by the stages of the loop. Then it looks for every acknowledged prediction in the
log. Exit code 1 unless: no request failed, none is lost or doubled, each role got its share in each revision (within
3 standard deviations), every entity kept its role, and every verb had its effect at once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.serving.audit import MAX_SIGMA, compare_books, shares, stickiness
from benchmarks.serving.changes import Change, endless, roles_of, weights
from benchmarks.serving.clients import Clients, Seen
from benchmarks.serving.gateway_server import Options, gateway, open_book, read_log
from benchmarks.serving.memories import Growth, Memories
from benchmarks.serving.model import MODEL
from benchmarks.serving.servers import NotRunning, running
from benchmarks.serving.soak_project import POLICY, alone_ask, requests_of
from benchmarks.serving.verbs import Failed, Operator
from trimtab import settings
from trimtab.clock import SystemClock
from trimtab.records.serving import Revision

VERSIONS = 5
MAX_S = 1.0
"""Between the writing of a revision and the first answer by it."""
MAX_GROWTH_MB = 10.0


@dataclass
class Changed:
    """The results of the changes."""

    effect_s: list[float] = field(default_factory=list)
    """From a revision's writing to the first answer by it."""
    verb_s: list[float] = field(default_factory=list)
    """From a verb's start to its end."""
    wrong: list[str] = field(default_factory=list)
    """Verbs that failed, or after which something else serves than should."""


def main() -> int:
    """Soak a gateway and judge it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--durability", choices=("acknowledged", "interval"), default="acknowledged")
    parser.add_argument("--per-second", type=float, default=1_000.0, help="requests")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--entities", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trimtab-soak-") as folder:
        project = Path(folder) / "project"
        _make(project)
        options = Options(workers=given.workers, durability=given.durability)
        target = gateway("soak", "soak", project, Path(folder) / "work", options, more=POLICY.replace("LEAVES", "10"))
        alone = alone_ask(target)
        with ExitStack() as stack:
            operator = stack.enter_context(Operator(project))
            operator.type("deploy", "--version", "1")
            operator.revision()
            server = stack.enter_context(running(replace(target, ask=lambda row: alone), ()))
            memories = stack.enter_context(Memories(server.process.pid))
            clients = Clients(
                server.port,
                requests_of(target, given.entities),
                entities=given.entities,
                connections=given.connections,
                per_second=given.per_second,
                seed=given.seed,
            )
            stack.enter_context(clients)
            changed = _change_all(given, clients.seen, operator)
        return _judge(clients.seen, project, changed, memories.growths())


def _make(project: Path) -> None:
    """Make the project in a process of its own, so that this one stays small and quick."""
    command = [sys.executable, "-m", "benchmarks.serving.soak_project", str(project), str(VERSIONS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings.child_environment())
    if done.returncode:
        raise NotRunning(f"has no project: {done.stderr.strip().splitlines()[-1]}")
    print(f"{VERSIONS} versions trained, gated and registered", flush=True)


def _change_all(given: argparse.Namespace, seen: Seen, operator: Operator) -> Changed:
    """Make the changes, evenly over the time."""
    clock, coming, changed = SystemClock(), endless(VERSIONS, seed=given.seed), Changed()
    pause_s = 60 * given.minutes / (given.changes + 1)
    due = time.perf_counter() + pause_s
    for number in range(2, given.changes + 2):
        clock.sleep(max(0.0, due - time.perf_counter()))
        due += pause_s
        change = next(coming)
        try:
            _make_one(change, number, seen, operator, changed, patience_s=max(30.0, pause_s))
        except Failed as error:
            changed.wrong.append(str(error))
            break  # what would come next fits what should serve now
        if (number - 1) % 10 == 0:
            print(
                f"{number - 1} changes, {len(seen.acknowledged)} answers, {len(seen.failures)} failures, "
                f"slowest change {max(changed.effect_s):.2f} s",
                flush=True,
            )
    clock.sleep(max(0.0, due - time.perf_counter()))
    return changed


def _make_one(
    change: Change, number: int, seen: Seen, operator: Operator, changed: Changed, *, patience_s: float
) -> None:
    """Type a verb and watch the clients' answers until one comes by revision `number`."""
    clock, place, began = SystemClock(), len(seen.acknowledged), time.perf_counter()
    operator.type(change.verb, *change.arguments)
    first, ended_s = None, 0.0
    while not (ended_s and first) and time.perf_counter() - began < patience_s:
        answers = seen.acknowledged
        while first is None and place < len(answers):
            if answers[place].revision >= number:
                first = clock.now()
            place += 1
        if not ended_s and operator.done:
            ended_s = time.perf_counter() - began
        clock.sleep(0.005)
    revision = operator.revision()
    changed.verb_s.append(ended_s)
    changed.effect_s.append((first - revision.created_at).total_seconds() if first else float("inf"))
    if (revision.number, revision.action, roles_of(revision)) != (number, change.action, change.roles):
        changed.wrong.append(f"{change} came out as {revision}")


def _judge(seen: Seen, project: Path, changed: Changed, growths: list[Growth]) -> int:
    book = open_book(project)
    revisions = book.find(Revision, model=MODEL)
    book.close()
    given = weights(revisions)
    books = compare_books(seen.acknowledged, read_log(project))
    parts, sticky = shares(seen.acknowledged, given), stickiness(seen.acknowledged, given)
    split = [part for part in parts if 0 < part.weight < 1]
    far = [part for part in parts if part.sigmas > MAX_SIGMA]
    worst = max(parts, key=lambda part: part.sigmas)
    grown = max(growths, key=lambda growth: growth.grown)
    strange = [one.id for one in revisions if one.by != settings.login()]
    slowest_s = max(changed.effect_s, default=0.0)
    lines = [
        (
            not seen.failures and not seen.unreachable,
            f"{len(seen.failures)} failed requests of {len(seen.took_ms)} {seen.failures[:1] or ''}, "
            f"{seen.unreachable} failed connections",
        ),
        (not books.lost, f"{books.lost} lost of {books.acknowledged} acknowledged"),
        (not books.doubled, f"{books.doubled} doubled of {books.served_rows} rows that the log calls served"),
        (not books.different, f"{books.different} logged otherwise than answered {books.example}"),
        (not books.unheard, f"{books.unheard} logged as served that no client heard of"),
        (
            not far,
            f"{len(far)} of {len(split)} shares further than {MAX_SIGMA:g} sigma from their weight; the furthest: "
            f"revision {worst.revision}, {worst.role} {worst.share:.2%} of {worst.entities} entities for "
            f"{worst.weight:.0%}, {worst.sigmas:.2f} sigma",
        ),
        (
            not sticky.strayed,
            f"{sticky.strayed} of {sticky.repeated} repeated answers came from another role "
            f"({1 - sticky.strayed / max(1, sticky.repeated):.2%} stickiness)",
        ),
        (not sticky.moved_wrongly, f"{sticky.moved_wrongly} entities moved against a change of weights"),
        (not changed.wrong, f"{len(changed.wrong)} verbs did something else than they say {changed.wrong[:1] or ''}"),
        (not strange, f"{len(strange)} revisions that no verb made {strange[:1] or ''}"),
        (
            slowest_s < MAX_S,
            f"{len(changed.effect_s)} changes took effect, the slowest {slowest_s:.2f} s after it was written",
        ),
        (
            grown.grown < MAX_GROWTH_MB,
            f"no process grew by {MAX_GROWTH_MB:g} MB; most the {grown.name} {grown.pid}: {grown.grown:+.1f} MB",
        ),
    ]
    print(
        f"\np50 {seen.quantile_ms(0.5):.2f} ms, p99 {seen.quantile_ms(0.99):.2f} ms, slowest "
        f"{seen.quantile_ms(1.0):.1f} ms; {books.other_rows} rows scored for comparison; a verb took "
        f"{median(changed.verb_s or [0.0]):.1f} s, the slowest {max(changed.verb_s, default=0.0):.1f} s"
    )
    for one in growths:
        print(
            f"  {one.name:10} {one.pid}: {one.first:6.1f} MB at first, {one.last:6.1f} MB at last ({one.grown:+.1f}), "
            f"{one.most:.1f} MB at most"
        )
    for held, text in lines:
        print(f"  {'held  ' if held else 'MISSED'}  {text}")
    return 0 if all(held for held, _ in lines) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (NotRunning, Failed) as error:
        sys.exit(f"the gateway {error}")
