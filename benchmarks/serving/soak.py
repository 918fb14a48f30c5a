"""`python -m benchmarks.serving.soak --minutes 10 --changes 100 [--workers N] [--durability MODE]`

Load by entity key while what serves changes over and over. Then every acknowledged prediction is looked for in the
log. Exit code 1 unless: no request failed, none is lost or doubled, each role got its share in each revision (within
3 standard deviations), every entity kept its role, and every change took effect.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.serving.audit import MAX_SIGMA, compare_books, shares, stickiness
from benchmarks.serving.changes import endless, weights, write
from benchmarks.serving.clients import Clients, Seen
from benchmarks.serving.gateway_server import Options, gateway, open_book, read_log
from benchmarks.serving.model import fit, make_project, requests_of
from benchmarks.serving.processes import memory
from benchmarks.serving.servers import NotRunning, Server, running
from benchmarks.serving.table import ROW
from trimtab.clock import SystemClock

VERSIONS = 5
TREES = 100
MAX_S = 1.0


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
        models = {version: fit(version, trees=TREES) for version in range(1, VERSIONS + 1)}
        make_project(project, models, {1: ("champion", 100.0)})
        options = Options(workers=given.workers, durability=given.durability)
        with running(gateway("soak", "soak", project, Path(folder) / "work", options), ROW) as server:
            with Clients(
                server.port,
                requests_of(server.target, given.entities),
                entities=given.entities,
                connections=given.connections,
                per_second=given.per_second,
                seed=given.seed,
            ) as clients:
                slowest = _change(given, server, clients.seen, project)
            print(f"memory at the end: {memory(server.process.pid)}")
        return _judge(clients.seen, project, slowest)


def _change(given: argparse.Namespace, server: Server, seen: Seen, project: Path) -> list[float]:
    """Write the changes, evenly over the time; return how long each took to reach the clients."""
    clock, book = SystemClock(), open_book(project)
    coming = endless(VERSIONS, seed=given.seed)
    pause_s, took = 60 * given.minutes / (given.changes + 1), []
    due = time.perf_counter() + pause_s
    for done in range(given.changes):
        clock.sleep(max(0.0, due - time.perf_counter()))
        due += pause_s
        change = next(coming)
        place = len(seen.acknowledged)
        began = time.perf_counter()
        number = write(book, change, clock)
        took.append(_until_seen(seen, place, number, began, patience_s=max(30.0, pause_s)))
        if (done + 1) % 10 == 0:
            print(
                f"{done + 1} changes, {len(seen.acknowledged)} answers, {len(seen.failures)} failures, "
                f"slowest change {max(took):.2f} s, {memory(server.process.pid).tree:.0f} MB",
                flush=True,
            )
    clock.sleep(max(0.0, due - time.perf_counter()))
    book.close()
    return took


def _until_seen(seen: Seen, place: int, number: int, began: float, *, patience_s: float) -> float:
    """Return the seconds until a client was answered under a revision; infinite when none was."""
    while time.perf_counter() - began < patience_s:
        answers = seen.acknowledged
        while place < len(answers):
            if answers[place].revision >= number:
                return time.perf_counter() - began
            place += 1
        SystemClock().sleep(0.005)
    return float("inf")


def _judge(seen: Seen, project: Path, took: list[float]) -> int:
    book = open_book(project)
    given = weights(book)
    book.close()
    books = compare_books(seen.acknowledged, read_log(project))
    parts, sticky = shares(seen.acknowledged, given), stickiness(seen.acknowledged, given)
    split = [part for part in parts if 0 < part.weight < 1]
    far = [part for part in parts if part.sigmas > MAX_SIGMA]
    worst = max(parts, key=lambda part: part.sigmas)
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
        (max(took) < MAX_S, f"{len(took)} changes took effect, the slowest after {max(took):.2f} s"),
    ]
    print(
        f"\np50 {seen.quantile_ms(0.5):.2f} ms, p99 {seen.quantile_ms(0.99):.2f} ms, slowest "
        f"{seen.quantile_ms(1.0):.1f} ms; {books.other_rows} rows scored beside"
    )
    for held, text in lines:
        print(f"  {'held  ' if held else 'MISSED'}  {text}")
    return 0 if all(held for held, _ in lines) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NotRunning as error:
        sys.exit(f"the gateway {error}")
