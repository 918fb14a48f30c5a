"""Processor time of this process for a call: our client of endpoints, OpenAI's, and httpx, on the loopback provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import httpx
import openai
import uvloop

from benchmarks.llm.proxies import Proxy
from benchmarks.llm.proxy_cost import BODY
from trimtab.bundle.prompt_spec import EndpointSpec, TargetSpec
from trimtab.llm.upstream.upstream_client import Upstream

CALLS = 300
TOKENS = 50
"""Of a streamed answer."""
Found = TypeVar("Found")


def client_costs(behind: Proxy) -> list[list[str]]:
    """Return rows of text: client, milliseconds a call, microseconds an event of a stream."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(behind))


async def _measure(behind: Proxy) -> list[list[str]]:
    streamed = f"{behind.model}+tokens={TOKENS}"
    ours = Upstream()
    theirs = openai.AsyncOpenAI(base_url=behind.url, api_key="none", max_retries=0)
    ask: Any = theirs.chat.completions.create  # its overloads take no body that is made elsewhere
    plain = httpx.AsyncClient()

    def target(model: str) -> TargetSpec:
        return TargetSpec(endpoint=EndpointSpec(name="loopback", url=behind.url), model=model)

    async def ours_streamed() -> int:
        return len([event async for event in await ours.stream(target(streamed), BODY)])

    async def openai_streamed() -> int:
        options = {"include_usage": True}
        stream = await ask(model=streamed, stream=True, stream_options=options, **BODY)
        return len([event async for event in stream])

    async def by_httpx() -> object:
        answer = await plain.post(f"{behind.url}/chat/completions", json={"model": behind.model, **BODY})
        return answer.json()

    rows = [["client", "CPU a call, ms", "CPU an event of a stream, us"]]
    clients: Sequence[tuple[str, Callable[[], Awaitable[object]], Callable[[], Awaitable[int]] | None]] = (
        ("Trimtab", lambda: ours.complete(target(behind.model), BODY), ours_streamed),
        ("openai", lambda: ask(model=behind.model, **BODY), openai_streamed),
        ("httpx", by_httpx, None),
    )
    for title, call, stream in clients:
        once, _ = await _cpu(call, CALLS)
        events = ""
        if stream is not None:
            used, found = await _cpu(stream, CALLS // 10)
            events = f"{used * 1e6 / found[0]:.0f}"
        rows.append([title, f"{once * 1e3:.2f}", events])
    ours.close()
    await theirs.close()
    await plain.aclose()
    return rows


async def _cpu(call: Callable[[], Awaitable[Found]], count: int) -> tuple[float, list[Found]]:
    """Return the processor time of a call, and what the calls gave; a first one warms up."""
    await call()
    began = time.process_time()
    found = [await call() for _ in range(count)]
    return (time.process_time() - began) / count, found
