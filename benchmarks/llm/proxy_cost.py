"""What a proxy adds to a call: processor time, delay, memory, time to be ready. All are measured in turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import uvloop

from benchmarks.llm.proxies import Proxy
from benchmarks.serving.processes import Memory, cpu_seconds, memory
from trimtab.bundle.prompt_spec import EndpointSpec, TargetSpec
from trimtab.llm.upstream.upstream_client import Upstream

BODY = {
    "messages": [{"role": "user", "content": "My parcel number 1234 has not arrived, please look where it is. " * 4}]
}
TOGETHER = 16
"""Callers at once in the loaded part."""


@dataclass
class Cost:
    """Measurements of one proxy. Milliseconds; CPU is of its process tree, in milliseconds a call."""

    alone: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    stream_cpu_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    memory: Memory | None = None


def measure(proxies: Sequence[Proxy], *, rounds: int, calls: int, streams: int) -> dict[str, Cost]:
    """Measure all proxies in turns: calls one after another, calls of TOGETHER callers, streams one after another."""
    costs = {proxy.title: Cost() for proxy in proxies}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for number in range(rounds + 1):
            for proxy in proxies:
                kept = costs[proxy.title] if number else Cost()  # the first round warms up
                runner.run(_round(proxy, kept, calls=calls, streams=streams))
    for proxy in proxies:
        if proxy.process is not None:
            costs[proxy.title].memory = memory(proxy.process.pid)
    return costs


async def _round(proxy: Proxy, cost: Cost, *, calls: int, streams: int) -> None:
    upstream = Upstream()
    target = TargetSpec(endpoint=EndpointSpec(name=proxy.title, url=proxy.url, concurrent=1000), model=proxy.model)

    async def ask(times: list[float], count: int) -> None:
        for _ in range(count):
            began = time.perf_counter()
            await upstream.complete(target, BODY, attempts=1)
            times.append((time.perf_counter() - began) * 1e3)

    before = _cpu(proxy)
    await ask(cost.alone, calls)
    began = time.perf_counter()
    await asyncio.gather(*(ask(cost.loaded, calls // TOGETHER) for _ in range(TOGETHER)))
    together = calls // TOGETHER * TOGETHER
    cost.per_second.append(together / (time.perf_counter() - began))
    cost.cpu_ms.append((_cpu(proxy) - before) / (calls + together) * 1e3)
    before = _cpu(proxy)
    for _ in range(streams):
        stream = await upstream.stream(target, BODY, attempts=1)
        async for _event in stream:
            pass
        cost.first_token.append(stream.first_token_ms)
    cost.stream_cpu_ms.append((_cpu(proxy) - before) / streams * 1e3)
    upstream.close()


def _cpu(proxy: Proxy) -> float:
    return cpu_seconds(proxy.process.pid) if proxy.process is not None else 0.0


def table(proxies: Sequence[Proxy], costs: dict[str, Cost]) -> list[list[str]]:
    """Return rows of text: the head, then one for each measurement, with the difference to no proxy."""
    direct = costs[proxies[0].title]

    def added(name: str, quantile: float) -> list[str]:
        base = float(np.quantile(getattr(direct, name), quantile))
        found = [float(np.quantile(getattr(costs[proxy.title], name), quantile)) for proxy in proxies]
        return [f"{value:.2f}" if at == 0 else f"{value:.2f} (+{value - base:.2f})" for at, value in enumerate(found)]

    def of_servers(value: Any) -> list[str]:
        return ["" if proxy.process is None else value(proxy) for proxy in proxies]

    rows = [["", *(proxy.title for proxy in proxies)]]
    for name, title in (("alone", "one caller"), ("loaded", f"{TOGETHER} callers"), ("first_token", "first token")):
        for quantile, shown in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
            rows.append([f"{title}, {shown}, ms", *added(name, quantile)])
    rows.append(
        [f"calls a second, {TOGETHER} callers", *(f"{median(costs[each.title].per_second):.0f}" for each in proxies)]
    )
    rows.append(["CPU a call, ms", *of_servers(lambda each: f"{median(costs[each.title].cpu_ms):.2f}")])
    rows.append(["CPU a stream, ms", *of_servers(lambda each: f"{median(costs[each.title].stream_cpu_ms):.2f}")])
    rows.append(["memory of the largest process, MB", *of_servers(lambda each: _memory(costs[each.title], "worker"))])
    rows.append(["memory of all processes, MB", *of_servers(lambda each: _memory(costs[each.title], "tree"))])
    rows.append(["ready, s", *of_servers(lambda each: f"{each.ready_s:.1f} ({each.ready_cpu_s:.1f} CPU)")])
    return rows


def _memory(cost: Cost, which: str) -> str:
    return f"{getattr(cost.memory, which):.0f}"
