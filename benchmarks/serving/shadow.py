"""A shadow that is five times slower than the champion: does it slow the champion's answers? Called by __main__.

Three gateways take turns under the same paced load: one without a shadow, a second one without, and one with. How far
the two without differ is the noise that the one with is judged by.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
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
ALONE: Roles = {1: ("champion", 100.0)}
BESIDE: Roles = {1: ("champion", 100.0), SHADOW: ("shadow", 0.0)}


def shadow(models: Mapping[int, Model], work: Path, *, seconds: int, rounds: int) -> bool:
    """Measure and print; return whether the champion's p99 with the shadow is within the noise."""
    slow, times = _slow(models[1])
    versions = {1: models[1], SHADOW: slow}
    print(f"\nA shadow whose graph takes {times:.1f} times as long, {PER_SECOND:.0f} requests a second, p99 in ms")
    names = ("without", "without again", "with")
    with ExitStack() as stack:
        servers = []
        for name in names:
            make_project(work / name / "project", versions, BESIDE if name == "with" else ALONE)
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
    for first, again, beside in p99s:
        print(f"  without {first:7.2f}   without again {again:7.2f}   with {beside:7.2f}")
    noise = max(max(first / again, again / first) for first, again, _ in p99s)
    ratio = median(beside / median((first, again)) for first, again, beside in p99s)
    scored = sum(role == "shadow" for role in read_log(work / "with" / "project")["role"].to_pylist())
    held = ratio <= noise and not failed
    print(
        f"  with / without: {ratio:.2f} (median of pairs); without / without: up to {noise:.2f}; {failed} failed; "
        f"the shadow scored {scored} rows of {sent} requests: {'held' if held else 'MISSED'}"
    )
    return held


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
