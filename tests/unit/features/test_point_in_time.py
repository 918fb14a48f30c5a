"""Features at a moment equal the oracle's, bit for bit; nothing of the future enters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimtab as tt
from trimtab.definitions.aggregations import Aggregation
from trimtab.definitions.views import FeatureView, WindowBy
from trimtab.errors import DataError, DefinitionError
from trimtab.features.point_in_time import view_values
from trimtab.features.table_columns import NEVER

Oracle = Callable[..., "list[float | None]"]
Bits = Callable[[Sequence["float | None"]], "list[str | None]"]

UTC_US = pl.Datetime("us", "UTC")
KINDS = ["count", "sum", "mean", "min", "max", "last"]


def rows_frame(rows: Sequence[dict[str, Any]], key: Any = pl.String) -> pl.DataFrame:
    schema = {"key": key, "ts": pl.Int64, "known": pl.Int64, "x": pl.Float64, "y": pl.Int64, "b": pl.Boolean}
    frame = pl.DataFrame(list(rows), schema=schema, orient="row")
    return frame.with_columns(pl.col("ts", "known").cast(UTC_US))


def numbers() -> st.SearchStrategy[float | None]:
    special = [None, 0.0, -0.0, float("nan"), float("inf"), -float("inf"), 5e-324, 1.7e308, -1.7e308, 0.1, 1e16, -1e16]
    return st.one_of(st.sampled_from(special), st.floats(width=64), st.integers(-4, 4).map(float))


def rows_of(
    entities: st.SearchStrategy[Any], *, late: bool, moments: int = 40
) -> st.SearchStrategy[list[dict[str, Any]]]:
    moment = st.integers(-5, moments)
    known = st.one_of(st.none(), st.integers(-10, moments + 20)) if late else st.just(-100)
    row = st.fixed_dictionaries(
        {
            "key": entities,
            "ts": st.one_of(moment, moment, st.none()) if late else moment,
            "known": known,
            "x": numbers(),
            "y": st.one_of(st.none(), st.integers(-(2**62), 2**62), st.integers(-3, 3)),
            "b": st.one_of(st.none(), st.booleans()),
        }
    )
    return st.lists(row, max_size=25)


def aggregations() -> st.SearchStrategy[list[Aggregation]]:
    def make(kind: str, column: str, window: int | None) -> Aggregation:
        return Aggregation(kind, None if kind == "count" else column, window)  # type: ignore[arg-type]

    one = st.builds(make, st.sampled_from(KINDS), st.sampled_from("xyb"), st.sampled_from([None, 1, 3, 10, 30]))
    return st.lists(one, min_size=1, max_size=6, unique_by=lambda a: a.name)


def view_of(
    features: list[Aggregation],
    *,
    ttl: str | None = None,
    every: str | None = None,
    window_by: WindowBy = "timestamp",
) -> FeatureView:
    source = tt.FileSource("events", "events.parquet", timestamp="ts", known_at="known")
    return FeatureView("v", tt.Entity("key"), source, features, ttl=ttl, every=every, window_by=window_by)


@given(data=st.data(), late=st.booleans(), integers=st.booleans())
def test_every_value_equals_the_oracle_bit_for_bit(
    data: st.DataObject, late: bool, integers: bool, oracle: Oracle, bits: Bits
) -> None:
    entities = st.sampled_from([1, 7, 2**40, None] if integers else ["a", "b", "", None])
    rows = data.draw(rows_of(entities, late=late))
    view = view_of(
        data.draw(aggregations()),
        ttl=data.draw(st.sampled_from([None, "5us", "20us"])),
        every=data.draw(st.sampled_from([None, "4us", "7us"])),
        window_by=data.draw(st.sampled_from(["timestamp", "known_at"])),
    )
    asked = data.draw(st.lists(st.tuples(entities, st.one_of(st.integers(-10, 80), st.none())), max_size=20))
    frame = rows_frame(rows, pl.Int64 if integers else pl.String)
    keys = pl.DataFrame({"key": [key for key, _ in asked]}, schema={"key": frame.schema["key"]})
    at = np.array([NEVER if moment is None else moment for _, moment in asked], dtype=np.int64)

    found = view_values(view, frame, keys, at)

    assert found.columns == list(view.feature_names)
    assert set(found.dtypes) == {pl.Float64}
    for (key, moment), values in zip(asked, found.rows(), strict=True):
        assert bits(values) == bits(oracle(view, rows, {"key": key}, moment))


@settings(max_examples=25)
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_long_timelines_of_several_keys_equal_the_oracle(
    data: st.DataObject, seed: int, oracle: Oracle, bits: Bits
) -> None:
    # given rows of one entity that fill many blocks, steps and limbs, known in order or not
    rng = np.random.default_rng(seed)
    size = 120
    ordered = data.draw(st.booleans())
    times = np.sort(rng.integers(0, 200, size))
    known = times + (2 if ordered else rng.integers(-5, 60, size))
    values = data.draw(
        st.sampled_from([rng.normal(size=size), rng.integers(-9, 9, size) * 1.0, 10.0 ** rng.integers(-40, 40, size)])
    )
    columns = {"key": rng.choice(["a", "b"], size), "ts": times, "known": known, "x": values, "y": times}
    shuffled = pl.DataFrame(columns).sample(fraction=1.0, shuffle=not ordered, seed=seed)
    rows = [{**row, "b": None} for row in shuffled.rows(named=True)]
    windows = [7, 50, 10_000]
    features = [Aggregation(kind, "x", w) for kind in ("sum", "mean", "min", "max", "last") for w in windows]
    window_by: WindowBy = data.draw(st.sampled_from(["timestamp", "known_at"]))
    view = view_of([*features, Aggregation("count", None, 50)], window_by=window_by)
    keys, at = rng.choice(["a", "b", "c"], 60), rng.integers(-5, 300, 60)

    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans()):  # every path for every size: small parts, staircases instead of mixed rows
            patch.setattr("trimtab.features.aggregates.PART", 10)
            patch.setattr("trimtab.features.extremes.MIXED_ROWS", 0)
        found = view_values(view, rows_frame(rows), pl.DataFrame({"key": keys}), at)

    for key, moment, values_found in zip(keys, at, found.rows(), strict=True):
        assert bits(values_found) == bits(oracle(view, rows, {"key": key}, int(moment)))


DAY = datetime(2013, 1, 1)
EVENTS = tt.FileSource("events", "events.parquet", timestamp="t")
TEMPERATURE = FeatureView("weather", tt.Entity("airport"), EVENTS, [Aggregation("last", "celsius", None)])
ROWS = pl.DataFrame({"airport": ["JFK", "LGA", "JFK"], "t": [DAY, DAY, DAY + timedelta(hours=2)], "celsius": [1, 2, 3]})
LABELS = pl.DataFrame(
    {
        "airport": ["LGA", "JFK", None, "JFK", "XXX"],
        "asked": [DAY + timedelta(hours=h) if h is not None else None for h in (5, 1, 5, None, 5)],
        "y": [1, 2, 3, 4, 5],
    }
)


@pytest.mark.parametrize("lazy", [True, False])
def test_a_join_keeps_every_label_row_in_its_order(lazy: bool) -> None:
    joined = tt.point_in_time_join(LABELS, [(TEMPERATURE, ROWS.lazy() if lazy else ROWS)], at="asked")
    assert joined.drop("weather__celsius").equals(LABELS)
    assert joined["weather__celsius"].to_list() == [2.0, 1.0, None, None, None]


def test_only_columns_that_are_needed_are_read() -> None:
    # given a column that cannot be computed
    broken = ROWS.lazy().with_columns(broken=pl.col("airport").cast(pl.Int64))
    assert tt.point_in_time_join(LABELS, [(TEMPERATURE, broken)], at="asked").height == LABELS.height


def test_many_columns_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.features.view_rows.CHUNK_BYTES", 8 * ROWS.height * 2)
    names = [f"c{n}" for n in range(5)]
    wide = ROWS.with_columns(pl.col("celsius").alias(name) * n for n, name in enumerate(names))
    view = FeatureView("w", tt.Entity("airport"), EVENTS, [Aggregation("last", name, None) for name in names])
    joined = tt.point_in_time_join(LABELS, [(view, wide.lazy())], at="asked")
    assert joined.row(0)[3:] == (0.0, 2.0, 4.0, 6.0, 8.0)


def test_integer_keys_far_apart_and_beyond_any_table_are_found() -> None:
    keys = [2**63 - 1, -(2**63), 0, None]
    rows = pl.DataFrame({"airport": keys, "t": [DAY] * 4, "celsius": [1, 2, 3, 4]})
    labels = pl.DataFrame({"airport": [*keys, 5], "asked": [DAY] * 5})
    joined = tt.point_in_time_join(labels, [(TEMPERATURE, rows)], at="asked")
    assert joined["weather__celsius"].to_list() == [1.0, 2.0, 3.0, None, None]


def test_a_column_that_is_missing_or_taken_is_named() -> None:
    with pytest.raises(DataError, match=r"the labels have no column 'askd'. Did you mean 'asked'\?"):
        tt.point_in_time_join(LABELS, [(TEMPERATURE, ROWS)], at="askd")
    with pytest.raises(DataError, match="the labels have no column 'airport'"):
        tt.point_in_time_join(LABELS.drop("airport"), [(TEMPERATURE, ROWS)], at="asked")
    with pytest.raises(DataError, match="column 'weather__celsius' exists already"):
        tt.point_in_time_join(LABELS, [(TEMPERATURE, ROWS), (TEMPERATURE, ROWS)], at="asked")
    with pytest.raises(DefinitionError, match=r"column 'celsius', which source 'events' does not have"):
        tt.point_in_time_join(LABELS, [(TEMPERATURE, ROWS.drop("celsius"))], at="asked")
    text, lists = (ROWS.clear().cast({"celsius": type_}) for type_ in (pl.String, pl.List(pl.Int64)))
    mean_of_text = replace(TEMPERATURE, features=[tt.mean("celsius", "1d")])
    with pytest.raises(DefinitionError, match="column 'celsius' is String; expected numbers or booleans"):
        tt.point_in_time_join(LABELS, [(mean_of_text, text)], at="asked")
    with pytest.raises(
        DefinitionError, match=r"column 'celsius' is List.*; expected numbers, booleans, text or timest"
    ):
        tt.point_in_time_join(LABELS, [(TEMPERATURE, lists)], at="asked")


def test_the_latest_text_date_and_time_are_joined_in_their_types() -> None:
    rows = pl.DataFrame(
        {
            "airport": ["a", "a", "b"],
            "t": [DAY, DAY + timedelta(hours=1), DAY],
            "gate": ["A1", None, "B1"],
            "day": [date(2013, 1, 1), date(2013, 1, 2), None],
            "left": [DAY, DAY + timedelta(microseconds=1), DAY],
        }
    )
    view = FeatureView(
        "v", tt.Entity("airport"), tt.FileSource("e", "e.parquet", timestamp="t"), tt.last("gate", "day", "left")
    )
    labels = pl.DataFrame({"airport": ["a", "a", "b", "c"], "asked": [DAY, DAY + timedelta(hours=2), DAY, DAY]})
    joined = tt.point_in_time_join(labels, [(view, rows)], at="asked")
    assert joined["v__gate"].to_list() == ["A1", None, "B1", None]
    assert joined["v__day"].to_list() == [date(2013, 1, 1), date(2013, 1, 2), None, None]
    times = joined["v__left"].dt.replace_time_zone(None)
    assert times.to_list() == [DAY, DAY + timedelta(microseconds=1), DAY, None]


def test_a_table_that_grows_while_it_is_read_is_noticed() -> None:
    sizes = iter([2, 3])
    growing = ROWS.lazy().map_batches(lambda frame: frame.head(next(sizes)), streamable=False)
    with pytest.raises(DataError, match="source 'events' had 2 rows and now has 3; read one version of it"):
        tt.point_in_time_join(LABELS, [(TEMPERATURE, growing)], at="asked")
