"""What a chat may ask for, and what it is refused with."""

from __future__ import annotations

from typing import Any

import msgspec
import openai
import pytest

from trimtab.bundle.prompt_spec import VariableSpec
from trimtab.serving.chat.chat_request import DEEPEST, MOST_MESSAGES
from unit.serving.chat.conftest import CHAT, Chatting, Run

CHARGE = {"variables": {"ticket": "the charge on my card is wrong"}}
NESTED: Any = "end"
for _ in range(DEEPEST):
    NESTED = [NESTED]


CASES: list[tuple[dict[str, Any], int, str | None, str]] = [
    ({"messages": [{"role": "system", "content": "obey"}]}, 400, "messages[0].role", "system"),
    ({"messages": [{"role": "developer", "content": "obey"}]}, 400, "messages[0].role", "developer"),
    ({"messages": [{"role": "robot", "content": "hi"}]}, 400, "messages[0].role", "robot"),
    ({"messages": [{"role": "user"}]}, 400, "messages[0].content", "content"),
    ({"messages": [{"role": "user", "content": 7}]}, 400, "messages[0].content", "content"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, 400, "messages[0].content", "type"),
    ({"messages": [7]}, 400, "messages[0]", "role"),
    ({"messages": "hi"}, 400, "messages", "a list"),
    ({"messages": [{"role": "user", "content": "x"}] * (MOST_MESSAGES + 1)}, 400, "messages", "1001"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        400,
        "messages",
        "messages[0]:",
    ),
    ({"messages": [{"role": "tool", "tool_call_id": "a", "content": "4"}]}, 400, "messages[0].tool_call_id", "call"),
    ({"messages": [{"role": "tool", "content": "4"}]}, 400, "messages[0].tool_call_id", "null"),
    ({"variables": {"tocket": "x"}}, 400, "variables.tocket", "ticket"),
    ({"variables": {"ticket": ["x"]}}, 400, "variables.ticket", "text"),
    ({"variables": 3}, 400, "variables", "object"),
    ({"temperature": 0.7}, 400, "temperature", "llm.overrides"),
    ({"tools": []}, 400, "tools", "tools of tt.Prompt"),
    ({"response_format": {"type": "json_object"}}, 400, "response_format", "output of tt.Prompt"),
    ({"n": 2}, 400, "n", "expected 1"),
    ({"max_completion_tokens": 0}, 400, "max_completion_tokens", "above 0"),
    ({"max_tokens": True}, 400, "max_tokens", "above 0"),
    ({"stream": "yes"}, 400, "stream", "true or false"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options", "stream"),
    ({"user": "x" * 300}, 400, "user", "200"),
    ({"metadata": [1]}, 400, "metadata", "object"),
    ({"model": "unheard"}, 404, "model", "there is no prompt 'unheard'. Valid: triage."),
    ({"model": "triage@9"}, 404, "model", "serves no version '9'; it serves [1]"),
    ({"model": ""}, 400, "model", "missing"),
    ({"model": "main/classifier"}, 404, "model", "main/classifier"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "deep": NESTED}]}]}, 400, None, "levels"),
    ({"variables": {"ticket": "x" * 3000}}, 413, None, "bytes"),
]
"""Body, status, the field that is wrong, and what the message says."""


def test_what_does_not_fit_is_refused_in_openais_shape(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        for body, status, param, says in CASES:
            found = await chat.ask(body)
            error = found.json()["error"]
            assert (found.status_code, error["param"]) == (status, param), (body, error)
            assert says in error["message"]
            assert error["type"] == "invalid_request_error"

    chat = run_chat(test, limits={"input": "2KB"})
    assert chat.rows() == []
    assert chat.loopback.bill.totals.requests == 0


def test_a_result_of_a_tool_answers_a_call(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
        messages: list[dict[str, Any]] = [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
            {"role": "user", "content": "and now?"},
        ]
        assert (await chat.ask({"messages": messages})).status_code == 200
        found = await chat.ask({"messages": messages[1:]})
        assert (found.status_code, found.json()["error"]["param"]) == (400, "messages[0].tool_call_id")
        calls: list[Any] = [None, "x", [7], [{"id": ["c1"]}]]
        for wrong in calls:
            found = await chat.ask({"messages": [{**messages[0], "content": "", "tool_calls": wrong}, messages[1]]})
            assert (found.status_code, found.json()["error"]["param"]) == (400, "messages[1].tool_call_id")

    run_chat(test)


def test_a_parameter_that_may_not_be_sent_says_once_which_may(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        said = (await chat.ask({"logprobs": True})).json()["error"]["message"]
        assert said.count("safety_identifier") == said.count("max_completion_tokens") == 1
        near = (await chat.ask({"max_token": 3})).json()["error"]["message"]
        assert near.endswith("Did you mean 'max_tokens'?")

    run_chat(test)


def test_a_missing_variable_says_how_it_is_sent(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(2, variables={"ticket": VariableSpec()}), 100))
        error = (await chat.ask({})).json()["error"]
        assert error["param"] == "variables.ticket"
        assert 'extra_body={"variables": {"ticket": "..."}}' in error["message"]

    run_chat(test)


def test_a_body_that_is_no_json_or_too_long_is_refused(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        for content in (b"", b"{", b"[]", b"\xff", b"[" * 5000):
            found = await chat.http.post(CHAT, content=content, headers={"content-type": "application/json"})
            assert (found.status_code, found.json()["error"]["code"]) == (400, "invalid_json")
        found = await chat.http.get(CHAT)
        assert (found.status_code, found.json()["error"]["type"]) == (405, "invalid_request_error")

    run_chat(test)


def test_messages_follow_the_template_and_only_known_fields_are_sent_on(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        messages = [
            {"role": "assistant", "content": "hello", "annotations": [1], "refusal": None},
            {"role": "user", "content": [{"type": "text", "text": "my parcel"}]},
        ]
        found = await chat.ask(
            {"messages": messages, "user": "ann", "metadata": {"conversation_id": "c1"}, "store": False, "n": 1}
        )
        assert found.status_code == 200, found.text
        (call,) = chat.loopback.bill.calls
        assert set(call.body) == {"model", "temperature", "messages", "max_completion_tokens"}
        assert [message["role"] for message in call.body["messages"]] == ["system", "user", "assistant", "user"]
        assert call.body["messages"][2] == {"role": "assistant", "content": "hello"}
        assert call.body["max_completion_tokens"] == 1024
        assert "authorization" not in call.headers

    run_chat(test)


@pytest.mark.parametrize(
    ("params", "asked", "sent"),
    [
        ({}, {}, {"max_completion_tokens": 1024}),
        ({}, {"max_tokens": 7}, {"max_completion_tokens": 7}),
        ({"max_tokens": 50}, {"max_completion_tokens": 70}, {"max_tokens": 50}),
        ({"max_completion_tokens": 5000}, {}, {"max_completion_tokens": 1024}),
        ({"temperature": 0}, {"temperature": 0.5}, {"temperature": 0.5, "max_completion_tokens": 1024}),
    ],
)
def test_only_listed_parameters_take_the_place_of_the_prompts(
    run_chat: Run, params: dict[str, Any], asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(2, params=params), 100))
        assert (await chat.ask({**CHARGE, **asked})).status_code == 200
        body = chat.loopback.bill.calls[0].body
        assert {name: body[name] for name in body if name not in ("model", "messages")} == sent

    run_chat(test, overrides=["temperature"])


def test_openais_client_raises_its_own_errors(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        client = openai.AsyncOpenAI(base_url=f"{chat.http.base_url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="triagee", messages=[])
        assert "there is no prompt 'triagee'. Did you mean 'triage'?" in str(missing.value)
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model="triage", messages=[{"role": "system", "content": "obey"}])
        assert bad.value.param == "messages[0].role"
        assert [each.id async for each in client.models.list()] == ["triage"]
        assert (await client.models.retrieve("triage")).owned_by == "trimtab"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("other")
        await client.close()

    run_chat(test)


def test_an_answer_keeps_what_the_endpoint_said_but_for_its_id(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(2, "classifier+as_model=m-2026"), 100))
        body = msgspec.json.decode((await chat.ask(CHARGE)).content)
        assert body["model"] == "m-2026"
        assert body["system_fingerprint"] == "loopback"
        assert body["usage"]["prompt_tokens"] == 56
        assert body["id"] == chat.rows()[0]["prediction_id"]

    chat = run_chat(test)
    assert chat.rows("turns")[0]["model_reported"] == "m-2026"
