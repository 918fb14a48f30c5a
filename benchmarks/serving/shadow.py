"""Tests whether a shadow that is five times slower than the champion slows the champion's answers.

Three gateways run in turn under the same paced load: two without a shadow, and one with it. Without any effect of it,
each of the three is the slowest of its round equally often. The test statistic is the sum of the ranks of the gateway
with the shadow (exact, one-sided; ties count against the shadow).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import onnxruntime

from benchmarks.serving.clients import Clients
from benchmarks.serving.gateway_server import Options, gateway, read_log
from benchmarks.serving.model import TREES, Model, Roles, fit, make_project, requests_of, sample
from benchmarks.serving.servers import NotRunning, Server, running
from benchmarks.serving.table import ROW
from trimtab.clock import SystemClock

SLOWER = 5.0
SHADOW = 3
PER_SECOND = 500.0
ENTITIES = 500
CONNECTIONS = 16
NOTICEABLE = 1.1
MAX_CHANCE = 0.05
"""Slower is what is slower by more than a tenth, and not by chance."""
ALONE: Roles = {1: ("champion", 100.0)}
WITH_SHADOW: Roles = {1: ("champion", 100.0), SHADOW: ("shadow", 0.0)}


def shadow(models: Mapping[int, Model], work: Path, *, seconds: int, rounds: int) -> bool:
    """Measure and print; return whether the champion's p99 with the shadow is within the noise."""
    slow, times = _slow(models[1])
    versions = {1: models[1], SHADOW: slow}
    print(f"\nA shadow whose graph takes {times:.1f} times as long, {PER_SECOND:.0f} requests a second, p99 in ms")
    names = ("without", "without again", "with")
    with ExitStack() as stack:
        servers = []
        for name in names:
            make_project(work / name / "project", versions, WITH_SHADOW if name == "with" else ALONE)
            target = gateway(name, name, work / name / "project", work / name / "work", Options())
            try:
                servers.append(stack.enter_context(running(target, ROW)))
            except NotRunning as error:
                print(f"  not measured: {error}")
                return False
        p99s: list[list[float]] = []
        sent = failed = 0
        for _ in range(rounds):
            p99s.append([])
            for place, server in enumerate(servers):
                p99, requests, failures = _paced(server, seconds)
                p99s[-1].append(p99)
                failed += failures
                sent += requests if names[place] == "with" else 0
    for place, name in enumerate(names):
        print(f"  {name:14} median {median(one[place] for one in p99s):7.2f}   " + _line(one[place] for one in p99s))
    ratio = median(shadowed / median((first, again)) for first, again, shadowed in p99s)
    noise = median(max(first / again, again / first) for first, again, _ in p99s)
    chance = slowest_by_chance([1 + (shadowed >= first) + (shadowed >= again) for first, again, shadowed in p99s])
    scored = sum(role == "shadow" for role in read_log(work / "with" / "project")["role"].to_pylist())
    held = not failed and (ratio <= NOTICEABLE or chance >= MAX_CHANCE)
    print(
        f"  with / without {ratio:.2f}, without / without {noise:.2f} (medians of {rounds} rounds); so slow by chance: "
        f"p = {chance:.3f}; {failed} failed; the shadow scored {scored} rows of {sent} requests: "
        f"{'held' if held else 'MISSED'}"
    )
    return held


def slowest_by_chance(ranks: Sequence[int]) -> float:
    """Return how likely ranks (1 to 3, one a round) add up to so much when each is as likely as the others."""
    ways = {0: 1}
    for _ in ranks:
        more: dict[int, int] = {}
        for total, count in ways.items():
            for rank in (1, 2, 3):
                more[total + rank] = more.get(total + rank, 0) + count
        ways = more
    return float(sum(count for total, count in ways.items() if total >= sum(ranks)) / 3 ** len(ranks))


def _line(values: Iterable[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def _slow(champion: Model) -> tuple[Model, float]:
    """Return a model whose graph takes at least SLOWER times the champion's time, and how many times it does."""
    trees, quick = int(TREES * SLOWER), _time(champion.graph)
    while True:
        slow = fit(SHADOW, trees=trees)
        times = _time(slow.graph) / quick
        if times >= SLOWER:
            return slow, times
        trees = int(trees * 1.5)


def _time(graph: bytes) -> float:
    """Return the seconds of one row, the median of many."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    row, took = {"X": sample(1)}, []
    for _ in range(300):
        began = time.perf_counter()
        session.run(["probabilities"], row)
        took.append(time.perf_counter() - began)
    return median(took)


def _paced(server: Server, seconds: int) -> tuple[float, int, int]:
    """Return the p99 (ms), how many requests were answered, and how many failed."""
    requests = requests_of(server.target, ENTITIES)
    clients = Clients(
        server.port, requests, entities=ENTITIES, connections=CONNECTIONS, per_second=PER_SECOND, keep=False
    )
    with clients:
        SystemClock().sleep(seconds)
    seen = clients.seen
    return seen.quantile_ms(0.99), len(seen.took_ms) - len(seen.failures), len(seen.failures)
