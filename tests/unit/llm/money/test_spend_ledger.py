"""The ledger on an event loop: waiting calls, calls whose client leaves, and threads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from unittest import mock

import pytest

from trimtab.bundle.prompt_spec import EndpointSpec
from trimtab.errors import StoreError
from trimtab.llm.money.leases import Hold
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_scopes import Budget, BudgetExceeded, Caller, RateLimited, RateRules, SpendRules
from trimtab.stores.spend.accounts import SqliteSpend
from trimtab.stores.spend.contract import Account

RULES = SpendRules({"project": Budget(1000, "month")}, RateRules(None, None, 3))
ONE = Caller(prompt="triage")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(SqliteSpend(tmp_path / "spend.db"), tmp_path, RULES)
    yield made
    made.close()


def project(folder: Path) -> Account:
    store = SqliteSpend(folder / "spend.db")
    (found,) = store.accounts(scopes=("project",))
    store.close()
    return found


async def _reserve(ledger: Ledger, number: int, *, bound: int = 30, caller: Caller = ONE) -> Hold | Exception:
    try:
        return await ledger.reserve(caller, bound=bound, purpose="serve", id=f"{number}")
    except (BudgetExceeded, RateLimited) as error:
        return error


def test_callers_at_once_get_what_there_is_and_no_more(ledger: Ledger, tmp_path: Path) -> None:
    async def all_of_them() -> list[Hold | Exception]:
        return await asyncio.gather(*(_reserve(ledger, number) for number in range(200)))

    found = asyncio.run(all_of_them())
    holds = [each for each in found if isinstance(each, Hold)]
    assert len(holds) == 1000 // 30
    refused = [each for each in found if isinstance(each, BudgetExceeded)]
    assert all(each.in_flight and each.retry_after == 1 for each in refused)
    for hold in holds:
        ledger.settle(hold, 10, "reported")
        ledger.settle(hold, 10, "reported")  # once
        ledger.release(hold)
    ledger.close()
    assert (project(tmp_path).spent, project(tmp_path).held) == (10 * len(holds), 0)


def test_a_call_whose_client_leaves_while_it_waits_holds_nothing(ledger: Ledger, tmp_path: Path) -> None:
    asked, answer, leases = Event(), Event(), SqliteSpend.lease

    def slow(*arguments: Any, **named: Any) -> Any:
        asked.set()
        answer.wait()
        return leases(*arguments, **named)

    async def leave() -> None:
        with mock.patch.object(SqliteSpend, "lease", slow):
            waiting = asyncio.create_task(_reserve(ledger, 1))
            await asyncio.to_thread(asked.wait)
            waiting.cancel()
            await asyncio.sleep(0)
            answer.set()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert isinstance(await _reserve(ledger, 2, bound=1000), Hold | BudgetExceeded)

    asyncio.run(leave())
    ledger.close()
    assert (project(tmp_path).spent, project(tmp_path).held) in ((0, 0), (1000, 0))  # the second one may be in flight


def test_calls_at_once_are_counted_for_tokens_and_endpoints(ledger: Ledger) -> None:
    near = EndpointSpec(name="near", url="http://127.0.0.1:1/v1", concurrent=2)
    caller = Caller(token="web", endpoint=near)

    async def ask() -> None:
        first, second, third = [await _reserve(ledger, number, bound=0, caller=caller) for number in range(3)]
        assert isinstance(first, Hold)
        assert isinstance(second, Hold)
        assert isinstance(third, RateLimited)
        assert (third.scope, third.retry_after) == ("endpoint:near/calls", 1.0)
        ledger.release(first)
        assert isinstance(await _reserve(ledger, 4, bound=0, caller=caller), Hold)

    asyncio.run(ask())


def test_a_call_that_never_fits_says_so(ledger: Ledger) -> None:
    with pytest.raises(
        BudgetExceeded, match=r"the budget of project is 1e-09, and this call may cost up to 1.001e-09"
    ) as spent:
        ledger.reserve_blocking(ONE, bound=1001, purpose="serve", id="1")
    assert (spent.value.too_large, spent.value.in_flight) == (True, False)
    near = EndpointSpec(name="near", url="http://127.0.0.1:1/v1", tokens="500/min")
    with pytest.raises(
        RateLimited, match=r"500 of endpoint:near/tokens is too small for this call, .* up to 501"
    ) as limited:
        ledger.reserve_blocking(Caller(endpoint=near), bound=0, purpose="serve", id="2", tokens=501)
    assert limited.value.too_large


def test_threads_share_a_ledger(ledger: Ledger, tmp_path: Path) -> None:
    def call(number: int) -> int:
        try:
            hold = ledger.reserve_blocking(ONE, bound=9, purpose="eval", id=f"{number}")
        except BudgetExceeded:
            return 0
        ledger.settle(hold, 3, "reported")
        return 3

    with ThreadPoolExecutor(8) as pool:
        spent = sum(pool.map(call, range(400)))
    ledger.close()
    assert (project(tmp_path).spent, project(tmp_path).held) == (spent, 0)
    assert 900 < spent <= 1000


def test_two_calls_of_one_id_are_two_turns(ledger: Ledger, tmp_path: Path) -> None:
    holds = [ledger.reserve_blocking(ONE, bound=30, purpose="serve", id="same") for _ in range(2)]
    assert [hold.id for hold in holds] == ["same", "same'"]
    ledger.settle(holds[0], 7, "reported")
    ledger.close()
    assert project(tmp_path).spent == 37  # the other one is assumed


def test_a_closed_ledger_refuses_calls(ledger: Ledger) -> None:
    ledger.close()
    with pytest.raises(StoreError, match="the ledger is closed"):
        ledger.reserve_blocking(ONE, bound=1, purpose="serve", id="1")


def test_a_workers_ledger_loads_no_heavy_library() -> None:
    code = (
        "import sys, trimtab.llm.money.spend_ledger, trimtab.llm.money.turn_cost, trimtab.stores.spend.accounts\n"
        "print([name for name in ('pydantic', 'sqlalchemy', 'polars', 'pyarrow', 'psycopg') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
