"""Who answers when an endpoint does not: attempts, fallbacks, the champion. Never after the first token."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.bundle.prompt_spec import PriceSpec, TargetSpec
from unit.serving.chat.conftest import Chatting, Run, priced, text_of

CHARGE = {"variables": {"ticket": "the charge on my card is wrong"}}
QUICK = {"timeouts": {"total": "20s"}}


def to(chat: Chatting, model: str, name: str = "spare") -> TargetSpec:
    return TargetSpec(endpoint=priced(chat.loopback.url, name), model=model)


FAILURES = [
    ("classifier+status=500", 502, "upstream_5xx"),
    ("classifier+status=429+retry_after=0", 429, "upstream_429"),
    ("classifier+status=401", 502, "upstream_4xx"),
    ("classifier+status=400+text=canary-1234", 400, "upstream_4xx"),
    ("classifier+drop", 502, "upstream_connect"),
    ("classifier+hang", 504, "upstream_timeout"),
    ("unknown", 502, "upstream_4xx"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_token_is_a_true_status(run_chat: Run, stream: bool) -> None:
    failures = [*FAILURES, ("classifier+error=first", 502, "upstream_5xx")] if stream else FAILURES

    async def test(chat: Chatting) -> None:
        for version, (model, status, code) in enumerate(failures, 1):
            chat.serve(("champion", chat.prompt(version, model), 100))
            found = await chat.ask({"stream": stream, **CHARGE})
            assert (found.status_code, found.json()["error"]["code"]) == (status, code), model
            assert "canary" not in found.text
            assert found.headers["content-type"] == "application/json"

    policy: dict[str, Any] = {"retry": {"attempts": 1}, "timeouts": {"first_token": "1s", "total": "2s"}}
    chat = run_chat(test, **policy)
    told = [(row["error"], row["served"], row["score"]) for row in sorted(chat.rows(), key=lambda row: row["version"])]
    assert told == [(code, True, None) for _, _, code in failures]


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_attempt_answers(run_chat: Run, stream: bool) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(2, f"classifier+status=503+times=1+as_model=m{stream}"), 100))
        found = await chat.ask({"stream": stream, **CHARGE})
        assert found.status_code == 200, found.text

    chat = run_chat(test)
    (row,), (turn,) = chat.rows(), chat.rows("turns")
    assert (row["error"], row["route"], turn["attempts"], turn["fell_back_from"]) == (None, "split", 2, None)
    assert turn["cost_pico"] == billed(chat)


@pytest.mark.parametrize("stream", [False, True])
def test_a_fallback_of_the_prompt_answers(run_chat: Run, stream: bool) -> None:
    async def test(chat: Chatting) -> None:
        prompt = chat.prompt(2, "classifier+status=500", fallbacks=(to(chat, "echo+drop"), to(chat, "classifier")))
        chat.serve(("champion", prompt, 100))
        found = await chat.ask({"stream": stream, **CHARGE})
        assert "billing" in found.text

    chat = run_chat(test, **QUICK, retry={"attempts": 1})
    (row,), (turn,) = chat.rows(), chat.rows("turns")
    assert (row["error"], row["route"]) == (None, "split")
    assert (turn["endpoint"], turn["upstream_model"], turn["fell_back_from"]) == (
        "spare",
        "classifier",
        "spare/echo+drop",
    )
    assert turn["attempts"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_the_champion_answers_for_a_challenger_and_the_challengers_failure_is_logged(
    run_chat: Run, stream: bool
) -> None:
    async def test(chat: Chatting) -> None:
        broken = chat.prompt(2, "classifier+hang" if stream else "classifier+cut")
        chat.serve(("champion", chat.prompt(1), 0), ("challenger", broken, 100))
        found = await chat.ask({"stream": stream, **CHARGE})
        assert "billing" in found.text
        assert (found.headers["x-trimtab-version"], found.headers["x-trimtab-role"]) == ("1", "champion")

    chat = run_chat(test, timeouts={"first_token": "1s", "total": "10s"}, retry={"attempts": 1})
    rows = sorted(chat.rows(), key=lambda row: row["version"])
    told = [(row["version"], row["role"], row["served"], row["route"], row["error"]) for row in rows]
    assert told == [
        (1, "champion", True, "fallback", None),
        (2, "challenger", False, "split", "upstream_timeout" if stream else "upstream_cut"),
    ]
    assert len({row["prediction_id"] for row in rows}) == 1
    turns = {turn["version"]: turn for turn in chat.rows("turns")}
    assert turns[2]["cost_pico"] > 0  # it was asked, and may bill what it read
    assert turns[2]["usage"] == "estimated"


def test_a_pinned_version_is_not_replaced(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(1), 100), ("challenger", chat.prompt(2, "classifier+status=500"), 0))
        found = await chat.ask({"model": "triage@2", **CHARGE})
        assert found.status_code == 502

    (row,) = run_chat(test, retry={"attempts": 1}).rows()
    assert (row["version"], row["route"], row["served"]) == (2, "pinned", True)


def test_after_the_first_token_nobody_else_answers(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        prompt = chat.prompt(2, "echo+cut=event", fallbacks=(to(chat, "echo"),))
        chat.serve(("champion", chat.prompt(1), 0), ("challenger", prompt, 100))
        events = await chat.events({"variables": {"ticket": "a b c d"}})
        assert events[-1]["error"]["code"] == "stream_interrupted"
        assert text_of(events) == "a b"
        assert chat.loopback.bill.totals.requests == 1

    (row,) = run_chat(test).rows()
    assert (row["version"], row["error"]) == (2, "stream_interrupted")


@pytest.mark.parametrize(
    ("policy", "status", "calls"),
    [
        ({"invalid": "retry_then_fail", "retries": 2}, 502, 3),
        ({"invalid": "fail"}, 502, 1),
        ({"invalid": "pass"}, 200, 1),
    ],
)
def test_an_answer_that_does_not_fit_is_asked_again(
    run_chat: Run, policy: dict[str, Any], status: int, calls: int
) -> None:
    schema = {"type": "object", "required": ["queue"]}

    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(2, "classifier+invalid_json", schema=schema), 100))
        found = await chat.ask(CHARGE)
        assert found.status_code == status
        assert chat.loopback.bill.totals.requests == calls

    chat = run_chat(test, output=policy)
    (row,), (turn,) = chat.rows(), chat.rows("turns")
    assert row["error"] == (None if status == 200 else "invalid_output")
    assert (turn["format_ok"], turn["attempts"]) == (False, calls)
    assert turn["cost_pico"] == billed(chat)


def test_an_endpoint_without_its_secret_falls_back(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        keyed = TargetSpec(endpoint=priced(chat.loopback.url, "keyed", key="NO_SUCH_SECRET"), model="classifier")
        chat.serve(("champion", chat.prompt(2, target=keyed, fallbacks=(to(chat, "classifier"),)), 100))
        assert (await chat.ask(CHARGE)).status_code == 200
        chat.serve(("champion", chat.prompt(3, target=keyed), 100))
        found = await chat.ask(CHARGE)
        assert (found.status_code, found.json()["error"]["code"]) == (503, "upstream_key")
        assert "NO_SUCH_SECRET" not in found.text

    run_chat(test)


def billed(chat: Chatting) -> int:
    """Return what the provider's bill is worth, at the price of the tests."""
    price, totals = PriceSpec(input=150_000, output=600_000, cached=75_000), chat.loopback.bill.totals
    return totals.input_tokens * price.input + totals.output_tokens * price.output


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_the_client_cuts_short_is_given_as_it_is(run_chat: Run, stream: bool) -> None:
    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(2, schema={"type": "object", "required": ["queue"]}), 100))
        cut = {**CHARGE, "max_completion_tokens": 1}
        if stream:
            events = await chat.events(cut)
            assert (events[-2]["choices"][0]["finish_reason"], events[-1]) == ("length", "[DONE]")
        else:
            found = await chat.ask(cut)
            assert (found.status_code, found.json()["choices"][0]["finish_reason"]) == (200, "length")
        assert chat.loopback.bill.totals.requests == 1

    chat = run_chat(test)
    (row,), (turn,) = chat.rows(), chat.rows("turns")
    assert (row["error"], turn["format_ok"], turn["finish_reason"]) == (None, None, "length")
