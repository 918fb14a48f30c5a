"""Whole and streamed answers of prompts, as OpenAI's client libraries read them."""

from __future__ import annotations

from unit.serving.chat.conftest import Chatting, Run, text_of


def test_a_prompt_answers(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        found = await chat.ask({"variables": {"ticket": "the charge on my card is wrong"}})
        assert found.status_code == 200, found.text
        body = found.json()
        assert body["choices"][0]["message"]["content"] == "billing"
        assert body["id"].startswith("chatcmpl-")
        events = await chat.events({"variables": {"ticket": "the charge on my card is wrong"}})
        assert text_of(events) == "billing"
        assert events[-1] == "[DONE]"
        assert [found.headers[f"x-trimtab-{name}"] for name in ("version", "revision", "role")] == [
            "1",
            "7",
            "champion",
        ]

    chat = run_chat(test)
    rows, turns = chat.rows(), chat.rows("turns")
    assert len(rows) == len(turns) == 2
