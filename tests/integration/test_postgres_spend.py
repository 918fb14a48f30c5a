"""The store of spend in a real PostgreSQL: the contract, and a server that goes away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.postgres import Postgres, a_postgres
from trimtab.errors import StoreError
from trimtab.llm.money.spend_ledger import Ledger
from trimtab.llm.money.spend_scopes import Budget, BudgetExceeded, Caller, SpendRules
from trimtab.stores.catalog import open_spend
from trimtab.stores.spend.contract import SpendStore
from trimtab.testing import SpendConformance
from trimtab.testing.spend import begin

TABLES = ("rows", "owners", "leases", "totals", "assumed")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with a_postgres() as found:
        open_spend(_url(found), Path()).close()
        yield found


def _url(server: Postgres) -> str:
    return server.url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(autouse=True)
def _emptied(server: Postgres) -> None:
    server.do(f"TRUNCATE {', '.join(f'trimtab_spend_{name}' for name in TABLES)}")


class TestPostgres(SpendConformance):
    @pytest.fixture(autouse=True)
    def _of(self, server: Postgres) -> None:
        self._server = server

    def open(self, folder: Path) -> SpendStore:
        return open_spend(_url(self._server), folder)


def test_a_ledger_leases_books_and_recovers_in_postgresql(server: Postgres, tmp_path: Path) -> None:
    rules = SpendRules({"purpose:tune": Budget(1000, "month")})
    ledger = Ledger(open_spend(_url(server), tmp_path), tmp_path, rules)
    holds = [ledger.reserve_blocking(Caller(), bound=300, purpose="tune", id=f"{n}") for n in range(3)]
    with pytest.raises(BudgetExceeded, match="purpose:tune is held by calls in flight"):
        ledger.reserve_blocking(Caller(), bound=300, purpose="tune", id="4")
    ledger.settle(holds[0], 200, "reported", input=10, output=1)
    ledger.release(holds[1])
    ledger.close()
    store = open_spend(_url(server), tmp_path)
    (row,) = store.accounts(scopes=("purpose:tune",))
    assert (row.spent, row.held) == (500, 0)
    assert [turn.id for turn in store.assumed()] == ["2"]
    store.close()


def test_a_server_that_comes_back_is_used_again(server: Postgres, tmp_path: Path) -> None:
    store = open_spend(_url(server), tmp_path)
    server.kill()
    with pytest.raises(StoreError, match="spend store: PostgreSQL"):
        begin(store, "a")
    server.start()
    begin(store, "a")
    assert "a" in [each.owner for each in store.owners()]
    store.close()
