"""Impact: avoidable money, and what the lower end of its interval decides."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from trimtab.clock import EPOCH
from trimtab.control.cause import Cause, gather
from trimtab.control.impact import judge
from trimtab.monitoring.event_windows import Span
from trimtab.monitoring.window_records import VersionWindow
from trimtab.policy.decide import Impact
from trimtab.records.monitoring import IMPACT, KPI_LOST, MONEY_GAIN
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.judged import signal, window_report
from trimtab.units import MICROS

POLICY = Impact(cost={"false_negative": 40}, medium=500, high=5000)


def cause(losses: list[float], *, over: float = 7.0, rivals: dict[int, tuple[float, ...]] | None = None) -> Cause:
    return Cause(
        window=window_report(), signals=(), losses=tuple(losses), over=over, rivals=rivals or {}, totals=(9000.0,) * 7
    )


def lower(values: list[float]) -> float:
    """The lower end by hand: Student's t of 6 degrees of freedom is 2.4469 at 97.5 %."""
    mean = sum(values) / 7
    sd = math.sqrt(sum((v - mean) ** 2 for v in values) / 6)
    return mean - 2.446912 * sd / math.sqrt(7)


@pytest.mark.parametrize(("shift", "level"), [(-0.01, "low"), (0.01, "medium")])
def test_the_lower_end_of_the_interval_decides(shift: float, level: str) -> None:
    base = [0.0, 300.0, 100.0, 50.0, 200.0, 0.0, 400.0]
    values = [v + 500.0 + shift - lower(base) for v in base]
    found = judge(cause(values), POLICY)
    assert found.level == level
    assert found.per_day > 500
    assert found.per_day == pytest.approx(sum(values) / 7)


def test_some_bad_days_decide_nothing_and_the_whole_loss_is_shown_apart() -> None:
    found = judge(cause([0.0, 0.0, 0.0, 0.0, 0.0, 8000.0, 9000.0]), POLICY)
    assert found.level == "low"
    assert found.per_day == pytest.approx(17000 / 7)
    assert "9,000 in all" in found.reason


def test_harm_decides_where_the_impact_function_failed() -> None:
    window = VersionWindow(model="delay", version=1, span=Span(0, 1, 1), now=EPOCH)
    failed = window.signal("error", subject=IMPACT, statistic="failed", value=1.0, rows=9, reason="no rate today")
    harmed = window.signal("concept", statistic="excess", value=1.0, p_seq=0.01, rows=9, reason="worse")
    for signals, level in (((failed, harmed), "medium"), ((failed,), "low")):
        found = judge(replace(cause([9000.0] * 7), signals=signals), POLICY)
        assert (found.level, found.per_day) == (level, 0.0)
        assert found.reason.startswith("no rate today; harm on labels")


def test_without_costs_the_money_of_an_impact_function_decides() -> None:
    found = judge(cause([9000.0 + n for n in range(7)]), Impact())
    assert found.level == "high"
    assert found.per_day == pytest.approx(9003)


def test_few_windows_are_not_sure_and_a_stretch_of_fewer_than_three_decides_by_its_mean() -> None:
    young = judge(cause([9000.0, 9000.0]), POLICY)
    assert (young.level, "too few windows" in young.reason) == ("low", True)
    assert judge(cause([9000.0], over=1.0), POLICY).level == "high"


def test_the_best_version_that_was_compared_comes_before_the_expectation() -> None:
    stormy = [90_000.0 + n for n in range(7)]
    found = judge(cause(stormy, rivals={1: (560.0, 570.0) * 3, 2: (1.0,) * 7, 3: (9e9, 9e9)}), POLICY)
    assert found.level == "low", "6 of 7 windows, the last one counts as 0: 484 in the mean"
    assert "version 1 would have lost 484 USD a day less" in found.reason
    sure = judge(cause(stormy, rivals={1: (560.0, 570.0) * 3 + (565.0,)}), POLICY)
    assert sure.level == "medium"


def test_a_champion_that_loses_less_than_its_shadows_has_no_impact() -> None:
    found = judge(cause([9000.0] * 7, rivals={1: (-50.0, -60.0, -70.0) * 2 + (-60.0,)}), POLICY)
    assert (found.level, found.per_day < 0) == ("low", True)
    assert "a day more" in found.reason


def test_savings_of_other_versions_are_gathered_a_day_at_the_windows_traffic(tmp_path: Path) -> None:
    store = SqlMetadata(tmp_path / "metadata.db")
    for day in range(5):
        store.put(window_report(day))
        store.put(
            window_report(day, version=2, role="shadow", metrics={MONEY_GAIN: 0.5, "paired_version": 1.0}),
            window_report(day, version=3, role="shadow", metrics={MONEY_GAIN: 9.0, "paired_version": 4.0}),
        )
    found = gather(store, window_report(3), over=3 * MICROS["d"], size=MICROS["d"])
    assert found.rivals == {2: (500.0, 500.0, 500.0)}
    store.close()


def with_kpis(found: Cause, **losses: list[float]) -> Cause:
    return replace(found, kpi_losses={name: tuple(values) for name, values in losses.items()})


def test_a_kpi_that_counts_as_money_raises_the_impact_where_it_is_surely_larger() -> None:
    base = [0.0, 300.0, 100.0, 50.0, 200.0, 0.0, 400.0]
    far = [value + 6000.0 for value in base]
    found = judge(with_kpis(cause(base), revenue=far, refunds=base), POLICY)
    assert found.level == "high"
    assert found.per_day == pytest.approx(sum(far) / 7)
    assert found.low == pytest.approx(lower(far), rel=1e-4)
    assert found.reason.startswith("KPI revenue is 6,150 USD a day worse than usual (surely 6,0")
    assert judge(cause(base), POLICY).reason in found.reason


def test_a_kpi_lowers_nothing_and_some_bad_days_of_it_decide_nothing() -> None:
    mistakes = cause([value + 6000.0 for value in (0.0, 300.0, 100.0, 50.0, 200.0, 0.0, 400.0)])
    assert judge(with_kpis(mistakes, revenue=[-9000.0] * 7), POLICY) == judge(mistakes, POLICY)
    calm = cause([0.0] * 7)
    wild = [0.0] * 5 + [30_000.0, 0.0]
    assert judge(with_kpis(calm, revenue=wild), POLICY).level == "low"
    assert judge(with_kpis(calm, revenue=[7000.0] * 2), POLICY).level == "low", "two windows of seven prove nothing"


def test_a_kpi_counts_without_any_cost_in_the_policy() -> None:
    plain = Impact(medium=500, high=5000)
    found = judge(with_kpis(cause([]), revenue=[700.0, 710.0, 705.0, 700.0, 701.0, 702.0, 703.0]), plain)
    assert found.level == "medium"


def test_kpi_losses_are_gathered_from_the_signals_of_the_stretch(tmp_path: Path) -> None:
    store = SqlMetadata(tmp_path / "metadata.db")
    for day in range(8):
        made = signal(window_report(day), "kpi", value=1.0, subject="revenue")
        store.put(
            msgspec.structs.replace(made, effect={KPI_LOST: float(day)}),
            signal(window_report(day), "kpi", subject="visits"),
        )
    found = gather(store, window_report(7), over=3 * MICROS["d"], size=MICROS["d"])
    assert found.kpi_losses == {"revenue": (5.0, 6.0, 7.0)}
    store.close()
