"""Segments: a change in one of them is found and named, and looking at many of them costs no false alarm."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from trimtab.app.drift.comparing import CompareOptions, compare_tables
from trimtab.app.drift.drift_results import Comparison
from trimtab.app.drift.segment_search import MOST
from trimtab.data.table_scan import TableScan
from trimtab.errors import UsageError

REGIONS = [f"r{place}" for place in range(8)]


def scan(seed: int, *, rows: int = 6_000, shifted: str | None = None, without: str | None = None) -> TableScan:
    """Rows of eight regions, two plans as codes, and a number; one region may be shifted or absent."""
    random = np.random.default_rng(seed)
    region = random.choice(REGIONS, rows)
    x = random.normal(size=rows) + np.where(region == shifted, 1.0, 0.0)
    frame = pl.DataFrame({"region": region, "plan": random.integers(0, 2, rows), "x": x})
    return TableScan(f"table {seed}", frame.filter(pl.col("region") != (without or "")).lazy(), True, 1)


def compared(now: TableScan, *segments: str, before: TableScan | None = None) -> Comparison:
    return compare_tables(before or scan(0), now, CompareOptions(columns=["x"], segments=segments))


def test_a_change_in_one_segment_is_found_and_named() -> None:
    found = compared(scan(1, shifted="r3"), "region", "plan")
    assert len(found.segments) == 10
    assert (found.segments[0].name, found.segments[0].columns) == ("region=r3", ("x",))
    assert found.segments[0].p < 0.025
    assert found.segments[0].share_moved > 0.25
    assert sum(segment.p < 0.025 for segment in found.segments) <= 3  # and the plans, to which its rows belong
    assert found.drift
    assert "region=r3" in found.reason


def test_p_is_adjusted_for_all_segments_that_were_looked_at() -> None:
    now, before = scan(1, shifted="r3"), scan(0)
    found = compared(now, "region").segments[0]
    old, new = (TableScan(t.path, t.frame.filter(pl.col("region") == "r3"), True, 1) for t in (before, now))
    single = compare_tables(old, new, CompareOptions(columns=["x"]))
    assert found.p == pytest.approx(8 * single.p)
    assert (found.rows, found.rows_reference) == (single.current.rows, single.reference.rows)


def test_the_search_raises_no_alarm_where_nothing_changed() -> None:
    alarms = [compared(scan(seed), "region").drift for seed in range(1, 9)]
    assert sum(alarms) <= 1


def test_the_table_and_the_search_share_the_level() -> None:
    whole, searched = compared(scan(5)), compared(scan(5), "region")
    assert searched.p == pytest.approx(min(1.0, 2 * min(whole.p, searched.segments[0].p)))


def test_segments_that_cannot_be_compared_are_told() -> None:
    found = compared(scan(1, without="r2"), "region")
    assert "region=r2" not in [segment.name for segment in found.segments]
    assert any("segment region=r2 was not compared" in note for note in found.notes)
    few = compared(scan(1, rows=600), "region", before=scan(0, rows=200))
    assert any("fewer than 30 rows" in note for note in few.notes)


def test_only_the_largest_segments_are_compared() -> None:
    random = np.random.default_rng(0)
    frame = pl.DataFrame({"shop": random.integers(0, 30, 3_000), "x": random.normal(size=3_000)})
    table = TableScan("t", frame.lazy(), True, 1)
    found = compare_tables(table, table, CompareOptions(columns=["x"], segments=["shop"]))
    assert len(found.segments) == MOST
    assert any(f"the {MOST} largest of 30" in note for note in found.notes)


def test_an_unknown_column_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'region'"):
        compared(scan(1), "regoin")
