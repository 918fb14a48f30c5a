"""Volume, confidence and freshness: what is written, gaps, alarms, and that restarts change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from trimtab.clock import EPOCH, ManualClock, from_micros, to_micros
from trimtab.monitoring.kpi_windows import MOST_EMPTY
from trimtab.monitoring.reference import Reference
from trimtab.monitoring.window_series import ViewAges, WindowSeries
from trimtab.policy.decide import Decide
from trimtab.records.data import TableVersion
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.records.record import Role, SignalKind
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.units import MICROS
from unit.monitoring.monitor_bench import reference

DAY = MICROS["d"]
FIRST = 20_000


class Records:
    """A metadata store with reports and table versions, and series on it."""

    def __init__(self, folder: Path) -> None:
        self.book: Metadata = SqlMetadata(folder / "metadata.db")

    def series(
        self,
        *,
        known: Reference | None = None,
        tables: Sequence[str] = (),
        ages: ViewAges = lambda _start, _end: {},
    ) -> WindowSeries:
        def newest(version: TableVersion) -> int | None:
            return to_micros(version.created_at) - MICROS["h"] if version.rows else None

        return WindowSeries(
            "delay", tables, self.book, lambda model, version: known, newest, Decide(), ManualClock(EPOCH), ages
        )

    def window(
        self,
        day: int,
        rows: int,
        *,
        days: int = 1,
        version: int = 1,
        role: Role = "champion",
        served: int | None = None,
        confidence: float | None = 0.8,
    ) -> WindowReport:
        start = from_micros((FIRST + day) * DAY)
        return WindowReport(
            id=f"delay/v{version}/{start:%Y-%m-%d}/closed",
            created_at=EPOCH,
            model="delay",
            version=version,
            role=role,
            stage="closed",
            start=start,
            end=start + timedelta(days=days),
            rows=rows,
            served_rows=rows if served is None else served,
            labelled=0,
            coverage=0.0,
            metrics={} if confidence is None else {"confidence": confidence},
        )

    def days(self, rows: Sequence[float], *, first: int = 0, confidence: float = 0.8) -> None:
        for n, each in enumerate(rows):
            self.book.put(self.window(first + n, int(each), confidence=confidence + 0.002 * (n % 4)))

    def ingested(self, day: float, rows: int, *, replaces_all: bool = False) -> None:
        number = self.book.count(TableVersion)
        self.book.put(
            TableVersion(
                id=f"sales@{number}",
                created_at=from_micros(round((FIRST + day) * DAY)),
                table="sales",
                version=number,
                rows=100 + rows,
                added_rows=rows,
                content_hash="",
                schema={},
                source="",
                source_hash=str(number),
                replaces_all=replaces_all,
            )
        )

    def found(self, kind: SignalKind, subject: str = "all") -> list[Signal]:
        signals = [s for s in self.book.find(Signal, kind=kind) if s.subject == subject]
        return sorted(signals, key=lambda s: (s.start, s.version))


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    made = Records(tmp_path)
    yield made
    made.book.close()


def usual(seed: int, windows: int) -> list[float]:
    return [float(each) for each in np.random.default_rng(seed).normal(1000, 40, windows)]


def test_the_rows_of_all_versions_that_answered_are_the_volume(records: Records) -> None:
    shadow = records.window(0, 100, version=3, role="shadow", served=0)
    records.book.put(records.window(0, 90), records.window(0, 10, version=2, role="challenger"), shadow)
    records.series().step()
    (signal,) = records.found("volume")
    assert (signal.value, signal.rows, signal.version) == (100, 100, 1)
    assert len(records.found("confidence")) == 3


def test_a_merged_window_counts_by_the_window(records: Records) -> None:
    records.book.put(records.window(0, 90, days=3))
    records.series().step()
    (signal,) = records.found("volume")
    assert (signal.value, signal.rows, signal.effect["windows"]) == (30, 90, 3)


def test_half_the_traffic_is_an_alarm_and_the_usual_number_is_none(records: Records) -> None:
    records.days(usual(0, 50))
    records.series().step()
    assert min(s.p_seq or 1 for s in records.found("volume")) > 0.05
    records.days([500] * 6, first=50)
    records.series().step()
    last = records.found("volume")[-1]
    assert (last.p_seq or 1) < 0.05
    assert last.reason.startswith("rows: 500 where 1,0") or last.reason.startswith("rows: 500 where 9")


def test_a_stretch_without_rows_is_one_signal_and_an_alarm(records: Records) -> None:
    records.days(usual(0, 40))
    records.book.put(records.window(70, 1000))
    records.series().step()
    gap = next(s for s in records.found("volume") if s.rows == 0)
    assert (gap.value, gap.effect["windows"]) == (0, 30)
    assert (gap.end - gap.start) == timedelta(days=30)
    assert (gap.p_seq or 1) < 0.01
    assert gap.reason.startswith("30 windows without rows: 0 where")


def test_a_gap_of_years_costs_a_month(records: Records) -> None:
    records.days(usual(0, 40))
    records.book.put(records.window(4000, 1000))
    records.series().step()
    found = records.found("volume")
    assert found[-1].reference_windows <= 40 + MOST_EMPTY
    assert len(found) == 42


def test_confidence_is_compared_with_the_windows_of_the_training_span(records: Records) -> None:
    known = reference()
    mean = float(np.mean([each for each in known.confidence if each is not None]))
    records.days([300] * 4, confidence=mean - 0.003)
    records.days([300] * 6, first=4, confidence=mean - 0.1)
    records.series(known=known).step()
    found = records.found("confidence")
    assert found[0].p is not None
    assert found[0].reference_windows == known.windows
    assert min(s.p_seq or 1 for s in found[:4]) > 0.05
    assert (found[-1].p_seq or 1) < 0.05
    assert found[-1].effect["change_sd"] < -3


def test_a_regression_has_no_confidence(records: Records) -> None:
    records.book.put(records.window(0, 90, confidence=None))
    records.series().step()
    assert records.found("confidence") == []


def test_a_table_that_gets_no_rows_grows_old(records: Records) -> None:
    records.days(usual(0, 60))
    for day in range(45):
        records.ingested(day + 0.5, 10)
    records.series(tables=["sales"]).step()
    ages = records.found("freshness", "sales")
    assert [round(s.value) for s in ages[:2]] == [13, 13]
    assert min(s.p_seq or 1 for s in ages[:45]) > 0.05
    assert ages[-1].value == 13 + 15 * 24
    assert (ages[-1].p_seq or 1) < 0.01
    came = records.found("volume", "sales")
    assert [s.rows for s in came] == [10] * 45 + [0] * 15
    assert (came[-1].p_seq or 1) < 0.05


def test_a_table_that_came_in_after_the_windows_says_nothing_of_them(records: Records) -> None:
    records.days(usual(0, 3))
    records.ingested(400, 10)
    records.series(tables=["sales"]).step()
    assert (records.found("freshness", "sales"), records.found("volume", "sales")) == ([], [])


def test_rows_that_were_read_again_did_not_come_in(records: Records) -> None:
    records.days(usual(0, 2))
    records.ingested(0.2, 10)
    records.ingested(0.4, 10, replaces_all=True)
    records.series(tables=["sales"]).step()
    assert [s.rows for s in records.found("volume", "sales")] == [10, 0]


@pytest.mark.parametrize("looks", [1, 3, 7])
def test_looks_and_restarts_change_no_record(tmp_path: Path, looks: int) -> None:
    undisturbed, disturbed = Records(tmp_path / "a"), Records(tmp_path / "b")
    known = reference()
    for each in (undisturbed, disturbed):
        for day in range(50):
            each.ingested(day + 0.3, 5 + day % 3)
    for day in [*range(20), *range(27, 50)]:
        for each in (undisturbed, disturbed):
            each.book.put(
                each.window(day, 300 + day % 7), each.window(day, 290, version=2, role="challenger", confidence=0.7)
            )
        if day % looks == 0:
            disturbed.series(known=known, tables=["sales"]).step()
    for each in (undisturbed, disturbed):
        each.series(known=known, tables=["sales"]).step()
    first, second = (sorted(each.book.find(Signal), key=lambda s: s.id) for each in (undisturbed, disturbed))
    assert len(first) == 43 * 2 + 43 * 3 + 1
    assert first == second
    for each in (undisturbed, disturbed):
        each.book.close()


def test_each_view_with_a_limit_has_its_age_in_every_window_and_restarts_change_nothing(records: Records) -> None:
    def ages(start: int, end: int) -> dict[str, tuple[int, int]]:
        day = start // DAY - FIRST
        return {"spend": (day * MICROS["h"], MICROS["h"])}

    records.days([1000] * 2)
    records.series(ages=ages).step()
    records.days([1000], first=2)
    records.series(ages=ages).step()  # a new process
    found = records.found("freshness", "view:spend")
    assert [(s.value, s.effect["limit"]) for s in found] == [(0, 1), (1, 1), (2, 1)]
    assert found[2].reason == "the values of view spend were up to 2h old; 1h is allowed (features.freshness)"
    assert records.series(ages=ages).step() == []
