"""Each fact is worth one alert, when it begins; a channel gets those that it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from kit.alert_project import NOW
from trimtab.app.alerts.alert_facts import FactReader, channels_for, severity_of
from trimtab.clock import ManualClock
from trimtab.control.controller import Controller
from trimtab.control.resolve import expire
from trimtab.control.reviews import ESCALATE
from trimtab.policy.reader import parse_policy
from trimtab.records.alert_records import Alert
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.data import CheckReport, CheckResult
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.monitoring import Signal
from trimtab.records.serving import LogGap
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import (
    DAY,
    FIRST,
    MODEL,
    RecordingActions,
    champion_revision,
    judged_signals,
    signal,
    window_report,
)
from trimtab.units import MICROS

CLOCK = ManualClock(FIRST)
POLICY = parse_policy(
    """
project: p
impact: { cost: { false_negative: 40 } }
alerts:
  channels:
    all: { url: "json://a", severity: minor, actions: [monitor, review, retrain, rollback] }
    usual: { url: "json://b" }
    drift: { url: "json://c", events: [drift], bands: [severe] }
    other: { url: "json://d", models: [fraud] }
    past: { url: "json://e", replay: digest }
"""
)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqlMetadata(tmp_path / "metadata.db")
    yield store
    store.close()


def decided(book: Metadata, day: int, p_seq: float, money: float = 700.0) -> Decision:
    window = window_report(day)
    book.put(window, *judged_signals(window, data_p_seq=p_seq, money_per_day=money))
    (found,) = Controller(book, POLICY, MODEL, RecordingActions(), CLOCK).step()
    return found


def read(book: Metadata, position: dict[str, str] | None = None) -> list[Alert]:
    found, _ = FactReader(book, POLICY).read(position or {}, replaying=lambda _: False, now=NOW)
    return found


def told(book: Metadata) -> list[tuple[str, str, str]]:
    """Return event, severity and title of what the channel `usual` gets."""
    alerts = [a for a in read(book) if "usual" in channels_for(a, POLICY.alerts.channels)]
    return [(a.event, a.severity, a.title) for a in alerts]


def test_a_review_says_what_is_asked_with_figures_page_and_command(book: Metadata) -> None:
    decided(book, 0, 0.001)
    review = next(a for a in read(book) if a.event == "review")
    assert review.waits
    assert review.title == "delay: decision 1 waits for an answer: retrain?"
    assert review.figure == "p_seq 0.0020, +100 USD a day (low impact), window 1 Mar 2026 UTC"
    assert review.path == "/models/delay/decisions/1"
    assert review.command.startswith("trimtab approve delay/decision/1 --reason '...'")
    assert "the matrix says" in review.reason


def test_drift_is_told_when_it_begins_and_when_it_gets_worse(book: Metadata) -> None:
    for day, p_seq in enumerate((1.0, 0.01, 0.01, 0.001, 0.001, 1.0, 0.01)):
        decided(book, day, p_seq)
    drift = [(a.refers_to[-1], a.band, a.severity) for a in read(book) if a.event == "drift"]
    assert drift == [("2", "moderate", "moderate"), ("4", "severe", "severe"), ("7", "moderate", "moderate")]


def test_what_was_read_is_not_read_again_and_the_reader_may_stop_anywhere(book: Metadata) -> None:
    reader = FactReader(book, POLICY)
    position, found = reader.start(), []
    for day, p_seq in enumerate((1.0, 0.01, 0.001, 0.001)):
        decided(book, day, p_seq)
        new, position = reader.read(position, replaying=lambda _: False, now=NOW)
        found += new
    assert sorted(a.id for a in found) == sorted(a.id for a in read(book))
    assert len({a.id for a in found}) == len(found)
    assert reader.read(position, replaying=lambda _: False, now=NOW)[0] == []


def test_nothing_before_the_start_is_told(book: Metadata) -> None:
    decided(book, 0, 0.001)
    assert read(book, FactReader(book, POLICY).start()) == []


def test_escalation_and_expiry_of_a_review_are_facts_of_their_own(book: Metadata) -> None:
    review = decided(book, 0, 0.001)
    step = WorkflowStep(
        id="w/escalate",
        created_at=FIRST,
        workflow="w",
        model=MODEL,
        decision=review.id,
        step=ESCALATE,
        outcome="no answer for 3d",
        refers_to=None,
    )
    book.put(step)
    expire(book, review, after=14 * MICROS["d"], clock=CLOCK)
    found = {a.id: a for a in read(book) if a.event == "review"}
    first, escalated, expired = (found[f"alert/review/{review.id}{end}"] for end in ("", "/escalated", "/expired"))
    assert [each.waits for each in (first, escalated, expired)] == [True, True, False]
    assert (escalated.severity, escalated.reason) == ("severe", "no answer for 3d")
    assert "no answer for 14d" in expired.reason


def test_a_rollback_a_refused_run_and_a_gap_of_the_log_are_told(book: Metadata) -> None:
    result = GateResult(
        gate="accuracy", metric="roc_auc", verdict="fail", value=0.61, low=0.6, high=0.62, threshold=0.64, reason="less"
    )
    passed = GateReport(id="g1", created_at=FIRST, model=MODEL, run="a/b", champion=None, verdict="pass", results=())
    book.put(
        champion_revision(1, 1),
        champion_revision(2, 1, action="rollback"),
        passed,
        msgspec.structs.replace(passed, id="g2", verdict="fail", results=(result,)),
        LogGap(id="gap/1", created_at=FIRST, worker="0", rows=1204, start=FIRST, end=FIRST + DAY, reason="disk full"),
    )
    assert told(book) == [
        ("rollback", "severe", "delay: version 1 serves after a rollback"),
        ("gate", "moderate", "delay: run a/b was refused by accuracy"),
        ("log_gap", "severe", "1,204 predictions were answered and could not be logged"),
    ]
    gate = next(a for a in read(book) if a.event == "gate")
    assert (gate.figure, gate.path) == ("roc_auc 0.610, limit 0.64", "/experiments/a%2Fb")


def test_few_labels_are_told_once_until_there_are_enough_again(book: Metadata) -> None:
    for day, labelled in enumerate((900, 300, 200, 900, 100)):
        book.put(window_report(day, labelled=labelled))
    book.put(window_report(5, labelled=0, stage="closed"), window_report(5, labelled=0, role="shadow", version=2))
    found = [a for a in read(book) if a.event == "labels"]
    assert [a.title for a in found] == ["delay: 30 % of the rows have a label", "delay: 10 % of the rows have a label"]
    assert found[0].figure == "300 of 1,000 rows, window 2 Mar 2026 UTC"


def old(day: int, subject: str, value: float, **fields: object) -> Signal:
    made = signal(window_report(day), "freshness", value=value, subject=subject)
    return msgspec.structs.replace(made, **fields)


def test_views_over_their_limit_and_tables_out_of_the_usual_are_old(book: Metadata) -> None:
    for day, hours in enumerate((0.5, 2.0, 3.0, 0.5, 2.0)):
        book.put(old(day, "view:history", hours, effect={"limit": 1.0}))
        book.put(old(day, "weather", hours, p_seq=0.02 if hours > 1 else 1.0))
    book.put(signal(window_report(6), "volume", value=0.0, p_seq=0.001, subject="weather"))
    found = [(a.title, a.figure) for a in read(book) if a.event == "freshness"]
    view = ("delay: values of view history are old", "test: 2.00, limit 1.00")
    rows = ("delay: rows of table weather are old", "test: 2.00, p_seq 0.020")
    assert sorted(found) == sorted([view, view, rows, rows])


def test_a_kpi_out_of_the_usual_is_told_but_not_the_money_of_mistakes(book: Metadata) -> None:
    for day, p_seq in enumerate((None, 0.5, 0.004, 0.004)):
        book.put(signal(window_report(day), "kpi", value=120.0, p_seq=p_seq, subject="revenue"))
        book.put(signal(window_report(day), "kpi", value=120.0, p_seq=p_seq, subject="all"))
    (kpi,) = [a for a in read(book) if a.event == "kpi"]
    assert (kpi.title, kpi.severity) == ("delay: revenue is not as usual", "severe")
    assert kpi.command == "trimtab kpi show revenue --model delay"


def test_a_stale_source_is_told_when_its_check_begins_to_fail(book: Metadata) -> None:
    for number, verdict in enumerate(("pass", "warn", "fail", "pass", "fail")):
        result = CheckResult(check="freshness", verdict=verdict, reason=f"{number} d old")  # type: ignore[arg-type]
        book.put(
            CheckReport(
                id=f"c{number}",
                created_at=FIRST + number * DAY,
                table="weather",
                batch_hash=str(number),
                source=f"weather@{number}",
                content_hash="",
                verdict="pass",
                rows=1,
                failing_rows=0,
                max_failing_share=0.0,
                failures=(),
                quarantine=None,
                reason="",
                results=(result,),
            )
        )
    assert [a.figure for a in read(book) if a.event == "freshness"] == ["1 d old", "4 d old"]


def test_a_channel_gets_what_it_asks_for(book: Metadata) -> None:
    decided(book, 0, 1.0)
    decided(book, 1, 0.001)
    by_event = {(a.event, a.severity): channels_for(a, POLICY.alerts.channels) for a in read(book)}
    assert by_event == {
        ("decision", "minor"): ("all",),
        ("review", "severe"): ("all", "usual", "past"),
        ("drift", "severe"): ("all", "usual", "drift", "past"),
    }
    gap = LogGap(id="gap/1", created_at=FIRST, worker="0", rows=1, start=FIRST, end=FIRST, reason="disk full")
    book.put(gap)
    whole = next(a for a in read(book) if a.event == "log_gap")
    assert "other" in channels_for(whole, POLICY.alerts.channels), "what concerns the project concerns its models"


def test_what_a_replay_brings_is_told_only_where_it_is_asked_for(book: Metadata) -> None:
    decided(book, 0, 0.001)
    during, _ = FactReader(book, POLICY).read({}, replaying=lambda at: at == FIRST, now=NOW)
    assert all(a.replayed for a in during)
    assert {channels_for(a, POLICY.alerts.channels) for a in during} == {("past",)}
    late = msgspec.structs.replace(
        decided(book, 1, 0.001), id="delay/decision/99", created_at=FIRST + timedelta(days=60)
    )
    book.put(late)
    assert [a.replayed for a in read(book) if a.refers_to == late.id] == [True]


def test_bands_become_severities_by_their_order() -> None:
    matrix = POLICY.decide.matrix
    assert [severity_of(matrix, band) for band in ("minor", "moderate", "severe", "guard")] == [
        "minor",
        "moderate",
        "severe",
        "severe",
    ]
