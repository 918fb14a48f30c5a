"""What is gathered about a window before it is decided on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from trimtab.control.cause import STARTS_A_QUERY, Cause, gather
from trimtab.control.decision import decide
from trimtab.control.history import ControlHistory
from trimtab.control.impact import judge
from trimtab.policy.decide import Impact
from trimtab.policy.model import Policy
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import DAY, judged_signals, signal, window_report
from trimtab.units import MICROS

COSTS = Impact(cost={"false_negative": 40})


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    """Twenty days of version 1 that lost 1, 2, ... 20 a day, and one day of version 2."""
    store = SqlMetadata(tmp_path / "metadata.db")
    for day in range(20):
        window = window_report(day)
        store.put(window, *judged_signals(window, money_per_day=day + 1.0))
    other = window_report(15, version=2)
    store.put(other, *judged_signals(other, money_per_day=1e6))
    yield store
    store.close()


def of(book: Metadata, day: int, *, days: int = 7) -> Cause:
    return gather(book, window_report(day), over=days * MICROS["d"], size=MICROS["d"])


def test_a_cause_holds_the_signals_of_its_own_window_and_version(book: Metadata) -> None:
    found = of(book, 15)
    assert [s.id for s in found.signals] == [
        f"delay/v1/2026-03-16T00:00:00Z/{k}/all" for k in ("data", "concept", "kpi")
    ]
    assert found.reference_windows == 60


def test_losses_are_averaged_over_the_stretch_up_to_the_window_and_no_further(book: Metadata) -> None:
    assert of(book, 15).losses == (10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0)
    assert of(book, 15).impact_per_day == 13.0
    assert of(book, 1).losses == (1.0, 2.0), "later windows, of a process that was away, do not count"
    assert of(book, 15, days=1).impact_per_day == 16.0
    assert of(book, 15, days=STARTS_A_QUERY * 3).losses == tuple(float(n) for n in range(1, 17))


def test_one_day_does_not_decide_for_a_week(book: Metadata) -> None:
    # given a version that has one day behind it, and lost as much on it as a week may
    other = gather(book, window_report(15, version=2), over=7 * MICROS["d"], size=MICROS["d"])
    assert other.losses == (1e6,)
    # then the days that are not there count as usual
    assert other.impact_per_day == pytest.approx(1e6 / 7)
    assert "mean of 7 windows; 1 of them judged, the others count as usual" in judge(other, COSTS).reason
    assert of(book, 1).impact_per_day == pytest.approx((1.0 + 2.0) / 7)
    assert "mean of 7 windows)" in judge(of(book, 15), COSTS).reason


def test_a_window_merged_from_several_counts_once(book: Metadata) -> None:
    merged = msgspec.structs.replace(window_report(20), end=window_report(22).end)
    book.put(msgspec.structs.replace(signal(merged, "kpi", value=100.0), end=merged.end))
    found = gather(book, merged, over=4 * MICROS["d"], size=MICROS["d"])
    assert found.losses == (20.0, 100.0)
    assert merged.end - merged.start == 3 * DAY
    assert found.impact_per_day == (20.0 + 3 * 100.0) / 4, "for as long as it is"


def test_without_labels_the_impact_is_not_known() -> None:
    window = window_report()
    cause = Cause(window=window, signals=tuple(judged_signals(window, money_per_day=None)))
    assert cause.impact_per_day is None


def test_the_kinds_that_count_keep_one_promise_together() -> None:
    window = window_report()
    both = judged_signals(window, data_p_seq=0.02, concept_p_seq=0.015)
    assert Cause(window=window, signals=tuple(both)).p_seq == pytest.approx(0.03), "twice the smaller one"
    three = (*both, signal(window, "prediction", p=0.5, p_seq=0.004))
    assert Cause(window=window, signals=three).p_seq == pytest.approx(0.012), "three times the smallest"
    assert Cause(window=window, signals=tuple(both[1:2])).p_seq == 0.015
    assert Cause(window=window, signals=()).p_seq == 1.0
    assert Cause(window=window, signals=tuple(both)).harm_p_seq == 0.015


def test_the_newest_window_of_each_kpi_is_told_and_counts_as_no_money(book: Metadata) -> None:
    for day in range(6):
        window = window_report(day)
        book.put(signal(window, "kpi", subject="revenue", value=-1e9, p_seq=0.001))
        book.put(*[signal(window, "kpi", subject="visits", value=7.0)] * (day < 2))
    found = of(book, 4)
    assert [(s.subject, s.start.day) for s in found.kpis] == [("revenue", 5), ("visits", 2)]
    assert found.losses == (1.0, 2.0, 3.0, 4.0, 5.0)
    reasons = decide(found, Policy.model_validate({"project": "p"}), ControlHistory()).reasons
    assert [reason for reason in reasons if reason.startswith("KPI")] == [
        "KPI on 2026-03-05: made for a test",
        "KPI on 2026-03-02: made for a test",
    ]
