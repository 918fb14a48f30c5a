"""Which rows calls count in: scopes, periods in UTC, rates."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trimtab.bundle.prompt_spec import EndpointSpec
from trimtab.clock import from_micros, to_micros
from trimtab.llm.money.spend_scopes import Budget, Caller, Periods, RateRules, Scopes, SpendRules
from trimtab.stores.spend.contract import FOREVER

LEAP = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)  # a Tuesday


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("hour", "2028-02-29T23:00", "2028-03-01T00:00"),
        ("day", "2028-02-29T00:00", "2028-03-01T00:00"),
        ("week", "2028-02-28T00:00", "2028-03-06T00:00"),
        ("month", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("60", "2028-02-29T23:59", "2028-03-01T00:00"),
    ],
)
def test_a_period_begins_at_its_boundary_in_utc(period: str, start: str, end: str) -> None:
    periods = Periods()
    for at in (to_micros(LEAP), to_micros(datetime.fromisoformat(f"{start}+00:00"))):
        found = [from_micros(each) for each in periods.of(period, at)]
        assert [f"{each:%Y-%m-%dT%H:%M}" for each in found] == [start, end]


def rows(rules: SpendRules, caller: Caller) -> dict[str, int | None]:
    parts, money = Scopes(rules).of(caller, "serve", to_micros(LEAP))
    assert money == tuple(part.key for part in parts if part.counted == "money")
    return {part.key.scope: part.cap for part in parts}


def test_a_call_counts_in_the_scopes_that_it_has() -> None:
    everyone = Caller(prompt="triage", token="web", user="u", tenant="web", conversation="c")
    assert rows(SpendRules(), everyone) == {
        "project": None,
        "prompt:triage": None,
        "purpose:serve": None,
        "token:web": None,
    }
    budgets = {"user": Budget(1, "day"), "conversation": Budget(2, "day"), "token": Budget(3, "day")}
    assert rows(SpendRules(budgets), everyone) == {
        "project": None,
        "prompt:triage": None,
        "purpose:serve": None,
        "token:web": 3,
        "user:u": 1,
        "conversation:c": 2,
    }
    assert rows(SpendRules(budgets), Caller()) == {"project": None, "purpose:serve": None}


def test_a_token_with_a_budget_and_limits_of_its_own_is_held_to_them() -> None:
    rules = SpendRules(
        {"token": Budget(3, "day"), "gold": Budget(9, "month")},
        RateRules((60, 60), None, 5),
        {"quick": RateRules((600, 60), (7000, 3600), None)},
    )
    plain = rows(rules, Caller(token="web"))
    assert (plain["token:web"], plain["rate/token:web/requests"], plain["rate/token:web/calls"]) == (3, 60, 5)
    gold = rows(rules, Caller(token="web", budget="gold", limits="quick"))
    assert (gold["token:web"], gold["rate/token:web/requests"], gold["rate/token:web/tokens"]) == (9, 600, 7000)
    assert "rate/token:web/calls" not in gold


def test_an_evaluation_and_an_endpoint_bring_their_own_limits() -> None:
    near = EndpointSpec(name="near", url="loopback", requests="5/s", concurrent=7)
    parts, _ = Scopes(SpendRules()).of(Caller(run="eval-1", run_cap=50, endpoint=near), "eval", to_micros(LEAP))
    by_scope = {part.key.scope: part for part in parts}
    assert by_scope["run:eval-1"].key[1:] == (0, FOREVER)
    assert by_scope["run:eval-1"].cap == 50
    assert by_scope["rate/endpoint:near/requests"].cap == 5
    assert (
        by_scope["rate/endpoint:near/requests"].key.finish - by_scope["rate/endpoint:near/requests"].key.start == 10**6
    )
    assert by_scope["rate/endpoint:near/calls"].cap == 7


def test_rows_change_when_their_period_ends() -> None:
    scopes = Scopes(SpendRules({"project": Budget(1, "hour")}))
    before = scopes.of(Caller(), "serve", to_micros(LEAP))
    assert scopes.of(Caller(), "serve", to_micros(LEAP)) == before
    after = scopes.of(Caller(), "serve", to_micros(LEAP) + 10**6)
    assert before[1][0].finish == after[1][0].start
