"""Triggers of the policy: what is refused with which words, and the times of a schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import PolicyError
from trimtab.policy.reader import parse_policy
from trimtab.policy.trigger_rules import TriggerRule, last_time, times_after

CRONS = ("0 3 * * *", "*/7 * * * *", "30 2 * * *", "15 1,13 * * mon-fri", "0 0 1 */3 *", "@hourly", "5 4 * * sun#1")
TIMES = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))


def schedule(cron: str, timezone: str = "Europe/Berlin") -> TriggerRule:
    return TriggerRule(on="schedule", cron=cron, timezone=timezone)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{on: schedule}", "triggers.nightly: on: schedule needs cron, such as '0 3 * * *'"),
        ("{on: schedul, cron: 0 3 * * *}", "triggers.nightly.on: unknown value 'schedul'. Did you mean 'schedule'?"),
        ("{on: schedule, cron: 0 3 * *}", "triggers.nightly.cron: '0 3 * *' has 4 fields; expected five: minute, hour"),
        ("{on: schedule, cron: 0 0 0 3 * *}", "has 6 fields; expected five"),
        ("{on: schedule, cron: 61 3 * * *}", "'61 3 * * *' is no cron expression: [61 3 * * *] is not acceptable"),
        ("{on: schedule, cron: 0 0 30 2 *}", "'0 0 30 2 *' names a time that never comes"),
        ("{on: schedule, cron: H 3 * * *}", "'H' in 'H' is not known; expected minute, hour"),
        ("{on: schedule, cron: 3}", "triggers.nightly.cron: 3 is no cron expression"),
        ("{on: schedule, cron: 0 3 * * *, timezone: Berlin}", "triggers.nightly.timezone: 'Berlin' is no time zone."),
        ("{on: webhook, cron: 0 3 * * *}", "cron belongs to on: schedule, not to on: webhook"),
        ("{on: new_data, source: rows}", "on: new_data needs source and min_rows"),
        ("{on: new_data, source: rows, min_rows: 5, run: pipeline}", "on: new_data takes run: retrain"),
        ("{on: webhook, min_rows: 5}", "min_rows belongs to on: new_data, not to on: webhook"),
        ("{on: webhook, source: rows}", "source belongs to on: new_data, or to run: ingest or pipeline"),
        ("{on: webhook, run: ingest, models: [risk]}", "models belongs to run: retrain or pipeline"),
        ("{on: schedule, cron: 0 3 * * *, secret: HOOK}", "secret belongs to on: webhook or merge"),
        ("{on: merge, secret: a b}", "triggers.nightly.secret: expected text of the form"),
        ("{on: merge, brnch: main}", "unknown key 'brnch'. Did you mean 'branch'?"),
    ],
)
def test_a_wrong_trigger_is_told_with_its_line_and_key(rule: str, said: str) -> None:
    with pytest.raises(PolicyError) as error:
        parse_policy(f"project: p\ntriggers:\n  nightly: {rule}\n")
    assert "trimtab.yaml:3: " in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["list", "show", "a b", "x" * 33, "-a"])
def test_a_name_that_cannot_stand_in_a_command_or_a_path_is_refused(name: str) -> None:
    with pytest.raises(PolicyError, match=r"trimtab.yaml:2: triggers: '.*' is no name of a trigger"):
        parse_policy(f"project: p\ntriggers:\n  '{name}': {{on: webhook}}\n")


def test_a_time_of_day_comes_once_where_clocks_change() -> None:
    back = datetime(2026, 10, 24, 12, tzinfo=UTC)
    found = [time.astimezone(UTC) for time in times_after(schedule("30 2 * * *"), back, 2)]
    assert found == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC)]
    assert last_time(schedule("30 2 * * *"), datetime(2026, 10, 25, 9, tzinfo=UTC)).astimezone(UTC) == found[0]
    forward = datetime(2026, 3, 28, 12, tzinfo=UTC)  # 02:30 of the next day is skipped by the clocks
    assert times_after(schedule("30 2 * * *"), forward, 1)[0].astimezone(UTC).day == 29
    hourly = [time.astimezone(UTC) for time in times_after(schedule("0 * * * *"), back + timedelta(hours=11), 4)]
    assert all(b - a == timedelta(hours=1) for a, b in pairwise(hourly))


@settings(max_examples=40)
@given(time=TIMES, cron=st.sampled_from(CRONS), zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]))
def test_the_last_time_and_the_next_times_fit_together(time: datetime, cron: str, zone: str) -> None:
    rule = schedule(cron, zone)
    last, (following, *_) = last_time(rule, time), times_after(rule, time, 2)
    assert last <= time < following
    assert times_after(rule, last, 1)[0] == following
    assert last_time(rule, following) == following
    assert last_time(rule, following - timedelta(microseconds=1)) == last
