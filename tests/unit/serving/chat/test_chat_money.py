"""What the ledger has booked is what the provider bills, whatever becomes of the calls."""

from __future__ import annotations

import asyncio
import random

import httpx
import pytest

from trimtab.stores.catalog import open_spend
from unit.serving.chat.conftest import CHAT, PRICE, Chatting, Run
from unit.serving.chat.test_chat_fallbacks import to
from unit.serving.http1.sockets import until

WORDS = "the charge on my card is wrong and my parcel is late"


@pytest.mark.parametrize("disconnect", ["cancel", "drain"])
def test_the_ledger_is_the_providers_bill(run_chat: Run, disconnect: str) -> None:
    chance = random.Random(7)

    async def test(chat: Chatting) -> None:
        models = ["echo", "echo+status=503+k=1+n=2", "echo+cut=event", "echo+pace=5", "echo+cached=0.5"]
        for version, model in enumerate(models, 2):
            prompt = chat.prompt(version, model, fallbacks=(to(chat, "echo"),))
            chat.serve(("champion", prompt, 100), ("shadow", chat.prompt(9, "classifier"), 0), revision=version)
            asked = []
            for _ in range(6):
                leaves = "pace" in model and chance.random() < 0.5
                asked.append(one(chat, stream=chance.random() < 0.5, leaves=leaves))
            await asyncio.gather(*asked)
        await until(lambda: chat.service._shadows._waiting.empty())
        await until(lambda: len(chat.rows("turns")) >= 30)
        await asyncio.gather(*chat.service._tasks, return_exceptions=True)

    async def one(chat: Chatting, *, stream: bool, leaves: bool) -> None:
        body = {"model": "triage", "stream": stream, "variables": {"ticket": f"{WORDS} {chance.random()}"}}
        if not leaves:
            await chat.http.post(CHAT, json=body)
            return
        async with httpx.AsyncClient(base_url=chat.http.base_url) as leaving:
            try:
                await leaving.post(CHAT, json=body, timeout=0.03)
            except httpx.TimeoutException:
                return

    chat = run_chat(test, disconnect=disconnect, shadow={"sample": 1.0}, retry={"attempts": 2})
    totals, turns = chat.loopback.bill.totals, chat.rows("turns")
    billed = (
        (totals.input_tokens - totals.cached_tokens) * PRICE.input
        + totals.cached_tokens * (PRICE.cached or 0)
        + totals.output_tokens * PRICE.output
    )
    store = open_spend(None, chat.folder)
    (project,) = [row for row in store.accounts() if row.key.scope == "project"]
    store.close()
    assert project.held == 0
    assert project.spent == sum(turn["cost_pico"] for turn in turns)
    estimated = sum(turn["cost_pico"] for turn in turns if turn["usage"] == "estimated")
    assert abs(project.spent - billed) <= estimated  # what was reported is exact
    if disconnect == "drain":
        reported = [turn for turn in turns if turn["usage"] == "reported"]
        assert len(reported) >= 20
