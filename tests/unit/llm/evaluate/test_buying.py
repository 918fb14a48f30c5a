"""Answers are bought once, retried where that helps, and paid as the provider bills them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kit.loopback import asked, loopback, target
from trimtab.bundle.prompt_spec import PriceSpec, TargetSpec
from trimtab.clock import SystemClock
from trimtab.errors import StageError
from trimtab.llm.evaluate import buying
from trimtab.llm.evaluate.answer_cache import Answer
from trimtab.llm.evaluate.buying import Buyer
from trimtab.llm.loopback.starting import OpenLoopback
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_scopes import BudgetExceeded, Caller, SpendRules
from trimtab.llm.upstream.upstream_client import Upstream
from trimtab.policy.llm.section_llm import CallTimeouts
from trimtab.stores.catalog import open_spend

__all__ = ["loopback"]

PRICE = PriceSpec(input=1_000, output=2_000)
CAP = 10**12


def bought(
    folder: Path, of: TargetSpec, *bodies: dict[str, Any], retries: int = 2, cap: int = CAP
) -> tuple[list[Answer | BaseException], int]:
    """Buy answers one after another; return them with what the ledger booked."""
    timeouts = CallTimeouts.model_validate({"first_token": "300ms", "between_tokens": "300ms"})

    async def run() -> list[Answer | BaseException]:
        upstream = Upstream(timeouts)
        buyer = Buyer(
            upstream,
            ledger,
            Caller(prompt="triage", run="one", run_cap=cap),
            clock=SystemClock(),
            retries=retries,
            mask=lambda text: text.replace("secret", "<SECRET>"),
        )
        found: list[Answer | BaseException] = []
        for body in bodies:
            found += await asyncio.gather(buyer(of, body, purpose="eval"), return_exceptions=True)
        upstream.close()
        return found

    ledger = Ledger(open_spend(None, folder), folder, SpendRules())
    try:
        found = asyncio.run(run())
    finally:
        ledger.close()
    store = open_spend(None, folder)
    (account,) = store.accounts(scopes=["run:one"])
    store.close()
    return found, account.spent


def model(url: str, name: str) -> TargetSpec:
    return target(url, name, prices={name: (PRICE,)})


def request(text: str) -> dict[str, Any]:
    return {**asked(text), "max_completion_tokens": 50}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buying, "FIRST_PAUSE_S", 0.01)


def test_the_ledger_equals_the_bill_of_the_provider(tmp_path: Path, loopback: OpenLoopback) -> None:
    bodies = [request(f"what is {n} and {n}") for n in range(5)]
    found, booked = bought(tmp_path, model(loopback.url, "echo"), *bodies)
    totals = loopback.bill.totals
    assert booked == totals.input_tokens * PRICE.input + totals.output_tokens * PRICE.output > 0
    assert sum(each.cost_pico for each in found if isinstance(each, Answer)) == booked
    assert {each.usage for each in found if isinstance(each, Answer)} == {"reported"}
    assert all(isinstance(each, Answer) and 0 < each.first_token_ms <= each.latency_ms for each in found)


def test_what_fails_twice_is_asked_again_and_refusals_cost_nothing(tmp_path: Path, loopback: OpenLoopback) -> None:
    (found,), booked = bought(tmp_path, model(loopback.url, "echo+status=503+times=2"), request("hello"))
    assert isinstance(found, Answer)
    assert (found.text, found.attempts) == ("hello", 3)
    assert found.cost_pico == booked


def test_an_endpoint_that_stays_down_ends_it(tmp_path: Path, loopback: OpenLoopback) -> None:
    (found,), booked = bought(tmp_path, model(loopback.url, "echo+status=503"), request("hello"), retries=1)
    assert isinstance(found, StageError)
    assert "status 503 (2 attempts)" in str(found)
    assert booked == 0


def test_attempts_that_the_provider_may_bill_are_booked_as_estimates(tmp_path: Path, loopback: OpenLoopback) -> None:
    (found,), booked = bought(tmp_path, model(loopback.url, "echo+hang"), request("hello"), retries=1)
    assert isinstance(found, StageError)
    assert booked > 0


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_a_failed_answer_with_its_reason_masked(
    tmp_path: Path, loopback: OpenLoopback, status: int
) -> None:
    of = model(loopback.url, f"echo+status={status}+text=my secret context")
    (found,), booked = bought(tmp_path, of, request("hello"))
    assert isinstance(found, Answer)
    assert found.error.startswith(f"status {status}")
    assert "<SECRET>" in found.error
    assert booked == 0


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_model_ends_it_at_once(tmp_path: Path, loopback: OpenLoopback, status: int) -> None:
    (found,), _ = bought(tmp_path, model(loopback.url, f"echo+status={status}"), request("hello"))
    assert isinstance(found, StageError)
    assert loopback.bill.totals.requests == 1


def test_no_call_is_made_that_the_budget_does_not_cover(tmp_path: Path, loopback: OpenLoopback) -> None:
    bodies = [request("hello")] * 40
    found, booked = bought(tmp_path, model(loopback.url, "echo"), *bodies, cap=400_000)
    assert isinstance(found[0], Answer)
    assert isinstance(found[-1], BudgetExceeded)
    assert booked <= 400_000
    assert loopback.bill.totals.requests == sum(isinstance(each, Answer) for each in found)


def test_a_missing_secret_costs_nothing(tmp_path: Path, loopback: OpenLoopback) -> None:
    of = model(loopback.url, "echo")
    of = msgspec.structs.replace(of, endpoint=msgspec.structs.replace(of.endpoint, key="NO_SUCH_KEY_OF_A_TEST"))
    (found,), booked = bought(tmp_path, of, request("hello"))
    assert isinstance(found, StageError)
    assert "NO_SUCH_KEY_OF_A_TEST is not set" in str(found)
    assert booked == 0
