"""Timelines in a real online store say at every moment what the rows known by the last run say."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimtab as tt
from trimtab.definitions.aggregations import Aggregation, count, last, mean
from trimtab.definitions.views import FeatureView, WindowBy
from trimtab.errors import DefinitionError, UsageError
from trimtab.features.materialization import materialize
from trimtab.features.packing import nothing
from trimtab.features.value_types import encode
from trimtab.stores.online.lmdb import LmdbOnline

Row = dict[str, Any]
Oracle = Callable[..., "list[float | None]"]
Bits = Callable[[Sequence["float | None"]], "list[str | None]"]

SCHEMA = {"a": pl.String, "n": pl.Int64, "ts": pl.Int64, "known": pl.Int64, "x": pl.Float64}
MOMENTS = range(-12, 75)


def frame(rows: Sequence[Row]) -> pl.LazyFrame:
    table = pl.DataFrame(list(rows), schema=SCHEMA, orient="row")
    return table.with_columns(pl.col("ts", "known").cast(pl.Datetime("us", "UTC"))).lazy()


def view_of(
    features: list[Aggregation],
    *,
    ttl: str | None = None,
    every: str | None = None,
    window_by: WindowBy = "timestamp",
) -> FeatureView:
    source = tt.FileSource("events", "events.parquet", timestamp="ts", known_at="known")
    thing = tt.Entity("thing", keys=["a", "n"])
    return FeatureView("v", thing, source, features, ttl=ttl, every=every, window_by=window_by)


def read(view: FeatureView, online: LmdbOnline, key: tuple[str | None, int | None], at: int) -> list[float | None]:
    (found,) = online.read([(online.prefix(view.version_id), encode(key))], at)
    values = np.frombuffer(nothing(view) if found is None else found, dtype="<f8")
    return [None if np.isnan(value) else float(value) for value in values]


@pytest.fixture
def online(tmp_path: Path) -> Iterator[LmdbOnline]:
    store = LmdbOnline(tmp_path)
    yield store
    store.close()


KEYS: list[tuple[str | None, int | None]] = [("x", 1), ("x", 11), ("", -1), (None, 1)]
MOMENT = st.integers(-5, 40)
ROW = st.fixed_dictionaries(
    {
        "key": st.sampled_from(KEYS),
        "ts": MOMENT,
        "known": st.one_of(st.none(), MOMENT, MOMENT),
        "x": st.one_of(st.none(), st.integers(0, 2).map(float), st.floats(width=16)),
        "arrives": st.integers(0, 2),
    }
)
FEATURE = st.builds(
    lambda kind, window: Aggregation(kind, None if kind == "count" else "x", window),
    st.sampled_from(["count", "sum", "mean", "min", "max", "last"]),
    st.sampled_from([None, 2, 7, 30]),
)


@settings(max_examples=20)  # each makes a store, and reads it at every moment after each of three runs
@given(
    rows=st.lists(ROW, max_size=18),
    features=st.lists(FEATURE, min_size=1, max_size=4, unique_by=lambda a: a.name),
    ttl=st.sampled_from([None, "5us"]),
    every=st.sampled_from([None, "4us"]),
    window_by=st.sampled_from(["timestamp", "known_at"]),
    untils=st.tuples(MOMENT, MOMENT, MOMENT).map(sorted),
)
def test_several_runs_with_late_rows_say_what_the_oracle_says(
    rows: list[Row], features: list[Aggregation], ttl: str | None, every: str | None, window_by: WindowBy,
    untils: list[int], oracle: Oracle, bits: Bits,
) -> None:  # fmt: skip
    rows = [{**row, "a": row["key"][0], "n": row["key"][1]} for row in sorted(rows, key=lambda row: row["arrives"])]
    view = view_of(features, ttl=ttl, every=every, window_by=window_by)
    with tempfile.TemporaryDirectory() as folder:
        online = LmdbOnline(Path(folder))
        for run, until in enumerate(untils):
            # given the rows that have arrived by this run, some of which earlier runs should have had
            table = [{name: row[name] for name in SCHEMA} for row in rows if row["arrives"] <= run]
            materialize(view, frame(table), online, until=until)
            # then every read, before and after `until`, is of the rows known by then
            known = [row for row in table if row["known"] is not None and max(row["ts"], row["known"]) <= until]
            for key in KEYS:
                for at in MOMENTS:
                    expected = oracle(view, known, {"a": key[0], "n": key[1]}, at)
                    assert bits(read(view, online, key, at)) == bits(expected), (run, key, at)
            # and running it again changes nothing
            assert materialize(view, frame(table), online, until=until) == 0
        online.close()


def rows_at(*moments: int, x: float = 1.0) -> list[Row]:
    return [{"a": "x", "n": 1, "ts": at, "known": at, "x": x} for at in moments]


def test_a_first_run_leaves_out_values_that_do_not_change(online: LmdbOnline) -> None:
    view = view_of(last("x"), ttl="10us")
    # one value and its end; not the three repetitions and their two expiries
    assert materialize(view, frame(rows_at(0, 3, 6, 9)), online, until=20) == 2
    assert read(view, online, ("x", 1), 18) == [1.0]
    assert read(view, online, ("x", 1), 19) == [None]


def test_values_expire_although_no_job_runs_any_more(online: LmdbOnline) -> None:
    view = view_of([*count("10us"), *mean("x", "4us")])
    materialize(view, frame(rows_at(0, 1)), online, until=1)
    assert [read(view, online, ("x", 1), at) for at in (1, 4, 5, 10, 11)] == [
        [2.0, 1.0],
        [2.0, 1.0],
        [2.0, None],
        [1.0, None],
        [0.0, None],
    ]


def test_full_writes_the_values_of_rows_that_were_changed_in_place(online: LmdbOnline) -> None:
    view = view_of(last("x"))
    materialize(view, frame(rows_at(0, 5)), online, until=10)
    assert materialize(view, frame(rows_at(0, 5, x=2.0)), online, until=10) == 0
    materialize(view, frame(rows_at(0, 5, x=2.0)), online, until=10, full=True)
    assert [read(view, online, ("x", 1), at) for at in (0, 5)] == [[2.0], [2.0]]


def test_an_end_before_the_watermark_changes_nothing_and_no_rebuild_may_stop_there(online: LmdbOnline) -> None:
    view = view_of(last("x"))
    materialize(view, frame(rows_at(0)), online, until=10)
    assert materialize(view, frame(rows_at(0, 5)), online, until=9) == 0
    assert online.watermark(view.version_id) == 10
    with pytest.raises(UsageError, match="materialized up to 10 already; expected `until` at or after that, not 9"):
        materialize(view, frame(rows_at(0)), online, until=9, full=True)


def test_late_rows_change_the_past(online: LmdbOnline) -> None:
    view = view_of(count("100us"))
    materialize(view, frame(rows_at(0, 1)), online, until=10)
    materialize(view, frame(rows_at(0, 1, 2, 12)), online, until=20)
    assert read(view, online, ("x", 1), 2) == [3.0]


def test_an_empty_table_sets_the_watermark(online: LmdbOnline) -> None:
    view = view_of(count("1us"))
    assert materialize(view, frame([]), online, until=5) == 0
    assert online.watermark(view.version_id) == 5
    assert read(view, online, ("x", 1), 5) == [0.0]


def test_a_missing_column_is_named_with_the_nearest(online: LmdbOnline) -> None:
    with pytest.raises(DefinitionError, match=r"column 'xx', which source 'events' does not have. Did you mean 'x'\?"):
        materialize(view_of(last("xx")), frame([]), online, until=5)


def test_an_end_that_an_earlier_run_foresaw_is_taken_back_when_a_new_row_comes(online: LmdbOnline) -> None:
    view = view_of(last("x", window="7us"))
    materialize(view, frame(rows_at(0)), online, until=1)
    assert read(view, online, ("x", 1), 7) == [None]
    materialize(view, frame(rows_at(0, 3)), online, until=4)
    assert [read(view, online, ("x", 1), at) for at in (3, 7, 9, 10)] == [[1.0], [1.0], [1.0], [None]]
