"""Two tables on disk are compared: the verdict, the columns that carry it, and what is odd about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.app.drift.block_test import block_test
from trimtab.app.drift.comparing import CompareOptions, compare_paths
from trimtab.app.drift.drift_results import Comparison
from trimtab.errors import DataError, UsageError
from trimtab.stats.profile import ColumnProfile, profile
from trimtab.stats.schemes import NumericBins

ROWS = 3_000
DAY = 86_400_000_000
EPOCH = 1_700_006_400_000_000
"""Midnight, UTC."""


def table(rows: int = ROWS, seed: int = 0, *, days: int = 60) -> pl.DataFrame:
    """Return ordinary rows of all common types, in no order of time."""
    random = np.random.default_rng(seed)
    times = EPOCH + random.integers(0, days * DAY, rows)
    return pl.DataFrame(
        {
            "amount": random.normal(50, 10, rows),
            "count": random.integers(0, 20, rows),
            "plan": random.choice(["free", "team", "firm"], rows, p=[0.6, 0.3, 0.1]),
            "paid": random.random(rows) < 0.3,
            "born": pl.Series(random.integers(0, 9_000, rows)).cast(pl.Int32).cast(pl.Date),
            "price": pl.Series(random.integers(0, 9_999, rows) / 100).cast(pl.Decimal(10, 2)),
            "at": pl.Series(times).cast(pl.Datetime("us", "UTC")),
        }
    )


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., Comparison]:
    def call(reference: pl.DataFrame, current: pl.DataFrame, **options: Any) -> Comparison:
        paths = [tmp_path / "reference.parquet", tmp_path / "current.parquet"]
        for path, frame in zip(paths, (reference, current), strict=True):
            frame.write_parquet(path)
        return compare_paths(str(paths[0]), str(paths[1]), CompareOptions(**options))

    return call


Compare = Callable[..., Comparison]


# --- verdicts


@pytest.mark.parametrize("options", [{}, {"timestamp": "at"}, {"timestamp": "at", "window": "2d"}, {"window": "100"}])
def test_ordinary_rows_are_no_drift(compare: Compare, options: dict[str, str]) -> None:
    found = compare(table(), table(seed=1), **options)
    assert not found.drift
    assert found.p > 0.05
    assert found.drifted == []


@pytest.mark.parametrize("options", [{}, {"timestamp": "at"}])
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("amount", pl.col("amount") + 5),
        ("count", pl.col("count") * 100),
        ("plan", pl.lit("new")),
        ("paid", pl.lit(True)),
        ("born", pl.col("born").dt.offset_by("40y")),
        ("price", (pl.col("price").cast(pl.Float64) + 30).cast(pl.Decimal(10, 2))),
        ("amount", pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise(pl.col("amount"))),
    ],
)
def test_a_change_is_found_and_its_column_named(
    compare: Compare, options: dict[str, str], name: str, changed: pl.Expr
) -> None:
    found = compare(table(), table(seed=1).with_columns(changed.alias(name)), **options)
    assert found.drift
    assert found.p < 0.05
    assert found.columns[0].name == name
    assert [column.name for column in found.drifted] == [name]
    assert f"'{name}'" in found.reason


def test_effects_stand_beside_what_is_usual(compare: Compare) -> None:
    found = compare(table(), table(seed=1).with_columns(pl.col("amount") + 5))
    amount, count = (next(c for c in found.columns if c.name == name) for name in ("amount", "count"))
    assert amount.effect.wasserstein_sd is not None
    assert amount.usual.wasserstein_sd is not None
    assert amount.effect.wasserstein_sd == pytest.approx(0.5, abs=0.1)
    assert amount.effect.wasserstein_sd > amount.usual.wasserstein_sd
    assert count.effect.share_moved < count.usual.share_moved
    assert amount.mean_reference == pytest.approx(50, abs=1)
    assert amount.mean == pytest.approx(55, abs=1)


def test_one_current_window_is_judged_by_its_own_p(compare: Compare) -> None:
    day = table(50, seed=1, days=1)
    assert compare(table(), day, timestamp="at", window="1d").method == "one window"
    changed = compare(table(), day.with_columns(pl.lit("new").alias("plan")), timestamp="at", window="1d")
    assert (changed.method, changed.drift) == ("one window", True)


def test_days_that_differ_are_no_drift_by_windows_and_drift_by_rows(compare: Compare) -> None:
    """The whole point: rows of a day are alike, so that tests of rows see drift where there is none."""

    def days(seed: int) -> pl.DataFrame:
        random = np.random.default_rng(seed)
        level = np.repeat(random.normal(0, 1, 60), 50)
        times = EPOCH + np.repeat(np.arange(60), 50) * DAY
        return pl.DataFrame({"x": level + random.normal(0, 1, ROWS), "at": pl.Series(times).cast(pl.Datetime("us"))})

    verdicts = [compare(days(seed), days(seed + 100), timestamp="at", tests=["ks"]) for seed in range(8)]
    assert sum(found.drift for found in verdicts) <= 1
    assert sum(found.tests[0].alarm for found in verdicts) >= 4


def test_the_level_is_the_limit(compare: Compare) -> None:
    for options, shift in (({}, 2.0), ({"timestamp": "at"}, 4.0)):
        current = table(seed=1).with_columns(pl.col("amount") + shift)
        p = compare(table(), current, **options).p
        assert 1e-9 < p < 0.9
        assert compare(table(), current, level=p * 1.01, **options).drift
        assert not compare(table(), current, level=p * 0.99, **options).drift


def test_two_samples_show_a_small_shift_and_no_smaller_one_than_counts(compare: Compare) -> None:
    """A quarter of a standard deviation in 3,000 rows; five hundredths in 100,000."""
    found = compare(table(), table(seed=1).with_columns(pl.col("amount") + 2.5))
    assert found.method == "permutation"
    assert [column.name for column in found.drifted] == ["amount"]
    many = [table(100_000, seed=seed).select("amount") for seed in (0, 1)]
    assert not compare(many[0], many[1].with_columns(pl.col("amount") + 0.5)).drift


def test_blocks_that_resemble_their_neighbours_are_kept_together() -> None:
    def blocks(seed: int, rho: float) -> list[dict[str, ColumnProfile]]:
        random = np.random.default_rng(seed)
        level = random.normal(size=120)
        for place in range(1, 120):
            level[place] = rho * level[place - 1] + (1 - rho**2) ** 0.5 * level[place]
        return [{"x": profile(random.normal(mean, 1, 50), bins)} for mean in level]

    bins = NumericBins.from_reference(np.random.default_rng(9).normal(0, 1.4, 5_000))
    apart, alike = (
        [block_test((b := blocks(seed, rho))[:60], b[60:], {"x": bins}, seed=0) for seed in range(40)]
        for rho in (0.0, 0.7)
    )
    assert np.mean([found.kept_together for found in apart]) < 1.5
    assert np.mean([found.kept_together for found in alike]) > 2.5
    assert np.mean([found.p < 0.05 for found in apart]) <= 0.15
    assert np.mean([found.p < 0.05 for found in alike]) <= 0.25


def test_the_same_tables_give_the_same_result(compare: Compare) -> None:
    assert compare(table(), table(seed=1)) == compare(table(), table(seed=1))


# --- odd tables


def test_a_reference_of_few_rows_is_refused(compare: Compare) -> None:
    with pytest.raises(DataError, match="has 1 row; a reference needs 30 or more"):
        compare(table(1), table())


@pytest.mark.parametrize("options", [{}, {"timestamp": "at"}])
def test_a_table_without_rows_is_refused(compare: Compare, options: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"current\.parquet: has no rows"):
        compare(table(), table().head(0), **options)
    with pytest.raises(DataError, match=r"reference\.parquet"):
        compare(table().head(0), table(), **options)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("options", [{}, {"timestamp": "at", "window": "1d"}])
def test_few_current_rows_are_judged_and_it_is_said(compare: Compare, rows: int, options: dict[str, str]) -> None:
    found = compare(table(), table(rows, seed=1), **options)
    assert not found.drift
    assert found.method == "one window"
    assert any("only large changes show" in note for note in found.notes)
    if rows > 1:
        assert compare(table(), table(rows, seed=1).with_columns(pl.col("amount") * 100), **options).drift


def test_constant_and_empty_columns_are_compared(compare: Compare) -> None:
    flat = table(seed=1).with_columns(pl.lit(1.0).alias("amount"), pl.lit("free").alias("plan"))
    void = table(seed=1).with_columns(pl.lit(None, pl.Float64).alias("amount"), pl.lit(None).alias("plan"))
    for odd in (flat, void):
        assert {c.name for c in compare(table(), odd).drifted} == {"amount", "plan"}
        assert {c.name for c in compare(odd, table()).drifted} == {"amount", "plan"}
        assert not compare(odd, odd).drift
    assert next(c for c in compare(table(), void).columns if c.name == "amount").missing == 1


@pytest.mark.parametrize("categories", [105, 100_000])
def test_many_categories_are_no_drift_by_themselves(compare: Compare, categories: int) -> None:
    def codes(seed: int) -> pl.DataFrame:
        random = np.random.default_rng(seed)
        return table(seed=seed).with_columns(
            pl.Series("plan", random.integers(0, categories, ROWS).astype(str)),
        )

    assert not compare(codes(0), codes(1)).drift
    often = codes(0)["plan"].value_counts(sort=True)["plan"][0]
    assert compare(codes(0), codes(1).with_columns(pl.lit(often).alias("plan"))).drifted[0].name == "plan"


def test_infinite_values_are_said(compare: Compare) -> None:
    some = table(seed=1).with_columns(
        pl.when(pl.int_range(pl.len()) % 50 == 0).then(float("-inf")).otherwise(pl.col("amount")).alias("amount")
    )
    found = compare(table(), some)
    assert [c.name for c in found.drifted] == ["amount"]
    assert "'amount' is infinite in 60 rows of the current table and in 0 rows of the reference" in found.notes
    assert not compare(some, some).drift
    never = compare(table().with_columns(pl.lit(float("inf")).alias("amount")), table(seed=1))
    assert any("in 3,000 rows of the reference" in note for note in never.notes)


def test_nested_columns_are_taken_apart(compare: Compare) -> None:
    def nested(seed: int, extra: int = 0) -> pl.DataFrame:
        frame = table(seed=seed)
        sizes = np.random.default_rng(seed).integers(1, 5, ROWS) + extra
        return frame.select(
            pl.struct("amount", pl.struct("plan").alias("deep")).alias("s"),
            pl.Series("tags", [["t"] * int(size) for size in sizes]),
            pl.lit(b"abc").alias("raw"),
            pl.Series("boxed", np.zeros((ROWS, 2)), dtype=pl.Array(pl.Float64, 2)),
        )

    found = compare(nested(0), nested(1))
    assert sorted(c.name for c in found.columns) == ["raw (bytes)", "s.amount", "s.deep.plan", "tags (length)"]
    assert list(found.left_out) == ["boxed"]
    assert not found.drift
    assert [c.name for c in compare(nested(0), nested(1, extra=3)).drifted] == ["tags (length)"]
    only = compare(nested(0), nested(1), columns=["s"])
    assert sorted(c.name for c in only.columns) == ["s.amount", "s.deep.plan"]


def test_schemas_that_differ_are_told(compare: Compare) -> None:
    other = (
        table(seed=1)
        .drop("amount")
        .with_columns(pl.lit(3).alias("plan"), pl.col("price").cast(pl.Float64), pl.lit(1).alias("extra"))
    )
    found = compare(table(), other)
    assert [(c.column, c.change, c.breaking) for c in found.schema] == [
        ("amount", "missing", True),
        ("plan", "type", True),
        ("price", "type", False),
        ("extra", "new", False),
    ]
    assert found.drift
    assert found.reason.startswith("column 'amount' (float64) is missing; column 'plan' was text and is int32")


def test_a_new_column_or_a_wider_number_alone_is_no_drift(compare: Compare) -> None:
    other = table(seed=1).with_columns(pl.lit(1).alias("extra"), pl.col("count").cast(pl.Float64))
    found = compare(table(), other)
    assert len(found.schema) == 2
    assert not found.drift


def test_counters_and_clocks_are_left_out_unless_they_are_named(compare: Compare) -> None:
    before = table().with_columns(pl.int_range(pl.len()).alias("id"))
    now = table(seed=1).with_columns((pl.int_range(pl.len()) + ROWS).alias("id"))
    found = compare(before, now)
    assert "clocks and counters" in found.left_out["id"]
    assert not found.drift
    assert [column.name for column in compare(before, now, columns=["id"]).columns] == ["id"]


def test_numbers_can_be_codes(compare: Compare) -> None:
    found = compare(table(), table(seed=1), categories=["count"])
    assert next(c for c in found.columns if c.name == "count").kind == "category"


# --- times


def test_the_order_of_rows_does_not_matter_with_times(compare: Compare) -> None:
    before, now = table(), table(seed=1)
    a = compare(before, now, timestamp="at")
    b = compare(before.sort("at"), now.sort("at"), timestamp="at")
    assert a.p == b.p
    assert [window.p for window in a.windows] == [window.p for window in b.windows]


def test_times_of_several_zones_and_units_fall_into_the_same_windows(compare: Compare) -> None:
    now = table(seed=1)
    ours = compare(table(), now, timestamp="at").windows
    for dtype in (pl.Datetime("ns", "America/New_York"), pl.Datetime("ms", "UTC")):
        other = now.with_columns(pl.col("at").cast(dtype))
        assert [w.rows for w in compare(table(), other, timestamp="at").windows] == [w.rows for w in ours]
    naive = compare(table(), now.with_columns(pl.col("at").dt.replace_time_zone(None)), timestamp="at")
    assert [w.rows for w in naive.windows] == [w.rows for w in ours]
    assert any("without a zone" in note for note in naive.notes)


def test_times_may_be_text(compare: Compare) -> None:
    text = [frame.with_columns(pl.col("at").dt.to_string("iso:strict")) for frame in (table(), table(seed=1))]
    assert not compare(*text, timestamp="at").drift


def test_rows_without_a_time_are_left_out_and_told(compare: Compare) -> None:
    some = table(seed=1).with_columns(pl.when(pl.int_range(pl.len()) > 9).then(pl.col("at")).alias("at"))
    found = compare(table(), some, timestamp="at")
    assert found.current.rows_outside == 10
    assert any("10 rows without a time left out" in note for note in found.notes)
    with pytest.raises(DataError, match="no row has a time in column 'at'"):
        compare(table(), some.with_columns(pl.lit(None, pl.Datetime("us")).alias("at")), timestamp="at")


def test_the_window_is_chosen_by_the_span_of_the_reference(compare: Compare) -> None:
    assert compare(table(), table(), timestamp="at").window == "1d"
    assert compare(table(days=20), table(days=20), timestamp="at").window == "6h"
    assert compare(table(days=2), table(days=2), timestamp="at").window == "1h"


def test_few_reference_windows_are_told(compare: Compare) -> None:
    found = compare(table(), table(seed=1), timestamp="at", window="6d")
    assert any("only 10 reference windows" in note for note in found.notes)
    with pytest.raises(DataError, match="windows of 60d give 2 windows, expected 30 or more"):
        compare(table(), table(seed=1), timestamp="at", window="60d")


# --- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["amuont"]}, "no column 'amuont'. Did you mean 'amount'?"),
        ({"categories": ["cuont"]}, "no column 'cuont'. Did you mean 'count'?"),
        ({"timestamp": "att"}, "no column 'att'. Did you mean 'at'?"),
        ({"tests": ["kss"]}, "there is no test 'kss'. Did you mean 'ks'?"),
        ({"window": "1d"}, "--window 1d: without --timestamp a window is a number of rows"),
        ({"window": "10", "timestamp": "at"}, "expected a duration such as 1h or 1d"),
        ({"window": "1x", "timestamp": "at"}, "'x' is no unit"),
        ({"level": 2.0}, "--level is 2.0, expected more than 0 and less than 1"),
    ],
)
def test_wrong_options_are_refused_with_the_nearest_name(
    compare: Compare, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        compare(table(), table(), **options)
    assert message in str(refused.value)


@pytest.mark.parametrize(("column", "message"), [("plan", "is not a time"), ("amount", "is not a timestamp")])
def test_a_column_that_is_no_time_is_refused(compare: Compare, column: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"reference\.parquet: column '{column}': row 1: .* {message}"):
        compare(table(), table(), timestamp=column)


# --- usual tests


def test_usual_tests_run_beside_and_change_nothing(compare: Compare) -> None:
    current = table(seed=1).with_columns(pl.col("amount") + 5)
    plain = compare(table(), current)
    found = compare(table(), current, tests=["ks", "chi2", "psi", "js", "wasserstein"])
    assert (found.p, found.reason, found.columns) == (plain.p, plain.reason, plain.columns)
    alarms = {(each.test, each.column) for each in found.tests if each.alarm}
    assert {("ks", "amount"), ("js", "amount"), ("wasserstein", "amount")} <= alarms
    assert {each.column for each in found.tests if each.test == "chi2"} == {"plan", "paid"}


def test_stream_detectors_come_with_an_extra(compare: Compare) -> None:
    pytest.importorskip("river")
    current = table(seed=1).with_columns(pl.col("amount") + 50, pl.lit(True).alias("paid"))
    found = compare(table(), current, tests=["adwin", "page-hinkley", "ddm"], columns=["amount", "paid"])
    assert {(each.test, each.column) for each in found.tests} == {
        ("adwin", "amount"),
        ("page-hinkley", "amount"),
        ("adwin", "paid"),
        ("page-hinkley", "paid"),
        ("ddm", "paid"),
    }
    assert next(each.alarm for each in found.tests if (each.test, each.column) == ("adwin", "amount"))
