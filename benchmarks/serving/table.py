"""The table of all servers: their answers are checked, then they are timed in alternating rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.serving.load import Figures, measure, middle
from benchmarks.serving.model import Model, as_json, sample
from benchmarks.serving.processes import Memory, memory
from benchmarks.serving.servers import NotRunning, Server, running
from benchmarks.serving.targets import Target

CHECKED_ROWS = 20
TOLERANCE = 1e-5
"""Of a probability; the graph computes in float32."""
ROW = as_json(sample(1)[0])


@dataclass
class Results:
    """The measurements of all servers."""

    figures: dict[tuple[str, int], Figures] = field(default_factory=dict)
    cold: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Seconds, and seconds of processor time, to the first answer."""
    memory: dict[str, Memory] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Titles of servers that did not run or answered wrongly -> why."""


def compare(
    targets: Sequence[Target], models: Mapping[int, Model], *, connections: Sequence[int], seconds: int, rounds: int
) -> Results:
    """Start all servers, check their answers, and time them in turns, so that all bear what else the machine does."""
    results = Results()
    with ExitStack() as stack:
        servers: list[Server] = []
        for target in targets:
            try:
                server = stack.enter_context(running(target, ROW))
                check(server, models)
            except NotRunning as error:
                results.absent[target.title] = str(error)
                continue
            servers.append(server)
            results.cold[target.name] = (server.cold_s, server.cold_cpu_s)
        found: dict[tuple[str, int], list[Figures]] = {}
        for _ in range(rounds):
            for number in connections:
                for server in servers:
                    ask = server.target.ask(ROW)
                    one = measure(server.port, server.process.pid, ask, connections=number, seconds=seconds)
                    found.setdefault((server.target.name, number), []).append(one)
        results.memory = {server.target.name: memory(server.process.pid) for server in servers}
    results.figures = {key: middle(several) for key, several in found.items()}
    return results


def check(server: Server, models: Mapping[int, Model]) -> None:
    """Compare a server's answers with the model's own. Raises NotRunning with the first that differs."""
    rows = sample(CHECKED_ROWS)
    expected = {version: model.probabilities(rows) for version, model in models.items()}
    for number, row in enumerate(rows):
        said = server.predict(as_json(row))
        right = expected[said.version][number]
        if abs(said.probability - right) > TOLERANCE:
            raise NotRunning(f"answers wrongly: {said.probability} for row {number}, where the model says {right}")


def show(targets: Sequence[Target], results: Results, connections: Sequence[int]) -> None:
    """Print the table."""
    names = ("req/s", "p50 ms", "p99 ms", "CPU us", "failed", "cold s", "cpu s", "MB", "MB all", "procs")
    print(f"\n{'server':36}{'conn':>5}" + "".join(f"{name:>9}" for name in names))
    for target in targets:
        for place, number in enumerate(connections):
            one = results.figures.get((target.name, number))
            if one is None:
                continue
            line = f"{target.title if place == 0 else '':36}{number:5}{one.per_second:9.0f}{one.p50_ms:9.2f}"
            line += f"{one.p99_ms:9.2f}{one.cpu_us:9.0f}{one.failed:9.0f}"
            if place == 0:
                size, (cold_s, cold_cpu_s) = results.memory[target.name], results.cold[target.name]
                line += f"{cold_s:9.2f}{cold_cpu_s:9.2f}{size.worker:9.0f}{size.tree:9.0f}{size.processes:9}"
            print(line)
    for title, reason in results.absent.items():
        print(f"{title:36} not measured: {reason}")
    print(
        "CPU us: processor time of all processes of a server, a request. cold s: from start to first answer, "
        "cpu s: of processor time.\nMB: resident size of one worker; MB all: of all processes, shared pages once."
    )
