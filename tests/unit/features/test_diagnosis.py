"""Warnings about training frames: windows that are always empty, keys that never match, outcomes known at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

import trimtab as tt
from trimtab.definitions.models import Model
from trimtab.definitions.sources import FileSource
from trimtab.definitions.views import FeatureView, WindowBy
from trimtab.errors import DataError
from trimtab.features.diagnosis import diagnose
from trimtab.features.training_frames import training_frame

DAY = datetime(2013, 1, 1, tzinfo=UTC)
ORDERS = FileSource("orders", "orders.parquet", timestamp="at", known_at="known")
SENSORS = FileSource("sensors", "sensors.parquet", timestamp="seen", known_at="published")
SHOP = tt.Entity("shop")


def tables(
    *, label_known: timedelta = timedelta(hours=2), published: timedelta = timedelta(hours=1), shop: str = "a"
) -> dict[str, pl.DataFrame]:
    hours = [DAY + timedelta(hours=n) for n in range(200)]
    orders = {
        "at": hours,
        "known": [h + label_known for h in hours],
        "shop": "a",
        "late": [n % 3 == 0 for n in range(200)],
    }
    sensors = {"seen": hours, "published": [h + published for h in hours], "shop": shop, "heat": 1.0}
    return {"orders": pl.DataFrame(orders), "sensors": pl.DataFrame(sensors)}


def warnings_of(
    features: Sequence[Any], found: dict[str, pl.DataFrame], source: FileSource = ORDERS, **options: Any
) -> list[str]:
    model = Model("m", **{"task": "binary", "examples": source, "label": "late", "features": features, **options})
    scan = lambda name: found[name].lazy()  # noqa: E731  # a scan is one expression
    frame = training_frame(model, scan, as_of=DAY + timedelta(days=30))
    return list(diagnose(model, scan, frame))


def heat(window_by: WindowBy = "timestamp", **options: Any) -> FeatureView:
    return FeatureView(
        "heat", SHOP, SENSORS, [tt.count("1h"), tt.mean("heat", "1h", "6h")], window_by=window_by, **options
    )


def test_windows_that_end_before_their_rows_become_known_are_told_with_the_remedy() -> None:
    found = warnings_of([heat()], tables())
    assert [text.split(":")[0] for text in found] == [
        "feature 'heat__count_1h' is 0 in all of 200 training rows",
        "feature 'heat__heat_mean_1h' is null in 100.0% of 200 training rows",
    ]
    for text in found:
        assert (
            "rows of source 'sensors' become known 1h after their timestamp (median), when they have left a window"
            in text
        )
        assert text.endswith("write FeatureView('heat', ..., window_by='known_at')")


def test_windows_over_what_became_known_are_full() -> None:
    assert warnings_of([heat("known_at")], tables()) == []


def test_a_short_ttl_is_a_window_too() -> None:
    view = FeatureView("heat", SHOP, SENSORS, tt.last("heat"), ttl="30m")
    (text,) = warnings_of([view], tables())
    assert "feature 'heat__heat' is null in 100.0%" in text
    assert "a window of 30m" in text


def test_keys_that_never_match_are_told() -> None:
    (first, *_) = warnings_of([heat("known_at")], tables(shop="A"))
    assert first.endswith("no key of the examples (shop) is among the keys of source 'sensors'")


def test_columns_without_values_are_told_and_one_value_in_fifty_is_enough() -> None:
    found = tables()
    found["orders"] = found["orders"].with_columns(
        empty=pl.lit(None, pl.Float64), seldom=pl.when(pl.int_range(200) % 50 == 0).then(1.0)
    )
    assert warnings_of(["empty", "seldom"], found) == ["feature 'empty' is null in 100.0% of 200 training rows"]


def test_outcomes_known_at_the_request_are_told() -> None:
    found = tables(label_known=timedelta(0))
    found["orders"] = found["orders"].with_columns(x=1.0)
    (text,) = warnings_of(["x"], found)
    assert text.startswith(
        "source 'orders': 200 of 200 labelled rows (100.0%) are known ('known') at their timestamp ('at'): the outcome"
    )
    unnamed = replace(ORDERS, known_at=None)
    assert warnings_of(["x"], found, unnamed) == []  # the source never claimed to know


@pytest.mark.parametrize("name", ["orders", "again"])
def test_examples_in_their_own_features_are_refused(name: str) -> None:
    found = tables(label_known=timedelta(0))
    found["again"] = found["orders"]
    view = FeatureView("own", SHOP, replace(ORDERS, name=name), tt.mean("late", "1d"))
    with pytest.raises(DataError, match=r"view 'own' reads .* 200 of 200 labelled ones are known \('known'\) at"):
        warnings_of([view], found)
    found = {key: table.with_columns(known=pl.col("at") + timedelta(hours=1)) for key, table in found.items()
             if key != "sensors"}  # fmt: skip
    assert warnings_of([view], found) == []


def test_an_empty_frame_has_no_warnings() -> None:
    model = Model("m", "binary", ORDERS, "late", [heat()])
    scan = lambda name: tables()[name].lazy()  # noqa: E731  # a scan is one expression
    frame = training_frame(model, scan, as_of=DAY)
    assert diagnose(model, scan, frame) == ()


def test_whole_numbers_that_float32_rounds_are_told() -> None:
    orders = tables()["orders"].with_columns(ticket=pl.int_range(200) + 2**24, small=pl.int_range(200))
    found = warnings_of(["ticket", "small"], {**tables(), "orders": orders})
    assert [text.partition(",")[0] for text in found] == ["feature 'ticket' holds whole numbers beyond 2^24"]
    assert "Model(..., types={'ticket': 'category'})" in found[0]
    exact = {"ticket": "integer"}
    assert len(warnings_of(["ticket"], {**tables(), "orders": orders}, types=exact)) == 1, "a matrix is of float32"
    assert len(warnings_of(["ticket"], {**tables(), "orders": orders}, task="anomaly", label=None)) == 1
    assert warnings_of(["ticket"], {**tables(), "orders": orders}, types=exact, input="frame") == []


def test_times_that_float32_rounds_are_told() -> None:
    minutes = tables()["orders"].with_columns(
        asked=DAY + pl.duration(minutes=pl.int_range(200)), day=DAY + pl.duration(days=pl.int_range(200))
    )
    found = warnings_of(["asked", "day"], {**tables(), "orders": minutes})
    assert [text.partition(",")[0] for text in found] == ["feature 'asked' holds timestamps"]
    assert "rounded to 128 s" in found[0]
    assert warnings_of(["asked", "day"], {**tables(), "orders": minutes}, input="frame") == []


def test_deprecated_views_and_filters_that_no_row_fulfils_are_told() -> None:
    views = [
        FeatureView("old", SHOP, SENSORS, tt.last("heat"), deprecated="use heat"),
        FeatureView("hot", SHOP, SENSORS, tt.count("6h", where="heat > 90")),
    ]
    assert warnings_of(views, tables()) == [
        "view 'old' is deprecated: use heat",
        "feature 'hot__count_6h_where_heat_gt_90' is 0 in all of 200 training rows: no row of source 'sensors' fulfils "
        "where='heat > 90'",
    ]
