"""Which version answers: the split by conversation or user, pins, and what tokens allow."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from trimtab.bundle.prompt_spec import EndpointSpec, PriceSpec, TargetSpec
from trimtab.serving.orders import Grant
from unit.serving.chat.conftest import CHAT, Chatting, Run

CHARGE = {"variables": {"ticket": "the charge on my card is wrong"}}


def grant(name: str, *, models: tuple[str, ...] = (), verbs: tuple[str, ...] = ("chat",), **more: Any) -> Grant:
    digest = hashlib.sha256(f"tt_{name}".encode()).hexdigest()
    return Grant(digest, name, models, verbs, None, **more)


def halves(chat: Chatting) -> None:
    chat.serve(("champion", chat.prompt(1), 50), ("challenger", chat.prompt(2), 50))


async def versions(chat: Chatting, bodies: list[dict[str, Any]], **headers: str) -> list[str]:
    found = [await chat.ask({**CHARGE, **body}, **headers) for body in bodies]
    assert all(each.status_code == 200 for each in found), found[0].text
    return [each.headers["x-trimtab-version"] for each in found]


def test_a_conversation_stays_with_its_version_and_conversations_are_split(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        halves(chat)
        by_header = [(await versions(chat, [{}, {}], x_trimtab_conversation=f"session {n}")) for n in range(12)]
        by_metadata = [await versions(chat, [{"metadata": {"conversation_id": f"session {n}"}}]) for n in range(12)]
        assert all(first == second for first, second in by_header)
        assert {first for first, _ in by_header} == {"1", "2"}
        assert [first for first, _ in by_header] == [each for (each,) in by_metadata]

    chat = run_chat(test)
    rows = chat.rows()
    assert {row["role"] for row in rows} == {"champion", "challenger"}
    told = {dict(row["entities"])["conversation"] for row in rows}
    assert len(told) == 12
    assert not any("session" in each for each in told)  # a keyed hash


def test_without_an_id_the_first_message_and_the_user_make_a_conversation(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        halves(chat)
        for n in range(8):
            first = {"role": "user", "content": f"question {n}"}
            later = [first, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "and then?"}]
            one, two = await versions(chat, [{"messages": [first], "user": "ann"}, {"messages": later, "user": "ann"}])
            assert one == two

    chat = run_chat(test)
    assert len({dict(row["entities"])["conversation"] for row in chat.rows()}) == 8
    assert sorted({row["features"][3] for row in chat.rows()}) == [1.0, 2.0]  # the place in the conversation


def test_a_user_stays_with_a_version_where_the_policy_says_so(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        halves(chat)
        for n in range(8):
            bodies = [{"user": f"u{n}", "metadata": {"conversation_id": f"{n}{m}"}} for m in range(3)]
            assert len(set(await versions(chat, bodies))) == 1
        found = await chat.ask(CHARGE)
        assert (found.status_code, found.json()["error"]["param"]) == (400, "user")

    run_chat(test, sticky="user")


def test_tokens_open_prompts_verbs_and_nothing_of_others(run_chat: Run) -> None:
    grants = [
        grant("web", models=("triage",)),
        grant("ops", verbs=("chat", "pin")),
        grant("old", verbs=("infer", "feedback", "read")),
        grant("desk", models=("desk_2",)),
    ]

    async def test(chat: Chatting) -> None:
        chat.serve(("champion", chat.prompt(1, name="desk_2"), 100))
        for token, body, status, code in (
            ("", {}, 401, "invalid_api_key"),
            ("nobody", {}, 401, "invalid_api_key"),
            ("web", {}, 200, None),
            ("web", {"model": "desk_2"}, 403, "permission_denied"),
            ("web", {"model": "unheard"}, 403, "permission_denied"),
            ("web", {"model": "triage@1"}, 403, "permission_denied"),
            ("ops", {"model": "triage@1"}, 200, None),
            ("ops", {"model": "desk_2"}, 200, None),
            ("old", {}, 403, "permission_denied"),
            ("desk", {}, 403, "permission_denied"),
        ):
            headers = {"authorization": f"Bearer tt_{token}"} if token else {}
            found = await chat.ask({**CHARGE, **body}, **headers)
            assert found.status_code == status, (token, body, found.text)
            if code is not None:
                assert found.json()["error"]["code"] == code
            if status == 401:
                assert found.headers["www-authenticate"].startswith("Bearer")
            assert "desk_2" not in found.text or token in ("ops", "desk") or body.get("model") == "desk_2"
        for token, names in (("web", ["triage"]), ("ops", ["desk_2", "triage"]), ("desk", ["desk_2"])):
            found = await chat.http.get("/v1/models", headers={"authorization": f"Bearer tt_{token}"})
            assert [each["id"] for each in found.json()["data"]] == names
        found = await chat.http.get("/v1/models/triage", headers={"authorization": "Bearer tt_desk"})
        assert found.status_code == 404

    chat = run_chat(test, grants=grants)
    assert {dict(row["entities"])["tenant"] for row in chat.rows()} == {"web", "ops"}
    assert not any("tt_" in str(call.headers) for call in chat.loopback.bill.calls)


def test_equal_conversations_of_two_tokens_are_two(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        for token in ("web", "ops"):
            await chat.ask(CHARGE, authorization=f"Bearer tt_{token}", x_trimtab_conversation="c1")

    chat = run_chat(test, grants=[grant("web"), grant("ops")])
    assert len({dict(row["entities"])["conversation"] for row in chat.rows()}) == 2


def test_budgets_and_rates_are_told_as_429(run_chat: Run) -> None:
    grants = [grant("web", budget="small"), grant("quick", limits="few"), grant("ops")]

    async def test(chat: Chatting) -> None:
        spent = [await chat.ask(CHARGE, authorization="Bearer tt_web") for _ in range(3)]
        assert [each.status_code for each in spent] == [200, 429, 429]
        error = spent[-1].json()["error"]
        assert (error["code"], error["type"]) == ("budget_exceeded", "rate_limit_error")
        assert int(spent[-1].headers["retry-after"]) > 0
        limited = [await chat.ask(CHARGE, authorization="Bearer tt_quick") for _ in range(3)]
        assert [each.status_code for each in limited] == [200, 200, 429]
        assert limited[-1].json()["error"]["code"] == "rate_limit_exceeded"
        assert limited[0].headers["x-ratelimit-limit-requests"] == "2"
        assert limited[0].headers["x-ratelimit-remaining-requests"] == "1"
        assert (await chat.ask(CHARGE, authorization="Bearer tt_ops")).status_code == 200

    chat = run_chat(
        test,
        grants=grants,
        budgets={"small": {"limit": "0.000668/day"}},
        token_limits={"few": {"requests": "2/h"}},
    )
    refused = [row["error"] for row in chat.rows() if row["error"]]
    assert sorted(refused) == ["budget_exceeded", "budget_exceeded", "rate_limited"]


def test_a_spent_budget_falls_back_to_what_costs_nothing(run_chat: Run) -> None:
    async def test(chat: Chatting) -> None:
        free = EndpointSpec(name="free", url=chat.loopback.url, prices={"echo": (PriceSpec(input=0, output=0),)})
        prompt = chat.prompt(2, fallbacks=(TargetSpec(endpoint=free, model="echo"),))
        chat.serve(("champion", prompt, 100))
        found = await chat.ask(CHARGE)
        assert found.json()["choices"][0]["message"]["content"] == CHARGE["variables"]["ticket"]

    chat = run_chat(test, budgets={"project": {"limit": "0.000001/day", "when_spent": "fallback"}})
    (turn,) = chat.rows("turns")
    assert (turn["endpoint"], turn["fell_back_from"], turn["cost_pico"]) == ("free", "main/classifier", 0)


@pytest.mark.parametrize("stream", [True, False])
def test_many_callers_at_once_never_pass_a_limit(run_chat: Run, stream: bool) -> None:
    async def test(chat: Chatting) -> None:
        asked = [chat.http.post(CHAT, json={"model": "triage", "stream": stream, **CHARGE}) for _ in range(40)]
        statuses = [each.status_code for each in await asyncio.gather(*asked)]
        assert set(statuses) == {200, 429}
        cost = sum(turn["cost_pico"] for turn in chat.rows("turns"))
        assert cost <= 2_000_000_000

    run_chat(test, budgets={"project": {"limit": "0.002/day"}})
