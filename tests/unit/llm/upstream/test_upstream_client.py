"""The client of endpoints, on the loopback provider: answers, streams, failures, retries, time limits, hanging up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import openai
import pytest

from kit.loopback import QUEUES, asked, loopback, target
from kit.waiting import wait_for
from trimtab.bundle.prompt_spec import EndpointSpec
from trimtab.llm.completion import Usage
from trimtab.llm.loopback.starting import OpenLoopback
from trimtab.llm.upstream.answer_stream import AnswerStream
from trimtab.llm.upstream.upstream_client import Upstream
from trimtab.llm.upstream.upstream_error import UpstreamError
from trimtab.policy.llm.section_llm import CallRetry, CallTimeouts

__all__ = ["loopback"]
SIX = "one two three four five six"
QUICK = CallTimeouts(first_token="400ms", between_tokens="400ms", total="60s")  # type: ignore[arg-type]  # as in YAML
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}
Found = TypeVar("Found")


def run(call: Callable[[Upstream], Coroutine[Any, Any, Found]], **more: Any) -> Found:
    """Run a call with a client of its own."""

    async def go() -> Found:
        upstream = Upstream(**more)
        try:
            return await call(upstream)
        finally:
            upstream.close()

    return asyncio.run(go())


async def read(stream: AnswerStream) -> bytes:
    """Return all bytes of a stream."""
    return b"".join([event.raw async for event in stream])


def failure(loopback: OpenLoopback, model: str, **more: Any) -> UpstreamError:
    """Return how a stream fails, before or after its first token."""

    async def go(upstream: Upstream) -> None:
        await read(await upstream.stream(target(loopback.url, model), asked(SIX)))

    with pytest.raises(UpstreamError) as raised:
        run(go, **more)
    return raised.value


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("echo", {}),
        ("echo+crlf+comments", {}),
        ("echo+joined", {}),
        ("echo+multiline", {}),
        ("echo+split=9", {"max_completion_tokens": 2}),
        ("echo+no_done", {}),
        ("echo+refusal", {}),
        ("echo+cached=0.4+reasoning=7", {}),
        ("echo+as_model=other-2026", {}),
        ("echo", {"max_completion_tokens": 3}),
        ("echo", {"n": 2}),
        ("tools", {"tools": [WEATHER]}),
    ],
)
def test_it_reads_what_openai_s_client_reads(loopback: OpenLoopback, model: str, more: dict[str, Any]) -> None:
    body = {**asked("weather of Zürich 😀 for 3 days"), **more}

    async def go(upstream: Upstream) -> Any:
        stream = await upstream.stream(target(loopback.url, model), body)
        await read(stream)
        return await upstream.complete(target(loopback.url, model), body), stream.completion

    whole, streamed = run(go)
    with openai.OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        oracle = client.chat.completions.create(model=model, **body)
    message, usage = oracle.choices[0].message, oracle.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    for found in (whole, streamed):
        assert (found.text or None, found.refusal) == (message.content, message.refusal)
        calls = [(call["id"].split("_")[0], call["function"]) for call in found.tool_calls]
        assert calls == [
            (call.id.split("_")[0], {"name": call.function.name, "arguments": call.function.arguments})
            for call in message.tool_calls or ()
            if call.type == "function"
        ]
        assert found.finish_reason == oracle.choices[0].finish_reason
        assert found.model == oracle.model
        assert found.usage == Usage(
            input=usage.prompt_tokens,
            output=usage.completion_tokens,
            cached=usage.prompt_tokens_details.cached_tokens or 0,
            reasoning=usage.completion_tokens_details.reasoning_tokens or 0,
            total=usage.total_tokens,
        )
    assert whole.size == streamed.size > 0


def test_embeddings_come_in_the_order_of_their_texts(loopback: OpenLoopback) -> None:
    async def go(upstream: Upstream) -> Any:
        both = await upstream.embed(target(loopback.url, "embedding"), ["a parcel", "a password"], dimensions=64)
        one = await upstream.embed(target(loopback.url, "embedding"), ["a password"], dimensions=64)
        return both, one

    both, one = run(go)
    assert both.vectors[1] == one.vectors[0] != both.vectors[0]
    assert len(both.vectors[0]) == 64
    assert both.usage == Usage(input=4, output=0, total=4)


@pytest.mark.parametrize(
    ("fault", "kind", "status", "attempts"),
    [
        ("status=500", "5xx", 500, 2),
        ("status=429+retry_after=0.01", "429", 429, 2),
        ("status=429+retry_after=9999", "429", 429, 1),
        ("status=404", "4xx", 404, 1),
        ("status=307", "4xx", 307, 1),
        ("drop", "connect", None, 2),
        ("error=first", "5xx", 200, 2),
    ],
)
def test_a_failure_before_the_first_token_is_asked_again_where_that_may_help(
    loopback: OpenLoopback, fault: str, kind: str, status: int | None, attempts: int
) -> None:
    found = failure(loopback, f"echo+{fault}")
    assert (found.kind, found.status, found.attempts) == (kind, status, attempts)
    assert len(loopback.bill.calls) == attempts
    assert found.failed == (kind,) * (attempts - 1)


def test_a_stream_that_ends_before_its_first_token_is_asked_again(loopback: OpenLoopback) -> None:
    async def go(upstream: Upstream) -> None:
        await upstream.stream(target(loopback.url, "echo+cut=event"), asked("one"))

    with pytest.raises(UpstreamError, match="without a finish_reason") as raised:
        run(go)
    assert (raised.value.kind, raised.value.attempts) == ("cut", 2)


@pytest.mark.parametrize("fault", ["error", "cut", "cut=event", "garbled"])
def test_a_failure_after_the_first_token_is_never_asked_again(loopback: OpenLoopback, fault: str) -> None:
    found = failure(loopback, f"echo+{fault}")
    assert (found.kind, len(loopback.bill.calls)) == ("cut", 1)


def test_what_came_before_a_failure_stays(loopback: OpenLoopback) -> None:
    async def go(upstream: Upstream) -> Any:
        stream = await upstream.stream(target(loopback.url, "echo+error"), asked(SIX))
        with pytest.raises(UpstreamError):
            await read(stream)
        with pytest.raises(UpstreamError):
            await anext(stream)
        return stream.completion

    assert run(go).text == "one two three"


def test_an_attempt_that_succeeds_says_what_failed_before(loopback: OpenLoopback) -> None:
    async def go(upstream: Upstream) -> Any:
        stream = await upstream.stream(target(loopback.url, "echo+status=503+times=1"), asked(SIX))
        await read(stream)
        return stream.completion, await upstream.complete(
            target(loopback.url, "echo+status=503+times=1+pace=0"), asked(SIX), attempts=3
        )

    for found in run(go):
        assert (found.text, found.attempts, found.failed) == (SIX, 2, ("5xx",))


def test_the_policy_says_what_is_asked_again(loopback: OpenLoopback) -> None:
    assert failure(loopback, "echo+status=500", retry=CallRetry(attempts=4, on=["429"])).attempts == 1
    assert failure(loopback, "echo+status=429+retry_after=0", retry=CallRetry(attempts=4)).attempts == 4


def test_an_endpoint_is_not_asked_before_it_wants_to_be(loopback: OpenLoopback) -> None:
    failure(loopback, "echo+status=429+retry_after=0.3")
    first, second = loopback.bill.calls
    assert second.at - first.at >= 0.3


def test_limits_of_time(loopback: OpenLoopback) -> None:
    found = failure(loopback, "echo+hang", timeouts=QUICK)
    assert (found.kind, found.attempts, "first_token" in str(found)) == ("timeout", 2, True)
    found = failure(loopback, "echo+hang=mid", timeouts=QUICK)
    assert (found.kind, found.attempts, "between_tokens" in str(found)) == ("timeout", 1, True)
    total = CallTimeouts(total="150ms")  # type: ignore[arg-type]  # as in YAML
    found = failure(loopback, "echo+pace=20+tokens=1000", timeouts=total)
    assert (found.kind, found.attempts, "total" in str(found)) == ("timeout", 1, True)
    wait_for(lambda: loopback.bill.totals.hung_up == 4, "the client to have hung up four times")

    async def whole(upstream: Upstream) -> None:
        await upstream.complete(target(loopback.url, "echo+hang"), asked(SIX))

    with pytest.raises(UpstreamError, match="total"):
        run(whole, timeouts=total)


def test_limits_of_time_begin_anew_with_each_token(loopback: OpenLoopback) -> None:
    between = CallTimeouts(first_token="1500ms", between_tokens="1500ms")  # type: ignore[arg-type]  # as in YAML

    async def go(upstream: Upstream) -> Any:
        stream = await upstream.stream(target(loopback.url, "echo+pace=400"), asked(SIX))
        await read(stream)
        return stream.completion

    found = run(go, timeouts=between)
    assert found.text == SIX
    assert found.latency_ms > 1500


def test_comments_do_not_keep_a_silent_stream_alive() -> None:
    async def pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\n\r\ndata: {"choices": [{"delta": {"content": "x"}}]}\n\n')
        while not writer.is_closing():
            writer.write(b": ping\n\n")
            await asyncio.sleep(0.02)

    async def go(upstream: Upstream) -> None:
        async with await asyncio.start_server(pings, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            stream = await upstream.stream(target(f"http://127.0.0.1:{port}"), asked("x"))
            with pytest.raises(UpstreamError) as raised:
                await read(stream)
            assert raised.value.kind == "timeout"

    run(go, timeouts=QUICK)


def test_closing_a_stream_or_cancelling_a_call_hangs_up_at_once(loopback: OpenLoopback) -> None:
    async def go(upstream: Upstream) -> None:
        stream = await upstream.stream(target(loopback.url, "echo+tokens=1000+pace=5"), asked(SIX))
        await anext(stream)
        stream.close()
        assert [event async for event in stream] == []
        other = await upstream.stream(target(loopback.url, "echo+hang=mid"), asked(SIX))
        reading = asyncio.create_task(read(other))
        await asyncio.sleep(0.05)
        other.close()
        assert b"one" in await reading
        waiting = asyncio.create_task(upstream.complete(target(loopback.url, "echo+hang"), asked(SIX)))
        opening = asyncio.create_task(upstream.stream(target(loopback.url, "echo+hang"), asked(SIX)))
        while len(loopback.bill.calls) < 4:
            await asyncio.sleep(0.005)
        waiting.cancel()
        opening.cancel()
        await asyncio.gather(waiting, opening, return_exceptions=True)
        while loopback.bill.totals.hung_up < 4:
            await asyncio.sleep(0.005)

    run(go)


def test_usage_is_asked_for_and_an_endpoint_that_refuses_the_parameter_is_asked_without(
    loopback: OpenLoopback,
) -> None:
    async def go(upstream: Upstream) -> None:
        for _ in range(2):
            stream = await upstream.stream(target(loopback.url, "echo+no_stream_options"), asked(SIX))
            await read(stream)
            assert (stream.completion.text, stream.completion.usage) == (SIX, None)
            assert stream.attempts == 1

    run(go, retry=CallRetry(attempts=1))
    assert ["stream_options" in call.body for call in loopback.bill.calls] == [True, False, False]


def test_no_more_calls_than_the_endpoint_takes_run_at_once(loopback: OpenLoopback) -> None:
    async def go(upstream: Upstream) -> None:
        few = target(loopback.url, "echo+first=20", concurrent=2)
        await asyncio.gather(*(upstream.complete(few, asked(str(number))) for number in range(5)))
        streams = [asyncio.create_task(upstream.stream(few, asked(str(number)))) for number in range(5)]
        for each in asyncio.as_completed(streams):
            await read(await each)

    run(go)
    ends = [(call.at, call.ended_at or 0.0) for call in loopback.bill.calls]
    assert len(ends) == 10
    assert max(sum(begin <= at < end for begin, end in ends) for at, _ in ends) == 2


def test_a_call_that_waits_in_vain_for_its_turn_was_not_sent(loopback: OpenLoopback) -> None:
    async def go(upstream: Upstream) -> None:
        one = target(loopback.url, "echo+hang=mid", concurrent=1)
        stream = await upstream.stream(one, asked(SIX))
        with pytest.raises(UpstreamError, match="raise `concurrent`") as raised:
            await upstream.complete(one, asked(SIX), timeouts=CallTimeouts(total="50ms"))  # type: ignore[arg-type]  # YAML
        assert (raised.value.kind, raised.value.sent) == ("timeout", False)
        stream.close()
        await upstream.complete(target(loopback.url, "echo", concurrent=1), asked(SIX))

    run(go, retry=CallRetry(attempts=1))
    assert len(loopback.bill.calls) == 2


def test_an_endpoint_that_is_away_is_a_failure_to_connect() -> None:
    async def go(upstream: Upstream) -> None:
        await upstream.complete(target("http://127.0.0.1:9/v1"), asked("x"))

    with pytest.raises(UpstreamError, match="endpoint 'main': no connection") as raised:
        run(go)
    assert (raised.value.kind, raised.value.attempts, raised.value.sent) == ("connect", 2, False)


def test_an_endpoint_is_located_again_when_it_could_not_be_reached(loopback: OpenLoopback) -> None:
    located = []

    def locate(endpoint: EndpointSpec) -> str:
        located.append(endpoint.name)
        return "http://127.0.0.1:9/v1" if len(located) == 1 else loopback.url

    async def go(upstream: Upstream) -> None:
        with pytest.raises(UpstreamError):
            await upstream.complete(target("loopback"), asked("x"))
        for _ in range(3):
            await upstream.complete(target("loopback"), asked("x"))

    run(go, locate=locate)
    assert located == ["main"] * 2


def test_the_text_of_an_error_is_kept_apart(loopback: OpenLoopback) -> None:
    found = failure(loopback, "echo+status=400+text=canary")
    assert "canary" in found.upstream_text
    assert "canary" not in str(found) + repr(found)


def test_a_prompt_is_sent_as_it_is(loopback: OpenLoopback) -> None:
    body = {**asked("Parcel é😀", QUEUES), "temperature": 0, "stream": False, "stream_options": {"other": 1}}

    async def go(upstream: Upstream) -> None:
        await upstream.complete(target(loopback.url, "classifier"), body)
        await read(await upstream.stream(target(loopback.url, "classifier"), body))

    run(go)
    whole, streamed = (call.body for call in loopback.bill.calls)
    assert whole == {"model": "classifier", "temperature": 0, "messages": body["messages"]}
    assert streamed == {**whole, "stream": True, "stream_options": {"other": 1, "include_usage": True}}
