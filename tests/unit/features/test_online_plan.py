"""A request gets the very numbers that the training frame has for the same row and moment."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trimtab as tt
from trimtab.clock import from_micros, to_micros
from trimtab.definitions.aggregations import count, last, max_, mean, sum_
from trimtab.definitions.models import Model
from trimtab.definitions.on_demand import OnDemand
from trimtab.definitions.sources import FileSource
from trimtab.definitions.views import FeatureView
from trimtab.errors import DataError, DefinitionError
from trimtab.features.materialization import materialize
from trimtab.features.online_plan import OnlinePlan
from trimtab.features.training_frames import request_types, training_frame
from trimtab.features.value_types import Kind
from trimtab.stores.online.lmdb import LmdbOnline

MINUTE = 60_000_000
ORDERS = FileSource("orders", "orders.parquet", timestamp="ordered_at", known_at="delivered_at")
WEATHER = FileSource("weather", "weather.parquet", timestamp="seen_at")
SHOP = tt.Entity("shop")
LANE = tt.Entity("lane", keys=["shop", "zone"])
SPEED = FeatureView(
    "speed", SHOP, ORDERS, [count("10m"), mean("minutes", "10m", "1h"), max_("minutes", "1h")], every="5m"
)
TRAFFIC = FeatureView("traffic", LANE, ORDERS, [sum_("minutes", "30m"), last("minutes")], window_by="known_at")
SKY = FeatureView("sky", SHOP, WEATHER, last("rain", "wind"), ttl="20m")


@tt.on_demand(inputs=["ordered_at", "note", "traffic__minutes"], outputs=["hour", "length", "slow"])
def details(ordered_at: Any, note: Any, minutes: Any) -> Any:
    hours = (ordered_at.astype("int64") // (60 * MINUTE)) % 24
    lengths = np.array([-1 if text is None else len(text) for text in note])
    return {"slow": minutes > 3, "hour": np.where(np.isnat(ordered_at), np.nan, hours), "length": lengths}


@tt.on_demand(inputs=["price"])
def log_price(price: Any) -> Any:
    return np.log(price)


MODEL = Model(
    "delay",
    "regression",
    ORDERS,
    "minutes",
    ["price", SPEED, details, SKY, "rush", TRAFFIC, log_price, "parcels"],
)

ORDER_SCHEMA: dict[str, Any] = {
    "ordered_at": pl.Datetime("us", "UTC"),
    "delivered_at": pl.Datetime("us", "UTC"),
    "shop": pl.String,
    "zone": pl.Int64,
    "minutes": pl.Float64,
    "price": pl.Float64,
    "rush": pl.Boolean,
    "parcels": pl.Int64,
    "note": pl.String,
}
WEATHER_SCHEMA: dict[str, Any] = {
    "seen_at": pl.Datetime("us", "UTC"),
    "shop": pl.String,
    "rain": pl.Float64,
    "wind": pl.Int64,
}

moments = st.integers(-10 * MINUTE, 90 * MINUTE).map(from_micros)
shops = st.sampled_from(["a", "b", "1", "", None])
numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5).map(float))
orders = st.fixed_dictionaries(
    {
        "ordered_at": moments,
        "delivered_at": st.one_of(st.none(), moments, moments),
        "shop": shops,
        "zone": st.sampled_from([1, 2, -1, None]),
        "minutes": numbers,
        "price": numbers,
        "rush": st.one_of(st.none(), st.booleans()),
        "parcels": st.one_of(st.none(), st.integers(-(2**62), 2**62), st.integers(0, 9)),
        "note": st.one_of(st.none(), st.text(max_size=3)),
    }
)
sights = st.fixed_dictionaries({"seen_at": moments, "shop": shops, "rain": numbers, "wind": st.integers(0, 99)})

Scan = Callable[[str], pl.LazyFrame]


def scan_of(order_rows: Sequence[dict[str, Any]], weather_rows: Sequence[dict[str, Any]]) -> Scan:
    tables = {
        "orders": pl.DataFrame(list(order_rows), schema=ORDER_SCHEMA, orient="row"),
        "weather": pl.DataFrame(list(weather_rows), schema=WEATHER_SCHEMA, orient="row"),
    }
    return lambda name: tables[name].lazy()


def as_json(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return request columns as they come out of a JSON body."""
    columns = {name: [row[name] for row in rows] for name in MODEL.request_columns}
    decoded: dict[str, list[Any]] = json.loads(json.dumps(columns, default=datetime.isoformat))
    return decoded


@given(order_rows=st.lists(orders, max_size=12), weather_rows=st.lists(sights, max_size=8), typed=st.booleans())
def test_requests_equal_the_training_frame_bit_for_bit(
    order_rows: list[dict[str, Any]], weather_rows: list[dict[str, Any]], typed: bool
) -> None:
    scan = scan_of(order_rows, weather_rows)
    as_of = from_micros(100 * MINUTE)
    frame = training_frame(MODEL, scan, as_of=as_of)
    expected = np.array(frame.select(MODEL.feature_names).rows(), dtype=np.float32).reshape(
        -1, len(MODEL.feature_names)
    )
    rows = sorted(order_rows, key=lambda row: to_micros(row["ordered_at"]))
    at = [to_micros(row["ordered_at"]) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        online = LmdbOnline(Path(folder))
        for view in MODEL.views:
            materialize(view, scan(view.source.name), online, until=to_micros(as_of))
        types: dict[str, Kind] = dict(request_types(MODEL, scan))
        if not typed:
            # without types every value speaks for itself; only a column without any text cannot be told from numbers
            types = {"note": "text"}
        plan = OnlinePlan(MODEL, online, types)

        together = plan.vectors(as_json(rows), at)
        alone = [plan.vectors(as_json([row]), [moment])[0] for row, moment in zip(rows, at, strict=True)]
        online.close()

    assert together.dtype == np.float32
    assert together.shape == expected.shape
    np.testing.assert_array_equal(canonical(together).view(np.uint32), canonical(expected).view(np.uint32))
    for vector, wanted in zip(alone, canonical(expected), strict=True):
        np.testing.assert_array_equal(canonical(vector).view(np.uint32), wanted.view(np.uint32))


def canonical(vectors: Any) -> Any:
    """Every NaN is one and the same missing value; 0.0 and -0.0 are two."""
    return np.where(np.isnan(vectors), np.float32(np.nan), vectors)


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[OnlinePlan]:
    online = LmdbOnline(tmp_path)
    scan = scan_of([], [])
    yield OnlinePlan(MODEL, online, request_types(MODEL, scan))
    online.close()


REQUEST: dict[str, list[Any]] = {
    "price": [2.5],
    "shop": ["a"],
    "ordered_at": ["2013-01-01T05:00:00Z"],
    "note": ["hi"],
    "rush": [True],
    "zone": [1],
    "parcels": [3],
}


def test_an_empty_store_gives_counts_of_zero_and_nothing_else(plan: OnlinePlan) -> None:
    vector = dict(zip(MODEL.feature_names, plan.vectors(REQUEST, [0])[0].tolist(), strict=True))
    assert vector["speed__count_10m"] == 0.0
    assert (vector["price"], vector["rush"], vector["parcels"]) == (2.5, 1.0, 3.0)
    assert (vector["details__hour"], vector["details__length"]) == (5.0, 2.0)
    assert np.isnan([vector["speed__minutes_mean_10m"], vector["sky__rain"], vector["traffic__minutes"]]).all()


@pytest.mark.parametrize(
    "moment",
    [
        "2013-01-01T05:00:00Z",
        "2013-01-01T05:00:00",
        "2013-01-01 00:00:00-05:00",
        to_micros(datetime(2013, 1, 1, 5, tzinfo=UTC)),
        datetime(2013, 1, 1, 5, tzinfo=UTC),
        datetime(2013, 1, 1, 5),
        np.datetime64("2013-01-01T05:00:00", "ns"),
    ],
)
def test_times_come_in_many_forms(plan: OnlinePlan, moment: Any) -> None:
    vector = plan.vectors({**REQUEST, "ordered_at": [moment]}, [0])[0]
    assert vector[MODEL.feature_names.index("details__hour")] == 5.0


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("price", "2.5", "column 'price', row 0: '2.5'; expected a number"),
        ("price", [1], r"column 'price', row 0: \[1\]; expected a number"),
        ("price", 10**400, "expected a number that fits into float64"),
        ("shop", 1, "column 'shop', row 0: 1; expected text"),
        ("zone", "1", "column 'zone', row 0: '1'; expected a whole number"),
        ("zone", 1.5, "column 'zone', row 0: 1.5; expected a whole number, which a float is up to"),
        ("zone", True, "column 'zone', row 0: true; expected a whole number"),
        (
            "ordered_at",
            "yesterday",
            "column 'ordered_at', row 0: 'yesterday' is not a timestamp; expected ISO 8601 text",
        ),
        ("ordered_at", 1.5, "column 'ordered_at', row 0: 1.5 is not a timestamp; expected"),
        ("ordered_at", True, "column 'ordered_at', row 0: true is not a timestamp; expected"),
        ("note", 7, "column 'note', row 0: 7; expected text"),
    ],
)
def test_a_wrong_value_is_shown_with_what_was_expected(plan: OnlinePlan, column: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan.vectors({**REQUEST, column: [value]}, [0])


def test_a_missing_column_is_named_with_the_nearest(plan: OnlinePlan) -> None:
    columns = {"prize": [1.0], **{name: values for name, values in REQUEST.items() if name != "price"}}
    with pytest.raises(DataError, match=r"the request has no column 'price'. Did you mean 'prize'\?"):
        plan.vectors(columns, [0])


def test_columns_of_different_lengths_are_refused(plan: OnlinePlan) -> None:
    with pytest.raises(DataError, match="column 'shop' has 2 values; expected 1, one a row"):
        plan.vectors({**REQUEST, "shop": ["a", "b"]}, [0])


def test_no_rows_give_no_vectors(plan: OnlinePlan) -> None:
    assert plan.vectors({name: [] for name in REQUEST}, []).shape == (0, len(MODEL.feature_names))


def test_numpy_columns_are_taken_too(plan: OnlinePlan) -> None:
    arrays: dict[str, Any] = {**REQUEST, "price": np.array([2.5]), "zone": np.array([1]), "rush": np.array([True])}
    np.testing.assert_array_equal(plan.vectors(arrays, [0]), plan.vectors(REQUEST, [0]))


def test_whole_floats_find_the_integer_key(tmp_path: Path) -> None:
    online = LmdbOnline(tmp_path)
    row = dict.fromkeys(ORDER_SCHEMA) | {"shop": "a", "zone": 7, "minutes": 4.0}
    row |= {"ordered_at": from_micros(0), "delivered_at": from_micros(0)}
    scan = scan_of([row], [])
    materialize(TRAFFIC, scan("orders"), online, until=MINUTE)
    for types in ({}, request_types(MODEL, scan)):
        plan = OnlinePlan(MODEL, online, types)
        vectors = plan.vectors({name: values * 2 for name, values in REQUEST.items()} | {"zone": [7, 7.0]}, [1, 1])
        assert vectors[:, MODEL.feature_names.index("traffic__minutes")].tolist() == [4.0, 4.0]
    online.close()


def test_rows_of_one_moment_and_of_many_read_the_same(tmp_path: Path) -> None:
    online = LmdbOnline(tmp_path)
    rows = [
        dict.fromkeys(ORDER_SCHEMA)
        | {"shop": shop, "zone": 1, "minutes": float(n), "ordered_at": from_micros(n), "delivered_at": from_micros(n)}
        for n, shop in enumerate("abab")
    ]
    materialize(TRAFFIC, scan_of(rows, [])("orders"), online, until=MINUTE)
    plan = OnlinePlan(MODEL, online)
    request = {name: values * 4 for name, values in REQUEST.items()} | {"shop": ["a", "b", "c", None]}
    place = MODEL.feature_names.index("traffic__minutes")
    assert plan.vectors(request, [9] * 4)[:, place].tolist()[:2] == [2.0, 3.0]
    assert plan.vectors(request, [9, 1, 9, 9])[:, place].tolist()[:2] == [2.0, 1.0]
    assert np.isnan(plan.vectors(request, [9] * 4)[2:, place]).all()
    online.close()


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    online = LmdbOnline(tmp_path)
    with pytest.raises(DefinitionError, match=r"request column 'price' has kind 'numbr'. Did you mean 'number'\?"):
        OnlinePlan(MODEL, online, {"price": "numbr"})  # type: ignore[dict-item]  # the point of the test
    with pytest.raises(DefinitionError, match="entity key 'shop' is a number; expected text, an integer or a boolean"):
        OnlinePlan(MODEL, online, {"shop": "number"})
    online.close()


def test_a_model_without_views_needs_no_store(tmp_path: Path) -> None:
    online = LmdbOnline(tmp_path)
    model = Model("plain", "regression", ORDERS, "minutes", ["price", log_price])
    assert OnlinePlan(model, online).vectors({"price": [1.0, None]}, [0, 0]).tolist()[0] == [1.0, 0.0]
    online.close()


def test_a_transform_that_raises_is_named(tmp_path: Path) -> None:
    def broken(price: Any) -> Any:
        raise KeyError("no such thing")

    online = LmdbOnline(tmp_path)
    model = Model("m", "regression", ORDERS, "minutes", [OnDemand("broken", ("price",), ("broken",), broken, "")])
    with pytest.raises(DefinitionError, match="on_demand 'broken' failed: KeyError: 'no such thing'"):
        OnlinePlan(model, online).vectors({"price": [1.0]}, [0])
    online.close()
