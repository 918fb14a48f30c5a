"""Alerts become messages: grouped, held in quiet hours, sent as one after them; a replay is one message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from trimtab.app.alerts.message_text import MOST_SHOWN, compose
from trimtab.app.alerts.outbox import due, held_until
from trimtab.control.holds import quiet_until
from trimtab.policy.alert_channels import Channel
from trimtab.records.alert_records import Alert

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
USUAL = Channel.model_validate({"url": "json://a", "group": "5m"})
QUIET = Channel.model_validate(
    {"url": "json://a", "group": "1m", "quiet_hours": "22:00-06:00", "break_through": ["review"]}
)


def alert(name: str, created_at: datetime = NOON, **fields: object) -> Alert:
    made = Alert(
        id=f"alert/{name}",
        created_at=created_at,
        event="drift",
        model="delay",
        severity="moderate",
        at=created_at - timedelta(days=2),
        title=f"delay: {name}",
        figure="p_seq 0.02",
        reason="inputs moved",
        path="/models/delay/decisions/1",
        command="trimtab status",
        refers_to=name,
        channels=("ops",),
    )
    return msgspec.structs.replace(made, **fields)


def waiting(*alerts: Alert) -> dict[str, Alert]:
    return {each.id: each for each in alerts}


def names(found: object) -> list[str]:
    return [] if found is None else [each.refers_to for each in found.alerts]  # type: ignore[attr-defined]


def test_what_comes_within_the_group_becomes_one_message() -> None:
    held = waiting(alert("a"), alert("b", NOON + 4 * MINUTE))
    assert due(USUAL, held, NOON + 4 * MINUTE, replaying=False) is None
    assert names(due(USUAL, held, NOON + 5 * MINUTE, replaying=False)) == ["a", "b"]


def test_quiet_hours_hold_alerts_and_end_in_one_message() -> None:
    late = NOON.replace(hour=22, minute=30)
    held = waiting(alert("a", late), alert("b", late + 3 * MINUTE))
    assert due(QUIET, held, late + timedelta(hours=7), replaying=False) is None
    assert "quiet hours, 2026-03-05 06:00 UTC" in held_until(QUIET, held["alert/a"], late)
    found = due(QUIET, held, late.replace(day=5, hour=6, minute=0), replaying=False)
    assert found is not None
    assert (names(found), found.held_since) == (["a", "b"], late)


def test_what_may_break_through_is_sent_in_quiet_hours_alone() -> None:
    late = NOON.replace(hour=23)
    held = waiting(alert("a", late), alert("ask", late, event="review", waits=True))
    found = due(QUIET, held, late + 2 * MINUTE, replaying=False)
    assert found is not None
    assert (names(found), found.held_since) == (["ask"], None)


def test_a_replay_is_told_at_its_end_apart_from_what_is_live() -> None:
    held = waiting(alert("old", replayed=True), alert("older", replayed=True), alert("live"))
    assert names(due(USUAL, held, NOON + 5 * MINUTE, replaying=True)) == ["live"]
    del held["alert/live"]
    assert due(USUAL, held, NOON + 50 * MINUTE, replaying=True) is None
    assert names(due(USUAL, held, NOON + 50 * MINUTE, replaying=False)) == ["old", "older"]


@given(st.lists(st.integers(0, 3 * 24 * 60), min_size=1, max_size=20))
def test_every_alert_is_sent_once_and_none_that_waits_is_sent_in_quiet_hours(minutes: list[int]) -> None:
    arrivals = sorted(minutes)
    held: dict[str, Alert] = {}
    sent: list[str] = []
    for minute in range(0, 4 * 24 * 60, 7):
        now = NOON + minute * MINUTE
        while len(sent) + len(held) < len(arrivals) and arrivals[len(sent) + len(held)] <= minute:
            number = len(sent) + len(held)
            held |= waiting(alert(str(number), NOON + arrivals[number] * MINUTE))
        found = due(QUIET, held, now, replaying=False)
        if found is not None:
            assert quiet_until(QUIET, now) is None
            sent += names(found)
            held.clear()
    assert sent == [str(number) for number in range(len(arrivals))]


def composed(*alerts: Alert, **options: object) -> str:
    found = compose(alerts, project="flights", console="https://c.example.com/", label="ops-3", **options)  # type: ignore[arg-type]
    return f"{found.title}\n{found.text}"


def test_one_alert_reads_as_a_note() -> None:
    assert composed(alert("drift is severe", severity="severe")) == (
        "[severe] delay: drift is severe\n"
        "SEVERE: delay: drift is severe\n"
        "  figures  p_seq 0.02\n"
        "  reason   inputs moved\n"
        "  time     2 Mar 2026, 12:00 UTC\n"
        "  next     trimtab status\n"
        "  page     https://c.example.com/models/delay/decisions/1\n"
        "\n"
        "Trimtab, project flights, message ops-3\n"
    )


def test_several_are_counted_and_two_about_one_record_are_one() -> None:
    ask = alert("ask", event="review", waits=True, refers_to="d1", title="delay: retrain?")
    text = composed(alert("drift", refers_to="d1", severity="severe"), ask, alert("gap", event="log_gap"))
    assert text.startswith("[moderate] flights: 2 alerts (1 review, 1 log gap)\n2 alerts, 2 Mar 2026, 12:00 UTC\n")
    assert "delay: retrain?" in text
    assert "delay: drift" not in text


def test_a_review_that_was_answered_meanwhile_asks_for_nothing() -> None:
    ask = alert("ask", event="review", waits=True, command="trimtab approve delay/decision/1")
    assert "trimtab approve" in composed(ask)
    assert "trimtab approve" not in composed(ask, answered=[ask.id])


def test_a_long_message_shows_some_and_counts_the_rest() -> None:
    text = composed(*(alert(str(n)) for n in range(MOST_SHOWN + 12)))
    assert text.count("  reason   ") == MOST_SHOWN
    assert "and 12 more: trimtab alerts list" in text


def test_html_and_markdown_hold_names_as_they_are() -> None:
    found = compose([alert("<b>&*_x")], project="p", console=None, label="ops-1")
    assert "&lt;b&gt;&amp;*_x" in found.html
    assert "page" not in found.html
    assert "`trimtab status`" in found.markdown
    odd = alert("a [b](c)", reason="see [here](https://x.example.com)\n# *now*, _or_ p_seq <!channel>")
    said = compose([odd], project="p", console="https://c", label="ops-1").markdown
    assert r"[delay: a \[b\](c)](https://c/models/delay/decisions/1)" in said
    assert r"- reason: see \[here\](https://x.example.com) # \*now\*, \_or\_ p_seq \<!channel\>" in said
