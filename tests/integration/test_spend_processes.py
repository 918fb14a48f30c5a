"""The ledger of several processes: 200 callers at a limit, and processes that are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from kit.waiting import wait_for
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_scopes import SpendRules
from trimtab.stores.catalog import open_spend
from trimtab.stores.spend.contract import SpendStore

WORKERS, CALLERS = 4, 50
CAP = 200_000
"""About 3,000 calls of 60; their bounds are 100 to 300."""
CALLING = f"""
import asyncio, os, random, sys
from pathlib import Path
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_scopes import Budget, BudgetExceeded, Caller, SpendRules
from trimtab.stores.catalog import open_spend

root, number = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(number)
bill = os.open(root / "bill", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
told = os.open(root / "told", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
rules = SpendRules({{"project": Budget({CAP}, "month")}})

async def caller(ledger, who):
    for turn in range(10**6):
        bound = chance.randrange(100, 300)
        id_ = f"{{number}}-{{who}}-{{turn}}"
        try:
            hold = await ledger.reserve(Caller(prompt="triage"), bound=bound, purpose="serve", id=id_)
        except BudgetExceeded as error:
            if not error.in_flight:
                return
            await asyncio.sleep(0.05)
            continue
        cost = chance.randrange(20, 100)
        os.write(bill, f"{{id_}} {{cost}}\\n".encode())  # the provider works, and bills
        await asyncio.sleep(chance.random() * 0.02)
        ledger.settle(hold, cost, "reported", input=cost, output=1)
        os.write(told, f"{{id_}}\\n".encode())

async def main(ledger):
    await asyncio.gather(*(caller(ledger, who) for who in range({CALLERS})))

ledger = Ledger(open_spend(None, root), root, rules)
asyncio.run(main(ledger))
ledger.close()
"""


@pytest.mark.parametrize("killed", [0, 2])
def test_two_hundred_callers_of_four_processes_never_pass_a_limit(tmp_path: Path, killed: int) -> None:
    store = open_spend(None, tmp_path)
    workers = [subprocess.Popen([sys.executable, "-c", CALLING, str(tmp_path), str(n)]) for n in range(WORKERS)]
    try:
        for worker in workers[:killed]:
            wait_for(lambda: _spent(store)[0] > CAP // 4, "a quarter is spent")
            worker.send_signal(signal.SIGKILL)
        while any(worker.poll() is None for worker in workers):
            spent, held = _spent(store)
            assert spent + held <= CAP
            wait_for(partial(_moved, store, spent, workers), "something is booked")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL] * killed + [0] * (WORKERS - killed)
    Ledger(open_spend(None, tmp_path), tmp_path, SpendRules()).close()  # books what the killed ones left
    billed = dict(line.split() for line in (tmp_path / "bill").read_text().splitlines())
    assumed = {turn.id: dict(turn.amounts) for turn in store.assumed()}
    assert len(assumed) <= killed * CALLERS
    spent, held = _spent(store)
    assert held == 0
    assert CAP * 0.9 < spent <= CAP
    exact = sum(int(cost) for id_, cost in billed.items() if id_ not in assumed)
    assert spent == exact + sum(next(iter(amounts.values())) for amounts in assumed.values())
    told = set((tmp_path / "told").read_text().split())
    assert not told & assumed.keys()  # what had ended is exact
    for id_ in assumed:
        store.settle(id_, int(billed.get(id_, 0)))
    assert _spent(store) == (sum(map(int, billed.values())), 0)
    calls = Counter[str]()
    (account,) = store.accounts(scopes=("project",))
    for (_, kind), total in account.totals.items():
        calls[kind] += total.calls
    assert calls["reported"] == len(billed.keys() | assumed.keys())
    store.close()


def _moved(store: SpendStore, before: int, workers: list[subprocess.Popen[bytes]]) -> bool:
    return _spent(store)[0] != before or all(worker.poll() is not None for worker in workers)


def _spent(store: SpendStore) -> tuple[int, int]:
    return next(((each.spent, each.held) for each in store.accounts(scopes=("project",))), (0, 0))
