"""Streamed answers: the order of chunks, how they end, and what a client learns when they end badly."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest

from trimtab.serving.chat.chat_turn import VersionTurn
from unit.serving.chat.conftest import CHAT, Chatting, Run, read_events, text_of
from unit.serving.http1.sockets import until

CHARGE = {"variables": {"ticket": "the charge on my card is wrong"}}


def on(chat: Chatting, model: str, **more: Any) -> None:
    """Serve version 2, which asks another model."""
    chat.serve(("champion", chat.prompt(2, model, **more), 100))


def test_chunks_come_in_order_with_one_id(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        events = await chat.events({**CHARGE, "stream_options": {"include_usage": True}})
        first, *middle, finish, usage, done = events
        assert first["choices"][0]["delta"]["role"] == "assistant"
        assert "".join(each["choices"][0]["delta"].get("content", "") for each in middle) == "billing"
        assert finish["choices"][0]["finish_reason"] == "stop"
        assert usage["choices"] == []
        assert usage["usage"]["total_tokens"] == 57
        assert done == "[DONE]"
        assert {each["id"] for each in events[:-1]} == {chat.rows()[0]["prediction_id"]}
        plain = await chat.events(CHARGE)
        assert all(each["choices"] for each in plain[:-1])  # the chunk about usage was not asked for

    run_chat(test)


def test_text_arrives_whole_however_the_endpoint_cuts_its_bytes(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        text = "Zwölf Boxkämpfer jagen Viktor über den Deich 🥊"
        for version, how in enumerate(("split=29", "joined", "crlf", "comments", "multiline", "split=90+multiline"), 2):
            chat.serve(("champion", chat.prompt(version, f"echo+{how}"), 100))
            events = await chat.events({"variables": {"ticket": text}})
            assert text_of(events) == text, how
            assert events[-1] == "[DONE]"
            assert len({each["id"] for each in events[:-1]}) == 1

    run_chat(test)


def test_each_event_leaves_at_once(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        on(chat, "echo+pace=30")
        body = {"model": "triage", "stream": True, "variables": {"ticket": "a b c d e f g h"}}
        async with chat.http.stream("POST", CHAT, json=body) as found:
            async for line in found.aiter_lines():
                if '"content":"a"' in line:
                    assert not chat.rows()  # the answer has not ended
                    return

    run_chat(test)


@pytest.mark.parametrize("fault", ["cut=chunk", "cut=event", "error=mid", "garbled", "hang=mid"])
def test_an_answer_that_breaks_off_ends_with_an_error_that_clients_raise(run_chat: Run, fault: str) -> None:
    async def test(chat: Chatting) -> None:
        on(chat, f"echo+{fault}")
        body = {"model": "triage", "stream": True, "variables": {"ticket": "a b c d e f g h"}}
        events = read_events((await chat.http.post(CHAT, json=body)).content)
        assert events[-1]["error"]["code"] == "stream_interrupted"
        assert events[-1]["error"]["type"] == "upstream_error"
        assert "[DONE]" not in events
        assert text_of(events).startswith("a b")
        client = openai.AsyncOpenAI(base_url=f"{chat.http.base_url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.APIError):
            async for _ in await client.chat.completions.create(
                model="triage", messages=[], stream=True, extra_body={"variables": {"ticket": "a b c d"}}
            ):
                pass
        await client.close()

    chat = run_chat(test, timeouts={"between_tokens": "1s"})
    code = "upstream_timeout" if fault == "hang=mid" else "stream_interrupted"
    assert {(row["error"], row["score"]) for row in chat.rows()} == {(code, None)}
    assert all(turn["output_tokens"] > 0 and turn["usage"] == "estimated" for turn in chat.rows("turns"))


def test_an_endpoint_without_done_ends_with_done(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        on(chat, "echo+no_done")
        assert (await chat.events(CHARGE))[-1] == "[DONE]"

    run_chat(test)


def test_usage_that_is_not_reported_is_estimated_and_says_so(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        on(chat, "echo+usage=missing")
        events = await chat.events({**CHARGE, "stream_options": {"include_usage": True}})
        assert events[-2]["usage"]["estimated"] is True
        assert events[-2]["usage"]["completion_tokens"] > 0

    chat = run_chat(test)
    assert chat.rows("turns")[0]["usage"] == "estimated"


def test_a_silent_stream_gets_comments(run_chat: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.serving.chat.chat_service.PING_S", 0.05)
    monkeypatch.setattr("trimtab.serving.chat.chat_service.LOOK_S", 0.02)

    async def test(chat: Chatting) -> None:
        on(chat, "echo+pace=150")
        found = await chat.http.post(CHAT, json={"model": "triage", "stream": True, "variables": {"ticket": "a b"}})
        assert found.content.count(b": ping\n\n") >= 1
        assert text_of(read_events(found.content)) == "a b"

    run_chat(test)


@pytest.mark.parametrize("disconnect", ["cancel", "drain"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves(run_chat: Run, disconnect: str, stream: bool) -> None:
    async def test(chat: Chatting) -> None:
        on(chat, "echo+pace=60")
        body = {"model": "triage", "stream": stream, "variables": {"ticket": "a b c d e f g h i j k l"}}
        leaving = httpx.AsyncClient(base_url=chat.http.base_url)
        if stream:
            async with leaving.stream("POST", CHAT, json=body) as found:
                async for line in found.aiter_lines():
                    if '"content":" b"' in line:
                        break
        else:
            with pytest.raises(httpx.ReadTimeout):
                await leaving.post(CHAT, json=body, timeout=0.1)
        await leaving.aclose()
        await until(lambda: bool(chat.loopback.bill.totals.requests) and not open_calls(chat))
        await until(lambda: len(chat.rows("turns")) == 1)

    chat = run_chat(test, disconnect=disconnect)
    (row,), (turn,), bill = chat.rows(), chat.rows("turns"), chat.loopback.bill
    assert row["error"] == "client_gone"
    assert bill.totals.hung_up == (disconnect == "cancel")
    if disconnect == "drain":
        assert turn["usage"] == "reported"
        assert turn["output_tokens"] == bill.totals.output_tokens
    else:
        assert turn["usage"] == "estimated"


def open_calls(chat: Chatting) -> bool:
    totals = chat.loopback.bill.totals
    return totals.requests > totals.answered + totals.hung_up


def test_an_answer_that_does_not_fit_the_schema_ends_with_an_error(run_chat: Run) -> None:
    schema = {"type": "object", "required": ["queue"], "properties": {"queue": {"type": "string"}}}

    async def test(chat: Chatting) -> None:
        on(chat, "classifier", schema=schema)
        assert text_of(await chat.events(CHARGE)) == '{"queue":"billing"}'
        on(chat, "classifier+invalid_json", schema=schema)
        events = await chat.events(CHARGE)
        assert events[-1]["error"]["code"] == "invalid_output"

    chat = run_chat(test)
    assert [(row["error"], row["features"][10]) for row in chat.rows()] == [(None, 1.0), ("invalid_output", 0.0)]
    assert [turn["format_ok"] for turn in chat.rows("turns")] == [True, False]


def test_a_call_of_an_unknown_tool_does_not_reach_the_client(run_chat: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = ({"type": "function", "function": {"name": "refund", "description": "refund a charge", "parameters": {}}},)

    async def test(chat: Chatting) -> None:
        on(chat, "tools", tools=tools)
        events = await chat.events(CHARGE)
        assert events[-1] == "[DONE]"
        calls = [call for each in events[:-1] for call in each["choices"][0]["delta"].get("tool_calls", ())]
        assert calls[0]["function"]["name"] == "refund"
        monkeypatch.setattr(VersionTurn, "known_tools", frozenset({"other"}))
        events = await chat.events(CHARGE)
        assert events[-1]["error"]["code"] == "invalid_output"
        assert "refund" not in str(events[:-1])
        found = await chat.ask(CHARGE)
        assert (found.status_code, found.json()["error"]["code"]) == (502, "invalid_output")

    run_chat(test)


def test_a_version_that_is_withdrawn_ends_its_streams_and_a_plain_swap_does_not(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        slow = chat.prompt(2, "echo+pace=20")
        for cuts, code in ((False, None), (True, "withdrawn")):
            chat.serve(("champion", slow, 100))
            asked = asyncio.create_task(
                chat.http.post(CHAT, json={"model": "triage", "stream": True, "variables": {"ticket": "a b c d e f"}})
            )
            await until(lambda: len(chat.service._relays) == 1)
            chat.serve(("champion", chat.prompt(1), 100), revision=8, cuts=cuts)
            whole = await chat.ask(CHARGE)
            assert whole.headers["x-trimtab-version"] == "1"
            found = await asked
            events = read_events(found.content)
            assert found.headers["x-trimtab-version"] == "2"
            assert (events[-1] if code is None else events[-1]["error"]["code"]) == (code or "[DONE]")

    chat = run_chat(test)
    assert [row["error"] for row in chat.rows() if row["version"] == 2] == [None, "withdrawn"]
