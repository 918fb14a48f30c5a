"""Whether fifty viewers of the console slow the gateway of the same project down: rounds with and without, by turns."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx

from benchmarks.console.processes import console, gateway
from trimtab.app.project.workspace import open_workspace
from trimtab.app.replay.client import Client
from trimtab.app.replay.replay import Replay
from trimtab.clock import SystemClock
from trimtab.records.monitoring import WindowReport
from trimtab.runtimes import priority
from trimtab.stores.metadata.contract import latest

VIEWERS = 50
ROUNDS = 12
"""Of each kind."""
REQUESTS = 1500
"""Of one round."""
PAUSE_S = 0.004
"""Between two requests: the gateway is not at its limit, so its latency shows what the processor does beside it."""
LOOK_S = 5.0
"""A viewer opens a page so often."""
MOST = 1.10


def compare_gateway(project: Path) -> int:
    """Print the gateway's latencies with and without viewers; return 1 when p99 grows by more than a tenth."""
    workspace = open_workspace(project)
    newest = latest(workspace.metadata, WindowReport, stage="closed")
    if newest is None:
        print("no window has closed: the gateway is left out")
        return 0
    model = workspace.model(newest.model)
    span = newest.end - newest.start
    bodies = Replay(workspace, model, start=newest.start - 3 * span, end=newest.end).bodies()[:REQUESTS]
    path = f"/v2/models/{model.name}/infer"
    with gateway(project) as served, console(project) as shown:
        client = Client(served.url, SystemClock(), connections=1)
        _round(client, path, bodies)  # warm
        alone, beside = [], []
        for _ in range(ROUNDS):
            alone.append(_round(client, path, bodies))
            before = shown.cpu_s()
            with _Viewers(shown.url, model.name) as viewers:
                beside.append(_round(client, path, bodies))
            used = shown.cpu_s() - before
        client.close()
        print(
            f"{'':<12} {'p50 ms':>8} {'p99 ms':>8}   medians of {ROUNDS} rounds of {len(bodies):,} requests, by turns"
        )
        for name, rounds in (("alone", alone), (f"{VIEWERS} viewers", beside)):
            print(f"{name:<12} {_median(rounds, 0.5):>8.2f} {_median(rounds, 0.99):>8.2f}")
        ratio = _median(beside, 0.99) / _median(alone, 0.99)
        print(
            f"p99 ratio {ratio:.2f} (at most {MOST}); {viewers.pages()} pages in the last round, {used:.2f} s of CPU; "
            f"memory of the console {shown.memory_mb():.0f} MB"
        )
        return int(ratio > MOST)


def _round(client: Client, path: str, bodies: list[bytes]) -> list[float]:
    """Send requests one after another; return their latencies in milliseconds."""
    found = []
    for body in bodies:
        start = time.perf_counter()
        answer = client.post(path, body)
        found.append(1000 * (time.perf_counter() - start))
        if not answer.ok:
            raise SystemExit(f"the gateway answered {answer.status}: {answer.body[:200]!r}")
        time.sleep(PAUSE_S)
    return found


def _median(rounds: list[list[float]], share: float) -> float:
    return statistics.median(sorted(each)[int(share * (len(each) - 1))] for each in rounds)


class _Viewers:
    """Viewers in a process of their own: each listens to events and opens a page now and then."""

    def __init__(self, url: str, model: str) -> None:
        self._end: Event = multiprocessing.Event()
        self._count = multiprocessing.Value("i", 0)
        self._process = multiprocessing.Process(target=_view, args=(url, model, self._end, self._count))

    def __enter__(self) -> _Viewers:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._process.join()

    def pages(self) -> int:
        """Return how many pages they opened."""
        return int(self._count.value)


def _view(url: str, model: str, end: Event, count: object) -> None:
    priority.lowest(os.getpid())  # viewers have machines of their own
    asyncio.run(_view_all(url, model, end, count))


async def _view_all(url: str, model: str, end: Event, count: object) -> None:
    limits = httpx.Limits(max_connections=2 * VIEWERS)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
        await asyncio.gather(*(_one(client, number, model, end, count) for number in range(VIEWERS)))


async def _one(client: httpx.AsyncClient, number: int, model: str, end: Event, count: object) -> None:
    async with client.stream("GET", "/api/v1/events"):
        await asyncio.sleep(LOOK_S * number / VIEWERS)
        while not end.is_set():
            answer = await client.get((f"/models/{model}", "/", "/decisions")[number % 3])
            answer.raise_for_status()
            count.value += 1  # type: ignore[attr-defined]  # a shared counter
            for _ in range(10):
                if not end.is_set():
                    await asyncio.sleep(LOOK_S / 10)
