"""Policies side by side: sums, intervals, the frontier, and the page."""

import re

import numpy as np
import pytest

from trimtab.app.backtest.policy_run import PolicyRun, Retrained
from trimtab.app.backtest.policy_table import PolicyTable, make_table
from trimtab.app.pages.backtest_report import backtest_page
from trimtab.errors import StageError
from trimtab.policy.model import Prices
from trimtab.units import MICROS

DAY = MICROS["d"]


def result(name: str, money: list[float] | None, *, trained: int = 0, losses: list[float] | None = None) -> PolicyRun:
    n = len(money or losses or [])
    made = [
        Retrained(
            asked_at=0,
            began_at=0,
            trigger=name,
            reason="",
            version=n + 2,
            served_at=DAY,
            gain=-1.0 if n % 2 else 1.0,
            cpu_seconds=36.0,
        )
        for n in range(trained)
    ]
    return PolicyRun(
        name=name,
        task="regression",
        starts=[place * DAY for place in range(n)],
        rows=[10] * n,
        losses=losses or [value / 2 for value in money or []],
        money=money,
        windows=n,
        retrained=made,
        changes=[],
    )


def table(*runs: PolicyRun) -> PolicyTable:
    return make_table(runs, model="small", currency="EUR", prices=Prices(cpu_hour=1.0), remarks=["<b>said</b>"])


@pytest.fixture
def three() -> PolicyTable:
    draws = np.random.default_rng(1).normal(100, 10, 60)
    return table(
        result("never", draws.tolist()),
        result("every:7d", (draws - 20).tolist(), trained=8),
        result("worse", (draws - 5).tolist(), trained=9),
    )


def test_saved_and_regret_are_differences_of_money(three: PolicyTable) -> None:
    never, weekly, worse = three.rows
    assert three.best == "every:7d"
    assert (never.saved.value, weekly.saved.value, worse.saved.value) == pytest.approx((0, 1200, 300))
    assert (never.regret, weekly.regret, worse.regret) == pytest.approx((1200, 0, 900))
    assert (never.share, weekly.share, worse.share) == pytest.approx((0, 1, 0.25))


def test_a_constant_difference_has_no_spread_although_the_money_has(three: PolicyTable) -> None:
    weekly = three.rows[1]
    assert weekly.saved.low == pytest.approx(weekly.saved.high)
    assert weekly.money is not None
    assert weekly.money.high - weekly.money.low > 100


def test_the_interval_is_wider_for_windows_that_resemble_the_one_before() -> None:
    generator = np.random.default_rng(2)
    noise = generator.normal(0, 10, 140)
    blocks = np.repeat(generator.normal(0, 10, 20), 7)
    usual = np.full(140, 100.0)

    def width(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        saved = table(result("never", usual.tolist()), result("other", values.tolist())).rows[1].saved
        return saved.high - saved.low

    assert width(usual + blocks) > 1.7 * width(usual + noise)


def test_policies_that_another_one_beats_twice_are_not_on_the_frontier(three: PolicyTable) -> None:
    assert [row.on_frontier for row in three.rows] == [True, True, False]


def test_without_costs_loss_a_row_takes_the_place_of_money() -> None:
    found = table(result("never", None, losses=[20.0] * 20), result("other", None, losses=[10.0] * 20))
    assert found.currency is None
    assert found.rows[1].saved.value == pytest.approx(1.0)
    assert found.rows[1].money is None


def test_false_alarms_delay_and_training_cost_are_counted(three: PolicyTable) -> None:
    weekly = three.rows[1]
    assert (weekly.false_alarms, weekly.judged) == (4, 8)
    assert weekly.delay_days == 1.0
    assert weekly.training_cost == pytest.approx(8 * 36 / 3600)


def test_too_few_windows_are_an_error() -> None:
    with pytest.raises(StageError, match=r"13 windows have labels; a backtest needs 14"):
        table(result("never", [1.0] * 13))


def test_the_page_stands_alone_and_escapes_what_it_shows(three: PolicyTable) -> None:
    text = backtest_page(three)
    assert text.count("<svg") == 3
    assert "&lt;b&gt;said" in text
    assert not re.search(r"<script|https?://|src=|@import|url\((?!#)", text)
    for row in three.rows:
        assert text.count(row.name) >= 3
