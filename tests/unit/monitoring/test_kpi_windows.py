"""KPI streams: windows, late points, gaps, the version that served, restarts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.clock import EPOCH, ManualClock, from_micros
from trimtab.definitions.kpis import Kpi
from trimtab.definitions.models import Model
from trimtab.definitions.sources import FileSource
from trimtab.monitoring.kpi_windows import MOST_EMPTY, KpiMonitor
from trimtab.policy.decide import Decide
from trimtab.records.data import TableVersion
from trimtab.records.monitoring import KPI_LOST, KpiPoint, Signal, WindowReport
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.units import MICROS

DAY, HOUR = MICROS["d"], MICROS["h"]
FIRST = 20_000
SALES = FileSource("sales", "sales.csv", timestamp="at")
PUSHED = Kpi("revenue")
ASKED = Kpi("revenue", query="SELECT ...")
READ = Kpi("revenue", source=SALES, value="amount", entity="shop")


class Shop:
    """A metadata store, the rows of one table by version, and monitors on them."""

    def __init__(self, folder: Path) -> None:
        self.book: Metadata = SqlMetadata(folder / "metadata.db")
        self.versions: list[pl.DataFrame] = []
        self.points = 0
        self.sold: list[tuple[float, float]] = []
        """Day and value of the rows that the query has."""
        self.asked: list[int] = []
        """Days that it was asked for."""

    def monitor(self, *kpis: Kpi, models: Sequence[str] = ("delay",), book: Metadata | None = None) -> KpiMonitor:
        return KpiMonitor(
            book or self.book,
            {kpi.name: kpi for kpi in kpis},
            models,
            Decide(),
            lambda kpi, version: self.versions[version].lazy(),
            ManualClock(EPOCH),
            self.ask,
        )

    def ask(self, kpi: Kpi, windows: Sequence[tuple[int, int]]) -> list[tuple[int, float, int]]:
        """Answer the query of a stream: of each window the rows of `sold` in it, their total, no entities."""
        self.asked += [start // DAY - FIRST for start, _ in windows]
        rows = [[value for day, value in self.sold if start <= (FIRST + day) * DAY < end] for start, end in windows]
        return [(len(each), sum(each), 0) for each in rows]

    def served(self, days: range, *, version: int = 1, rows: int = 100, model: str = "delay") -> None:
        """Write the reports of the champion's windows."""
        for day in days:
            start = from_micros((FIRST + day) * DAY)
            self.book.put(
                WindowReport(
                    id=f"{model}/v{version}/{start:%Y-%m-%d}/closed",
                    created_at=EPOCH,
                    model=model,
                    version=version,
                    role="champion",
                    stage="closed",
                    start=start,
                    end=start + timedelta(days=1),
                    rows=rows,
                    served_rows=rows,
                    labelled=0,
                    coverage=0.0,
                    metrics={},
                )
            )

    def push(self, day: float, value: float, *, entity: str | None = None, model: str | None = None) -> None:
        """Write a pushed point, received at its own time."""
        self.points += 1
        time = from_micros(round((FIRST + day) * DAY))
        self.book.put(
            KpiPoint(
                id=f"kpi/revenue/{self.points}",
                created_at=from_micros((FIRST + 900) * DAY),
                stream="revenue",
                time=time,
                value=value,
                entity=entity,
                model=model,
                by="test",
            )
        )

    def ingest(self, *rows: tuple[float, float | None]) -> None:
        """Add a version of the table with further rows (day, amount)."""
        added = pl.DataFrame(
            {
                "at": [from_micros(round((FIRST + day) * DAY)) for day, _ in rows],
                "amount": [amount for _, amount in rows],
                "shop": ["a"] * len(rows),
            },
            schema={"at": pl.Datetime("us", "UTC"), "amount": pl.Float64, "shop": pl.String},
        )
        self.versions.append(pl.concat([*self.versions[-1:], added]))
        number = len(self.versions) - 1
        self.book.put(
            TableVersion(
                id=f"sales@{number}",
                created_at=from_micros((FIRST + 900) * DAY),
                table="sales",
                version=number,
                rows=self.versions[-1].height,
                added_rows=added.height,
                content_hash="",
                schema=dict.fromkeys(("at", "amount", "shop"), "x"),
                source="sales.csv",
                source_hash=str(number),
            )
        )

    def signals(self, model: str = "delay") -> list[Signal]:
        """Return the signals, oldest first."""
        found = [s for s in self.book.find(Signal, model=model, kind="kpi") if s.subject == "revenue"]
        return sorted(found, key=lambda s: s.start)

    def values(self, model: str = "delay") -> list[tuple[int, int, float, int]]:
        """Return day, version, value and points of the signals."""
        days = [round((s.start - EPOCH) / timedelta(days=1)) - FIRST for s in self.signals(model)]
        return [(day, s.version, s.value, s.rows) for day, s in zip(days, self.signals(model), strict=True)]

    def content(self) -> list[Signal]:
        """Return all signals by id."""
        return sorted(self.book.find(Signal), key=lambda s: s.id)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.book.close()


def test_a_window_closes_with_the_point_that_passes_its_end_by_the_lateness(shop: Shop) -> None:
    shop.served(range(3))
    monitor = shop.monitor(PUSHED)
    shop.push(0.5, 10)
    shop.push(1 + 0.99 / 24, 5)
    assert monitor.step() == []
    shop.push(1 + 1 / 24, 7)
    monitor.step()
    assert shop.values() == [(0, 1, 10.0, 1)]


def test_a_late_point_is_left_out_and_one_within_the_lateness_counts(shop: Shop) -> None:
    shop.served(range(4))
    monitor = shop.monitor(PUSHED)
    for day, value in ((0.5, 10), (1.01, 1), (0.9, 20), (1.5, 2), (0.95, 400), (2.5, 0)):
        shop.push(day, value)
        monitor.step()
    assert shop.values() == [(0, 1, 30.0, 2), (1, 1, 3.0, 2)]


def test_a_point_in_the_future_closes_nothing(shop: Shop) -> None:
    shop.served(range(4))
    shop.push(0.5, 10)
    shop.push(2_000, 99)
    shop.push(1.5, 7)
    shop.monitor(PUSHED).step()
    assert shop.values() == [(0, 1, 10.0, 1)]


def test_a_sum_without_points_is_zero_and_a_mean_is_no_value(shop: Shop) -> None:
    shop.served(range(6))
    for day in (0.5, 3.5, 4.5):
        shop.push(day, 8)
    shop.monitor(PUSHED).step()
    assert shop.values() == [(0, 1, 8.0, 1), (1, 1, 0.0, 0), (2, 1, 0.0, 0), (3, 1, 8.0, 1)]


def test_the_mean_of_a_stream_with_a_hole(shop: Shop) -> None:
    shop.served(range(6))
    for day, value in ((0.2, 8), (0.5, 4), (3.5, 1), (4.5, 0)):
        shop.push(day, value)
    shop.monitor(Kpi("revenue", aggregation="mean")).step()
    assert shop.values() == [(0, 1, 6.0, 2), (3, 1, 1.0, 1)]


def test_of_a_long_gap_a_month_is_written_as_zero(shop: Shop) -> None:
    shop.served(range(102))
    for day in (0.5, 100.5, 101.5):
        shop.push(day, 8)
    shop.monitor(PUSHED).step()
    days = [day for day, *_ in shop.values()]
    assert days == [*range(MOST_EMPTY + 1), 100]


def test_the_version_is_the_champion_of_most_rows_in_the_window(shop: Shop) -> None:
    shop.served(range(2), version=1, rows=60)
    shop.served(range(1, 4), version=2, rows=100)
    for day in range(5):
        shop.push(day + 0.5, day)
    shop.monitor(PUSHED).step()
    assert [(day, version) for day, version, *_ in shop.values()] == [(0, 1), (1, 2), (2, 2), (3, 2)]


def test_without_rows_in_a_window_the_version_before_counts(shop: Shop) -> None:
    shop.served(range(1), version=1)
    shop.served(range(3, 4), version=2)
    for day in (0.5, 1.5, 2.5, 3.5):
        shop.push(day, 1)
    shop.monitor(PUSHED).step()
    assert [(day, version) for day, version, *_ in shop.values()] == [(0, 1), (1, 1), (2, 1)]


def test_a_closed_window_waits_for_the_window_of_the_model(shop: Shop) -> None:
    monitor = shop.monitor(PUSHED)
    for day in (0.5, 1.5, 2.5):
        shop.push(day, 1)
    assert monitor.step() == []
    shop.served(range(1))
    assert [s.version for s in monitor.step()] == [1]
    shop.served(range(1, 2), version=2)
    assert [s.version for s in monitor.step()] == [2]


def test_history_before_the_model_is_reference_and_belongs_to_no_version(shop: Shop) -> None:
    shop.served(range(100, 103))
    for day in range(103):
        shop.push(day + 0.5, 100 + day % 5)
    shop.monitor(PUSHED).step()
    found = shop.values()
    assert [day for day, *_ in found] == list(range(70, 102))
    assert {version for day, version, *_ in found if day < 100} == {0}
    assert [s.p is None for s in shop.signals()] == [True] * 30 + [False] * 2


def test_a_fall_of_revenue_is_told_and_says_what_is_usual(shop: Shop) -> None:
    shop.served(range(50))
    for day in range(50):
        shop.push(day + 0.5, (100 + day % 5) * (0.5 if day >= 40 else 1))
    shop.monitor(PUSHED).step()
    by_day = {day: signal for (day, *_), signal in zip(shop.values(), shop.signals(), strict=True)}
    assert (by_day[39].p_seq or 1) > 0.05
    assert min(by_day[day].p_seq or 1 for day in range(40, 49)) < 0.01
    assert by_day[40].effect["expected"] == pytest.approx(102, abs=1)
    assert by_day[40].reason.startswith("revenue: 50 where 10")


def test_a_point_that_names_a_model_counts_for_it_alone(shop: Shop) -> None:
    for model in ("delay", "price"):
        shop.served(range(3), model=model)
    monitor = shop.monitor(PUSHED, models=("delay", "price"))
    for day in (0.5, 1.5):
        shop.push(day, 1)
        shop.push(day, 10, model="price")
        shop.push(day, 100, model="delay")
    monitor.step()
    assert shop.values("delay") == [(0, 1, 101.0, 2)]
    assert shop.values("price") == [(0, 1, 11.0, 2)]


def test_a_stream_of_one_model_writes_nothing_for_others(shop: Shop) -> None:
    for model in ("delay", "price"):
        shop.served(range(3), model=model)
    for day in (0.5, 1.5):
        shop.push(day, 1)
    own = Model("price", task="regression", examples=SALES, label="y", features=["x"])
    shop.monitor(Kpi("revenue", model=own), models=("delay", "price")).step()
    assert (shop.values("delay"), len(shop.values("price"))) == ([], 1)


def test_the_rows_of_a_table_are_points_and_rows_without_a_number_are_none(shop: Shop) -> None:
    shop.served(range(3))
    shop.ingest((0.5, 3.0), (0.6, None), (0.7, float("nan")), (0.8, 4.0), (1.5, 9.0))
    shop.monitor(READ).step()
    assert shop.values() == [(0, 1, 7.0, 2)]
    assert shop.signals()[0].effect["entities"] == 1


def test_rows_of_a_later_version_change_no_closed_window(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.served(range(4))
    monitor = shop.monitor(READ)
    shop.ingest((0.5, 3.0), (1.5, 9.0))
    monitor.step()
    shop.ingest((0.6, 1000.0), (1.6, 1.0), (2.5, 0.0))
    monitor.step()
    assert shop.values() == [(0, 1, 3.0, 1), (1, 1, 10.0, 2)]
    assert "1 rows of sales@1 came after their window was closed" in caplog.text


def test_a_column_that_is_not_there_is_named_once(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.served(range(2))
    shop.ingest((0.5, 3.0))
    monitor = shop.monitor(Kpi("revenue", source=SALES, value="amont"))
    monitor.step()
    monitor.step()
    assert caplog.text.count("has no column 'amont'. Did you mean 'amount'?") == 1


def test_a_column_of_text_is_refused(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.served(range(2))
    shop.ingest((0.5, 3.0))
    shop.monitor(Kpi("revenue", source=SALES, value="shop")).step()
    assert "column 'shop' holds String; expected numbers" in caplog.text


DAYS = st.lists(st.tuples(st.floats(0, 45), st.floats(-1e3, 1e3)), min_size=1, max_size=15)


@settings(max_examples=8)  # each makes two databases
@given(points=DAYS, looks=st.sets(st.integers(0, 14)), kills=st.sets(st.integers(0, 14)))
def test_what_is_written_does_not_depend_on_looks_and_restarts(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[float, float]], looks: set[int], kills: set[int]
) -> None:
    undisturbed, disturbed = (Shop(tmp_path_factory.mktemp("shop")) for _ in range(2))
    for each in (undisturbed, disturbed):
        each.served(range(46))
    monitor = disturbed.monitor(PUSHED, READ_TOO)
    for n, (day, value) in enumerate(points):
        for each in (undisturbed, disturbed):
            each.push(day, value)
            each.ingest((day, value))
        if n in kills:
            monitor = disturbed.monitor(PUSHED, READ_TOO)
        if n in looks:
            monitor.step()
    undisturbed.monitor(PUSHED, READ_TOO).step()
    disturbed.monitor(PUSHED, READ_TOO).step()
    assert undisturbed.content() == disturbed.content()
    for each in (undisturbed, disturbed):
        each.book.close()


READ_TOO = Kpi("takings", source=SALES, value="amount")


def test_a_query_is_asked_for_each_window_that_the_models_own_have_reached_and_once(shop: Shop) -> None:
    shop.sold = [(0.5, 10), (0.7, 2), (2.5, 7), (3.5, 1)]
    monitor = shop.monitor(ASKED)
    assert monitor.step() == []
    shop.served(range(2))
    monitor.step()
    assert shop.values() == [(0, 1, 12.0, 2), (1, 1, 0.0, 0)]
    shop.served(range(2, 3), version=2)
    shop.sold.append((0.9, 500))  # comes late
    shop.monitor(ASKED).step()
    assert shop.values()[2:] == [(2, 2, 7.0, 1)]
    assert shop.asked == [*range(-30, 2), 2]


def test_the_mean_of_a_query_has_no_value_where_it_has_no_rows(shop: Shop) -> None:
    shop.served(range(4))
    shop.sold = [(0.5, 10), (0.6, 20), (2.5, 7)]
    monitor = shop.monitor(Kpi("revenue", query="SELECT ...", aggregation="mean"))
    monitor.step()
    monitor.step()
    assert shop.values() == [(0, 1, 15.0, 2), (2, 1, 7.0, 1)]
    assert shop.asked == [*range(-30, 4)], "each once"


@pytest.mark.parametrize(("better", "lost"), [("better", 40.0), ("worse", -40.0)])
def test_a_kpi_that_counts_as_money_says_how_much_worse_than_usual_a_window_was(
    shop: Shop, better: str, lost: float
) -> None:
    shop.served(range(-31, 2))
    shop.sold = [(day + 0.5, 100.0 + day % 2) for day in range(-31, 1)] + [(1.5, 60.5)]
    shop.monitor(Kpi("revenue", query="SELECT ...", impact=True, higher_is=better)).step()  # type: ignore[arg-type]
    assert shop.signals()[-1].effect[KPI_LOST] == pytest.approx(lost, abs=1.0)
    assert KPI_LOST not in shop.signals()[0].effect, "nothing is usual yet"
