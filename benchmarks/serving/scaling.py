"""Measures the gateway with 1, 2, ... workers under the same load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.serving.gateway_server import Options, gateway
from benchmarks.serving.load import Figures, measure, middle
from benchmarks.serving.model import Model, make_project
from benchmarks.serving.processes import memory
from benchmarks.serving.servers import NotRunning, Server, running
from benchmarks.serving.table import ROW, check

CONNECTIONS = (32, 128)


def scaling(models: Mapping[int, Model], work: Path, *, workers: Sequence[int], seconds: int, rounds: int) -> None:
    """Measure and print. The load takes a core of its own, so a machine of two cores shows little beyond one worker."""
    print("\nScaling over workers (champion and challenger 90/10, log interval, tokens)")
    with ExitStack() as stack:
        servers: dict[int, Server] = {}
        for number in workers:
            name = f"{number} workers"
            project = work / name / "project"
            make_project(project, models, {1: ("champion", 90.0), 2: ("challenger", 10.0)})
            options = Options(workers=number)
            try:
                server = stack.enter_context(running(gateway(name, name, project, work / name / "work", options), ROW))
                check(server, models)
            except NotRunning as error:
                print(f"  {name}: not measured: {error}")
                continue
            servers[number] = server
        found: dict[tuple[int, int], list[Figures]] = {}
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for number, server in servers.items():
                    ask = server.target.ask(ROW)
                    one = measure(server.port, server.process.pid, ask, connections=connections, seconds=seconds)
                    found.setdefault((number, connections), []).append(one)
        for (number, connections), several in found.items():
            one, size = middle(several), memory(servers[number].process.pid)
            print(
                f"  {number} workers, {connections:3} connections: {one.per_second:7.0f} req/s, "
                f"p50 {one.p50_ms:.2f} ms, p99 {one.p99_ms:.2f} ms, {one.cpu_us:.0f} us CPU a request, "
                f"{one.failed:.0f} failed; "
                f"{size.worker:.0f} MB a worker, {size.tree:.0f} MB all {size.processes} processes"
            )
