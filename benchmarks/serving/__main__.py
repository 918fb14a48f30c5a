"""`python -m benchmarks.serving [--seconds S] [--rounds N]`: the gateway, a FastAPI server and a bare one.

Rounds take turns, so that whatever else the machine does falls on all of them; the figures are the medians.
With a challenger the gateway scores every row twice, which the others do not, so the ratio is taken without.
Exit code 1 when the gateway costs more than half of FastAPI's processor time, a swap fails a request or a
swap takes a second.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from statistics import median

from benchmarks.serving.load import Figures, generator, measure
from benchmarks.serving.model import FEATURES, TREES, make_stores
from benchmarks.serving.servers import Server, running
from benchmarks.serving.swaps import swap_under_load

CONNECTIONS = (1, 32)
PROMISE_CPU_US = 110
PROMISE_PER_SECOND = 8_000
PROMISE_RATIO = 2.0
PROMISE_COLD_S = 1.0
PROMISE_SWAP_S = 1.0


def main() -> int:
    """Measure all servers, print a table and the ratios; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--seconds", type=int, default=4, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each server")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        alone, beside = Path(folder) / "alone", Path(folder) / "beside"
        graph = make_stores(alone, {1: ("champion", 100)})
        make_stores(beside, {1: ("champion", 90), 2: ("challenger", 10)})
        servers = [
            stack.enter_context(running("gateway, with challenger", "gateway_server.py", beside)),
            stack.enter_context(running("gateway, champion alone", "gateway_server.py", alone)),
            stack.enter_context(running("FastAPI + ONNX Runtime", "fastapi_server.py", graph)),
            stack.enter_context(running("bare ASGI + ONNX Runtime", "bare_server.py", graph)),
        ]
        print(
            f"One row of {FEATURES} floats as JSON, {TREES} trees, one process each, load by {generator()}; "
            f"the gateway routes, logs and counts (and scores each row with both versions), the others only answer"
        )
        figures = _rounds(servers, options.rounds, options.seconds)
        memory = {server.name: server.memory_mb for server in servers}
        took, load = swap_under_load(servers[1], alone)
    _print_table(servers, figures, memory)
    return _judge(servers, figures, took, load)


def _rounds(servers: list[Server], rounds: int, seconds: int) -> dict[tuple[str, int], Figures]:
    found: dict[tuple[str, int], list[Figures]] = {}
    for _ in range(rounds):
        for connections in CONNECTIONS:
            for server in servers:
                one = measure(server.port, server.process.pid, connections=connections, seconds=seconds)
                found.setdefault((server.name, connections), []).append(one)
    return {key: median_of(several) for key, several in found.items()}


def median_of(several: list[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(**{field.name: median(getattr(one, field.name) for one in several) for field in fields(Figures)})


def _print_table(servers: list[Server], figures: dict[tuple[str, int], Figures], memory: dict[str, float]) -> None:
    head = "".join(f"{name:>8}" for name in ("req/s", "p50 ms", "p99 ms", "CPU us", "failed", "cold s", "cpu s", "MB"))
    print(f"\n{'server':26}{'conn':>5}{head}")
    for server in servers:
        for connections in CONNECTIONS:
            one = figures[server.name, connections]
            print(
                f"{server.name:26}{connections:5}{one.per_second:8.0f}{one.p50_ms:8.2f}{one.p99_ms:8.2f}"
                f"{one.cpu_us:8.0f}{one.failed:8.0f}{server.cold_s:8.2f}{server.cold_cpu_s:8.2f}{memory[server.name]:8.0f}"
            )


def _judge(servers: list[Server], figures: dict[tuple[str, int], Figures], took: list[float], load: Figures) -> int:
    ours, alone, peer, bare = (figures[server.name, 32] for server in servers)
    ratio = peer.cpu_us / alone.cpu_us
    per_core = 1e6 / alone.cpu_us
    held = ratio >= PROMISE_RATIO and load.failed == 0 and max(took) < PROMISE_SWAP_S
    print(
        f"\nCPU a request at 32 connections: {alone.cpu_us:.0f} us (promised <= {PROMISE_CPU_US}), that is "
        f"{per_core:.0f} requests a core and second (promised >= {PROMISE_PER_SECOND}); "
        f"{ours.cpu_us:.0f} us with a challenger\n"
        f"beside FastAPI: {ratio:.1f}x less CPU (promised >= {PROMISE_RATIO:.0f}x), "
        f"{alone.per_second / peer.per_second:.1f}x the requests; with a challenger "
        f"{peer.cpu_us / ours.cpu_us:.1f}x and {ours.per_second / peer.per_second:.1f}x\n"
        f"beside bare ASGI: {alone.cpu_us / bare.cpu_us:.2f}x the CPU (with a challenger "
        f"{ours.cpu_us / bare.cpu_us:.2f}x), {alone.p99_ms / max(bare.p99_ms, 1e-9):.1f}x the p99\n"
        f"cold start: {servers[1].cold_s:.2f} s, of processor time {servers[1].cold_cpu_s:.2f} s "
        f"(promised < {PROMISE_COLD_S:.0f})\n"
        f"{len(took)} swaps under {load.per_second:.0f} requests a second: slowest {max(took):.2f} s "
        f"(promised < {PROMISE_SWAP_S:.0f}), {load.failed} failed requests\n"
        f"{'held' if held else 'NOT HELD'}"
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
