"""The header Date: its form, and that it names the current second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

from hypothesis import given
from hypothesis import strategies as st

from trimtab.clock import ManualClock, SystemClock
from trimtab.serving.http1.exchange import DateHeader
from unit.serving.http1.sockets import GET, echo, run, serving

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.datetimes(datetime(1000, 1, 1), timezones=st.just(UTC)))
def test_the_date_is_written_as_http_asks(moment: datetime) -> None:
    assert DateHeader(ManualClock(moment)).line(0.0).decode() == f"date: {format_datetime(moment, usegmt=True)}\r\n"


@given(st.lists(st.integers(0, 3_000_000), max_size=20))
def test_the_date_is_that_of_the_current_second(steps_us: list[int]) -> None:
    clock = ManualClock(NOON)
    header, passed_us = DateHeader(clock), 0
    for step_us in steps_us:
        passed_us += step_us
        clock.move_to(NOON + timedelta(microseconds=passed_us))
        told = parsedate_to_datetime(header.line(passed_us / 1e6).decode()[6:].strip())
        assert abs((clock.now() - told).total_seconds()) < 1.001


def test_every_answer_has_a_date() -> None:
    async def test() -> None:
        async with serving(echo) as place:
            client = await place.client()
            before = SystemClock().now() - timedelta(seconds=2)
            await client.send(GET + GET)
            heads = [(await client.answer())[1] for _ in range(2)]
            await client.send(b"nonsense\r\n\r\n")
            heads.append((await client.answer())[1])
            assert all(before < parsedate_to_datetime(head["date"]) <= SystemClock().now() for head in heads)

    run(test())
