"""Checking rows: which fail, why, and what is wrong with a batch as a whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.data.checks import Checked, check
from trimtab.errors import PolicyError

NOON = datetime(2013, 1, 31, 12, tzinfo=UTC)


class Rows(pa.DataFrameModel):
    at: pl.Datetime("us", "UTC")  # type: ignore[valid-type]  # Pandera takes instances of types
    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"])
    delay: float = pa.Field(nullable=True, ge=-60, le=100)


def rows(*items: tuple[str | None, float | None], at: datetime | None = NOON) -> pl.DataFrame:
    return pl.DataFrame(
        [(at, *item) for item in items],
        schema={"at": pl.Datetime("us", "UTC"), "origin": pl.String, "delay": pl.Float64},
        orient="row",
    )


def run(frame: pl.DataFrame, schema: pa.DataFrameSchema | None = None) -> Checked:
    return check(frame, schema or Rows.to_schema(), timestamp="at")


def test_good_rows_pass() -> None:
    checked = run(rows(("JFK", 1.0), ("EWR", None)))
    assert (checked.rows, len(checked.failing), checked.failures, checked.broken) == (2, 0, (), ())
    assert checked.share == 0


def test_failing_rows_are_told_with_all_their_reasons() -> None:
    checked = run(rows(("JFK", 1.0), ("XXX", 200.0), (None, 1.0), ("LGA", -61.0)))
    assert checked.failing.to_list() == [1, 2, 3]
    assert sorted(checked.reasons[0].split("; ")) == [
        "delay: less_than_or_equal_to(100)",
        "origin: isin(['EWR', 'JFK', 'LGA'])",
    ]
    assert checked.reasons.to_list()[1:] == ["origin: not_nullable", "delay: greater_than_or_equal_to(-60)"]
    assert {(failure.column, failure.check): (failure.rows, failure.example) for failure in checked.failures} == {
        ("origin", "isin(['EWR', 'JFK', 'LGA'])"): (1, "XXX"),
        ("origin", "not_nullable"): (1, "None"),
        ("delay", "less_than_or_equal_to(100)"): (1, "200.0"),
        ("delay", "greater_than_or_equal_to(-60)"): (1, "-61.0"),
    }
    assert checked.broken == ()
    assert checked.share == 0.75


@pytest.mark.parametrize("schema", [None, pa.DataFrameSchema({"delay": pa.Column(float)}), Rows.to_schema()])
def test_the_time_is_never_null_with_or_without_a_schema(schema: pa.DataFrameSchema | None) -> None:
    frame = pl.concat([rows(("JFK", 1.0)), rows(("JFK", 1.0), at=None)])
    checked = check(frame, schema, timestamp="at")
    assert checked.failing.to_list() == [1]
    assert checked.reasons.to_list() == ["at: not_nullable"]
    assert [failure.check for failure in checked.failures] == ["not_nullable"]


def test_a_missing_column_breaks_the_batch() -> None:
    checked = run(rows(("JFK", 1.0)).drop("delay"))
    assert len(checked.broken) == 1
    assert checked.broken[0].startswith("delay: column_in_dataframe")
    assert (checked.failures[0].column, checked.failures[0].rows) == ("delay", 1)


def test_a_wrong_type_breaks_the_batch() -> None:
    checked = run(rows(("JFK", 1.0)).with_columns(delay=pl.lit(1)))
    assert checked.broken == ("delay: dtype('Float64'): Int32",)


def test_a_condition_on_the_whole_batch_breaks_it() -> None:
    schema = pa.DataFrameSchema(
        {
            "delay": pa.Column(
                float, pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).mean() < 10), name="usual mean")
            )
        }
    )
    checked = run(rows(("JFK", 1.0), ("JFK", 90.0)), schema)
    assert checked.broken == ("delay: usual mean: is not met",)
    assert len(checked.failing) == 0


def test_a_check_of_whole_rows() -> None:
    late = pa.Check(
        lambda data: data.lazyframe.select((pl.col("origin") != "EWR") | (pl.col("delay") < 50)), name="early in Newark"
    )
    checked = run(rows(("JFK", 90.0), ("EWR", 90.0), ("EWR", 1.0)), pa.DataFrameSchema(checks=late))
    assert checked.failing.to_list() == [1]
    assert checked.reasons.to_list() == ["*: early in Newark"]


def test_two_checks_of_one_name_both_count() -> None:
    schema = pa.DataFrameSchema({"delay": pa.Column(float, [pa.Check.gt(0, name="x"), pa.Check.lt(9, name="x")])})
    assert run(rows(("JFK", -1.0), ("JFK", 10.0), ("JFK", 1.0)), schema).failing.to_list() == [0, 1]


def test_all_of_the_rows_that_are_not_unique_fail() -> None:
    checked = run(rows(("JFK", 1.0), ("EWR", 2.0), ("JFK", 1.0)), pa.DataFrameSchema(unique=["origin", "delay"]))
    assert checked.failing.to_list() == [0, 2]


def test_a_schema_that_would_drop_rows_or_change_types_only_judges() -> None:
    dropping = pa.DataFrameSchema({"delay": pa.Column(float, pa.Check.lt(9))}, drop_invalid_rows=True, coerce=True)
    assert run(rows(("JFK", 10.0), ("JFK", 1.0)), dropping).failing.to_list() == [0]
    assert dropping.drop_invalid_rows


def test_an_empty_batch_passes() -> None:
    assert run(rows()).failures == ()


def test_a_check_that_cannot_run_is_a_policy_error() -> None:
    schema = pa.DataFrameSchema({"delay": pa.Column(float, pa.Check(lambda data: False)), "at": pa.Column(int)})
    with pytest.raises(PolicyError, match=r"cannot run.*A check returns a frame"):
        run(rows(("JFK", 1.0)), schema)


def test_a_check_that_raises_breaks_the_batch() -> None:
    schema = pa.DataFrameSchema({"delay": pa.Column(float, pa.Check(lambda data: 1 / 0, name="odd"))})
    checked = run(rows(("JFK", 1.0)), schema)
    assert len(checked.broken) == 1
    assert "division by zero" in checked.broken[0]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["JFK", "EWR", "XXX", None]), st.none() | st.floats(-200, 200, width=32), st.booleans()
        ),
        min_size=1,
        max_size=30,
    )
)
def test_failing_rows_are_those_that_a_loop_finds(items: list[tuple[str | None, float | None, bool]]) -> None:
    frame = pl.concat([rows((origin, delay), at=NOON if timed else None) for origin, delay, timed in items])
    expected = [
        n
        for n, (origin, delay, timed) in enumerate(items)
        if not timed or origin not in ("JFK", "EWR", "LGA") or (delay is not None and not -60 <= delay <= 100)
    ]
    checked = run(frame)
    assert checked.failing.to_list() == expected
    assert len(checked.reasons) == len(expected)
    assert all(checked.reasons)


def test_rows_known_before_their_timestamp_fail_and_nulls_and_equal_moments_pass() -> None:
    moments = [NOON - timedelta(days=3), NOON, NOON + timedelta(hours=1), None]
    known = pl.Series("known", moments, dtype=pl.Datetime("us", "UTC"))
    frame = rows(*[("JFK", 1.0)] * 4).with_columns(known)
    checked = check(frame, None, timestamp="at", known_at="known")
    assert checked.failing.to_list() == [0]
    assert checked.reasons.to_list() == ["known: not_before(at)"]
    (failure,) = checked.failures
    assert failure.example == "2013-01-28 12:00:00+00:00 is before 2013-01-31 12:00:00+00:00"
