"""Models of endpoints that clients name themselves: chats and embeddings, only where the policy lets them."""

from __future__ import annotations

import openai
import pytest

from trimtab.llm.loopback.loopback_server import EMBEDDING
from unit.serving.chat.conftest import Chatting, Run, text_of
from unit.serving.chat.test_chat_roles import grant

HELLO = {
    "model": "main/echo",
    "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
}


def test_a_client_names_endpoint_and_model(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        found = await chat.ask({**HELLO, "temperature": 0.3, "max_tokens": 5})
        assert found.json()["choices"][0]["message"]["content"] == "hi"
        assert text_of(await chat.events(HELLO)) == "hi"
        body = chat.loopback.bill.calls[0].body
        assert {name: body[name] for name in body if name != "messages"} == {
            "model": "echo",
            "temperature": 0.3,
            "max_completion_tokens": 5,
        }
        listed = (await chat.http.get("/v1/models")).json()["data"]
        assert [each["id"] for each in listed] == ["triage", "main/echo", f"main/{EMBEDDING}"]
        assert body["messages"] == HELLO["messages"]
        for name in ("main/unpriced", "other/echo", "main/"):
            missing = await chat.ask({**HELLO, "model": name})
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
        assert "main/echo" in (await chat.ask({**HELLO, "model": "main/ecko"})).json()["error"]["message"]

    chat = run_chat(test, passthrough=True)
    assert chat.rows() == []  # no version of a prompt
    assert [(turn["model"], turn["usage"]) for turn in chat.rows("turns")] == [("main/echo", "reported")] * 2


def test_without_the_policy_no_model_can_be_named(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        assert (await chat.ask(HELLO)).status_code in (400, 404)
        found = await chat.http.post("/v1/embeddings", json={"model": f"main/{EMBEDDING}", "input": "hi"})
        assert found.status_code == 404
        assert "llm.passthrough of trimtab.yaml lets clients name models" in found.json()["error"]["message"]
        assert chat.loopback.bill.totals.requests == 0

    run_chat(test)


def test_openais_client_gets_vectors(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        client = openai.AsyncOpenAI(base_url=f"{chat.http.base_url}/v1", api_key="tt_web", max_retries=0)
        found = await client.embeddings.create(model=f"main/{EMBEDDING}", input=["one", "two"])
        plain = await client.embeddings.create(model=f"main/{EMBEDDING}", input="one", encoding_format="float")
        assert len(found.data) == 2
        assert found.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
        assert found.usage.prompt_tokens == 2
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model=f"main/{EMBEDDING}", input=[])
        await client.close()
        other = openai.AsyncOpenAI(base_url=f"{chat.http.base_url}/v1", api_key="tt_chat", max_retries=0)
        with pytest.raises(openai.PermissionDeniedError):
            await other.embeddings.create(model=f"main/{EMBEDDING}", input="x")
        await other.close()

    grants = [grant("web", verbs=("embed",)), grant("chat")]
    chat = run_chat(test, passthrough=True, grants=grants)
    turns = chat.rows("turns")
    assert [(turn["input_tokens"], turn["output_tokens"], turn["cost_pico"]) for turn in turns] == [
        (2, 0, 300_000),
        (1, 0, 150_000),
    ]
