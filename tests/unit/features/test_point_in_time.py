"""Features at a moment equal the oracle's, bit for bit; nothing of the future enters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

import trimtab as tt
from trimtab.definitions import Aggregation, FeatureView
from trimtab.features import view_values
from trimtab.features.columns import NEVER

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


def view_of(features: list[Aggregation], *, ttl: str | None = None, every: str | None = None) -> FeatureView:
    source = tt.FileSource("events", "events.parquet", timestamp="ts", known_at="known")
    return FeatureView("v", tt.Entity("key"), source, features, ttl=ttl, every=every)


@settings(max_examples=150, deadline=None)
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
