"""The growth of a comparison, window by window: what the rule sees, whenever and however often it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from trimtab.app.loop.comparisons import Comparisons
from trimtab.clock import ManualClock
from trimtab.monitoring.verdict import judge_challenger, judge_former_champion
from trimtab.policy.reader import parse_policy
from trimtab.records.control import Suspicion, SuspicionEnd
from trimtab.records.gate_reports import GateReport, HeldOutWindow
from trimtab.records.monitoring import Comparison, WindowReport
from trimtab.records.record import Record, Role
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.embedded import SqliteMetadata
from trimtab.testing.judged import DAY, FIRST, MODEL, bundle_record, window_report

CLOCK = ManualClock(FIRST)
POLICY = parse_policy(
    "project: p\nrollout: { promote_when: { min_labels: 1000, min_windows: 10, max_windows: 30, tolerate: 0.001 } }\n"
)
RULE = POLICY.rollout.promote_when


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Metadata]:
    store = SqliteMetadata(tmp_path / "metadata.db")
    yield store
    store.close()


def days(
    gains: Sequence[float], *, first: int = 0, version: int = 2, role: Role = "challenger", champion: int = 1
) -> list[tuple[WindowReport, ...]]:
    """Return the reports of each day: of the champion, and of a version that is compared with it."""
    found = []
    sides: tuple[tuple[int, Role], ...] = ((champion, "champion"), (version, role))
    for day, gain in enumerate(gains, start=first):
        metrics = {
            "paired_log_loss_gain": gain,
            "paired_money_gain": 10 * gain,
            "paired_rows": 500.0,
            "paired_version": float(champion),
        }
        served = [
            msgspec.structs.replace(
                window_report(day, version=v, role=r, stage="closed"), served_rows=800 if r == "champion" else 200
            )
            for v, r in sides
        ]
        matured = window_report(day, version=version, role=role, metrics=metrics)
        found.append((*served, window_report(day, version=champion), matured))
    return found


def write(book: Metadata, days: Sequence[Sequence[WindowReport]]) -> list[Comparison]:
    for reports in days:
        book.put(*reports)
    return Comparisons(book, CLOCK).step(MODEL, "binary", POLICY)


def noise(count: int, mean: float, seed: int = 1) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(mean, 0.01, count)]


def test_each_window_adds_what_the_rule_sees_after_it(book: Metadata) -> None:
    gains = noise(14, 0.002)
    for place, reports in enumerate(days(gains)):
        (found,) = write(book, [reports])
        rule = judge_challenger(
            book, model=MODEL, champion=1, challenger=2, policy=RULE, metric="log_loss", limits=None
        )
        assert rule.verdict == found.verdict == "continue"
        assert (found.windows, found.labels, found.held_out) == (place + 1, 500 * (place + 1), 0)
        assert found.gain == gains[place]
        assert found.mean == pytest.approx(rule.mean)
        assert (found.low, found.high) == ((None, None) if place < 9 else (rule.lower, rule.upper))
        assert found.reason == rule.reason
        assert (found.version, found.against, found.window) == (2, 1, reports[-1].id)
        assert (found.start, found.end) == (FIRST + place * DAY, FIRST + (place + 1) * DAY)
    assert book.get(Comparison, "delay/v2/comparison/v1/2026-03-14T00:00:00Z") == found


def test_a_verdict_stays_while_the_growth_goes_on(book: Metadata) -> None:
    found = write(book, days(noise(35, -0.05)))
    rule = judge_challenger(book, model=MODEL, champion=1, challenger=2, policy=RULE, metric="log_loss")
    assert [c.verdict for c in found] == ["continue"] * 9 + ["futile"] * 26
    assert {c.reason for c in found[9:]} == {rule.reason}
    assert [c.windows for c in found] == list(range(1, 36))
    assert all(c.low is not None and c.mean is not None and c.low < c.mean for c in found[9:30])
    assert {(c.low, c.high, c.money_per_day_low) for c in found[30:]} == {(None, None, None)}, "no bounds hold there"


def test_money_a_day_is_of_the_traffic_of_all_versions(book: Metadata) -> None:
    gains = noise(12, 0.01)
    found = write(book, days(gains))
    assert {c.predictions_per_day for c in found} == {1000.0}
    assert [c.money_per_day for c in found] == pytest.approx([10_000 * np.mean(gains[: n + 1]) for n in range(12)])
    last = found[-1]
    assert (last.low, last.high) != (None, None)
    assert last.money_per_day_low == pytest.approx(10_000 * (last.low or 0.0))
    assert last.money_per_day_high == pytest.approx(10_000 * (last.high or 0.0))
    assert found[8].money_per_day_low is None


@pytest.mark.parametrize("cuts", [(1, 2, 3), (7,), (5, 14)])
def test_it_does_not_matter_when_it_is_written_and_where_a_process_died(
    book: Metadata, tmp_path: Path, cuts: tuple[int, ...]
) -> None:
    every = days(noise(10, 0.01)) + days(noise(8, -0.01, 2), first=10, version=3, champion=2)
    one = write(book, every)
    other = SqliteMetadata(tmp_path / "other.db")
    for start, end in zip((0, *cuts), (*cuts, len(every)), strict=True):
        write(other, every[start:end])
        write(other, [])
    assert other.find(Comparison, oldest_first=True) == one
    other.close()


def full(*records: Record) -> None:
    raise OSError("the disk is full")


def test_a_step_that_failed_is_done_again(book: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    comparisons = Comparisons(book, CLOCK)
    for reports in days(noise(3, 0.01)):
        book.put(*reports)
    with monkeypatch.context() as broken:
        broken.setattr(book, "put", full)
        with pytest.raises(OSError, match="full"):
            comparisons.step(MODEL, "binary", POLICY)
    assert len(comparisons.step(MODEL, "binary", POLICY)) == 3
    assert comparisons.step(MODEL, "binary", POLICY) == []


def suspicion(day: int, known: int) -> Suspicion:
    return Suspicion(
        id=f"{MODEL}/suspicion/{day}",
        created_at=FIRST,
        model=MODEL,
        start=FIRST + day * DAY,
        end=FIRST + (day + 1) * DAY,
        rule="inputs",
        subject="wind",
        value=9.0,
        limit=1.0,
        known_at=FIRST + known * DAY,
        reason="a leap",
    )


def test_suspected_windows_do_not_count_from_when_that_is_known(book: Metadata) -> None:
    gains = [0.01, 9.0, 0.03, 0.05]
    book.put(suspicion(1, known=3))  # found with the window of day 2
    end = SuspicionEnd(
        id="end",
        created_at=FIRST,
        model=MODEL,
        start=FIRST + DAY,
        suspicion=f"{MODEL}/suspicion/1",
        outcome="let_in",
        known_at=FIRST + 4 * DAY,
        reason="it was right",
        by="ann",
    )
    book.put(end)
    found = write(book, days(gains))
    assert [c.gain for c in found] == gains
    assert [c.windows for c in found] == [1, 2, 2, 4]
    assert [c.mean for c in found] == pytest.approx([0.01, 4.505, 0.02, 2.2725])
    assert found[2].money_per_day == pytest.approx(200.0)


def test_a_window_that_is_suspected_itself_has_no_gain(book: Metadata) -> None:
    book.put(suspicion(1, known=2))
    found = write(book, days([0.01, 9.0]))
    assert [c.gain for c in found] == [0.01, None]
    assert [c.windows for c in found] == [1, 1]


def test_windows_held_out_by_the_gates_count(book: Metadata) -> None:
    before = tuple(
        HeldOutWindow(start=FIRST - (9 - n) * DAY, end=FIRST - (8 - n) * DAY, rows=900, gains={"log_loss": 0.01 * n})
        for n in range(9)
    )
    report = GateReport(
        id="gates",
        created_at=FIRST,
        model=MODEL,
        run="r",
        champion=f"{MODEL}/1",
        verdict="pass",
        results=(),
        held_out=before,
    )
    challenger = msgspec.structs.replace(bundle_record(2), gate_report="gates")
    book.put(report, bundle_record(1), challenger)
    first, *_ = write(book, days([0.04] * 2))
    assert (first.windows, first.held_out) == (1, 9)
    assert first.mean == pytest.approx(0.04)


def test_a_former_champion_is_judged_by_the_windows_since_its_end(book: Metadata) -> None:
    write(book, days(noise(12, 0.05)))  # version 2 challenges version 1, and is promoted
    later = days(noise(14, 0.05, 3), first=12, version=1, role="shadow", champion=2)
    found = write(book, later)
    rule = judge_former_champion(book, model=MODEL, champion=2, former=1, policy=RULE, metric="log_loss")
    assert [(c.version, c.against) for c in found] == [(1, 2)] * 14
    assert found[-1].verdict == rule.verdict == "promote"
    assert found[-1].windows == 14


def test_windows_that_were_compared_with_none_have_no_comparison(book: Metadata) -> None:
    alone = window_report(0, version=2, role="shadow", metrics={"paired_rows": 0.0, "paired_version": 1.0})
    assert write(book, [(window_report(0), alone)]) == []
    assert len(write(book, days([0.1], first=1))) == 1


def test_a_verdict_is_that_of_the_first_window_that_decides(book: Metadata) -> None:
    found = write(book, days(noise(12, 0.05) + noise(6, -0.3)))
    assert {c.verdict for c in found[-9:]} == {"promote"}
    assert found[-1].mean is not None
    assert found[-1].mean < 0


def test_each_champion_after_a_former_one_is_a_comparison_of_its_own_and_nothing_is_tolerated(book: Metadata) -> None:
    write(book, days(noise(1, 0.0)))  # version 1 was champion
    write(book, days(noise(25, 0.0), first=1, version=1, role="shadow", champion=2))
    third = days(noise(12, 0.0002), first=26, version=1, role="shadow", champion=3)
    tolerant = POLICY.model_copy(
        update={
            "rollout": POLICY.rollout.model_copy(
                update={"promote_when": RULE.model_copy(update={"tolerate": 1.0, "smallest_effect": 0.0})}
            )
        }
    )
    for reports in third:
        book.put(*reports)
    found = Comparisons(book, CLOCK).step(MODEL, "binary", tolerant)
    assert [c.windows for c in found] == list(range(1, 13))
    assert {c.verdict for c in found} == {"continue"}
