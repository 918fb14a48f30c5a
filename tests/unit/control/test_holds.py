"""Freezes and quiet hours: whom they hold back, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.clock import ManualClock
from trimtab.control.holds import ALL_MODELS, active_freeze, event_time, hold_reason, quiet_reason, set_freeze
from trimtab.errors import UsageError
from trimtab.policy.decide import Decide
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Freeze
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import DAY, FIRST, MODEL, window_report

CLOCK = ManualClock(FIRST)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    yield store
    store.close()


def freeze(book: Metadata, model: str = MODEL, *, frozen: bool = True, until: datetime | None = None) -> Freeze:
    return set_freeze(book, model, frozen=frozen, reason="the audit", by="ann", clock=CLOCK, until=until)


def decide(text: str) -> Decide:
    return parse_policy(f"project: p\ndecide: {{ {text} }}\n").decide


def test_a_freeze_of_one_model_holds_it_alone_and_one_of_all_holds_each(book: Metadata) -> None:
    freeze(book)
    assert active_freeze(book, MODEL, FIRST) is not None
    assert active_freeze(book, "price", FIRST) is None
    freeze(book, ALL_MODELS)
    freeze(book, frozen=False)
    assert hold_reason(book, Decide(), MODEL, FIRST) == "all models are frozen by ann: the audit"
    freeze(book, ALL_MODELS, frozen=False)
    assert hold_reason(book, Decide(), MODEL, FIRST) is None


def test_a_freeze_ends_at_its_time_exactly(book: Metadata) -> None:
    freeze(book, until=FIRST + DAY)
    before = FIRST + DAY - timedelta(microseconds=1)
    assert hold_reason(book, Decide(), MODEL, before) == f"{MODEL} is frozen until 2026-03-02 00:00 by ann: the audit"
    assert active_freeze(book, MODEL, FIRST + DAY) is None


def test_a_later_freeze_takes_the_place_of_the_one_before(book: Metadata) -> None:
    freeze(book)
    freeze(book, until=FIRST + DAY)
    assert active_freeze(book, MODEL, FIRST + 2 * DAY) is None
    assert [one.number for one in book.find(Freeze, oldest_first=True)] == [1, 2]


@pytest.mark.parametrize(("reason", "by", "word"), [(" ", "ann", "reason"), ("audit", "", "name")])
def test_a_freeze_needs_a_reason_and_a_name(book: Metadata, reason: str, by: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        set_freeze(book, MODEL, frozen=True, reason=reason, by=by, clock=CLOCK)
    assert book.count(Freeze) == 0


def test_a_freeze_cannot_end_in_the_past_of_the_data(book: Metadata) -> None:
    book.put(window_report(4, stage="closed"))
    assert event_time(book, MODEL, CLOCK) == FIRST + 5 * DAY
    with pytest.raises(UsageError, match="--until: 2026-03-06 00:00 has passed"):
        freeze(book, until=FIRST + 5 * DAY)
    freeze(book, until=FIRST + 6 * DAY)


def test_ending_a_freeze_that_is_not_there_names_the_one_that_is(book: Metadata) -> None:
    with pytest.raises(UsageError, match=r"model 'delay' is not frozen\.$"):
        freeze(book, frozen=False)
    freeze(book)
    with pytest.raises(UsageError, match=r"no freeze of all models is on\. Frozen: delay; .*trimtab unfreeze delay"):
        freeze(book, ALL_MODELS, frozen=False)
    freeze(book, ALL_MODELS)
    with pytest.raises(UsageError, match="model 'price' is not frozen by itself; all models are frozen by ann"):
        freeze(book, "price", frozen=False)
    freeze(book, frozen=False)
    with pytest.raises(UsageError, match="model 'delay' is not frozen by itself"):
        freeze(book, frozen=False)


@pytest.mark.parametrize(
    ("time", "held"),
    [
        ("2026-03-06T21:59:59", False),
        ("2026-03-06T22:00:00", True),
        ("2026-03-07T05:59:59", True),
        ("2026-03-07T06:00:00", False),
    ],
)
def test_quiet_hours_reach_over_midnight(time: str, held: bool) -> None:
    found = quiet_reason(decide('quiet_hours: "22:00-06:00"'), datetime.fromisoformat(time).replace(tzinfo=UTC))
    assert found == ("quiet hours until 06:00 UTC (decide.quiet_hours)" if held else None)


def test_quiet_hours_are_of_their_time_zone_also_in_summer() -> None:
    policy = decide('quiet_hours: "08:00-10:00", timezone: Europe/Berlin')
    assert quiet_reason(policy, datetime(2026, 1, 15, 7, tzinfo=UTC)) is not None
    assert quiet_reason(policy, datetime(2026, 7, 15, 7, 59, tzinfo=UTC)) is not None
    assert quiet_reason(policy, datetime(2026, 7, 15, 8, tzinfo=UTC)) is None


def test_a_quiet_day_is_the_day_on_which_the_hours_begin() -> None:
    policy = decide('quiet_hours: "22:00-06:00", quiet_days: [fri]')
    assert quiet_reason(policy, datetime(2026, 3, 6, 5, tzinfo=UTC)) is None, "these began on Thursday"
    assert quiet_reason(policy, datetime(2026, 3, 6, 23, tzinfo=UTC)) is not None
    assert quiet_reason(policy, datetime(2026, 3, 7, 5, tzinfo=UTC)) is not None
    assert quiet_reason(policy, datetime(2026, 3, 7, 23, tzinfo=UTC)) is None


def test_whole_days_may_be_quiet() -> None:
    policy = decide('quiet_hours: "00:00-24:00", quiet_days: [sat, sun]')
    quiet = [quiet_reason(policy, FIRST + timedelta(hours=hour)) is not None for hour in range(7 * 24)]
    assert FIRST.weekday() == 6
    assert quiet == [day in (0, 6) for day in range(7) for _ in range(24)]


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 7 * 1440 - 1))
def test_every_minute_is_quiet_in_the_hours_or_in_the_others(begin: int, end: int, minute: int) -> None:
    if begin == end:
        return
    time = FIRST + timedelta(minutes=minute)
    hours, others = Decide(quiet_hours=(begin, end)), Decide(quiet_hours=(end, begin))
    assert (quiet_reason(hours, time) is None) != (quiet_reason(others, time) is None)


@pytest.mark.parametrize("hours", ["22-6", "25:00-06:00", "06:00-06:00", "22:60-06:00", "24:30-06:00"])
def test_hours_that_are_none_are_refused_with_the_form(hours: str) -> None:
    with pytest.raises(ValueError, match=r"decide\.quiet_hours: .* expected such as 22:00-06:00"):
        decide(f'quiet_hours: "{hours}"')


def test_an_unknown_time_zone_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"decide\.timezone: 'Europe/Berln' is no time zone\. Did you mean"):
        decide("timezone: Europe/Berln")


def test_a_review_is_escalated_before_it_expires() -> None:
    with pytest.raises(ValueError, match=r"escalate \(14d\) must be less than expire \(14d\)"):
        decide("reviews: { escalate: 14d }")
    assert decide("reviews: { escalate: 14d, expire: null }").reviews.expire is None
