"""The training frame: which examples, which labels, which columns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import trimtab as tt
from trimtab.definitions.aggregations import count, mean
from trimtab.definitions.models import Model
from trimtab.definitions.on_demand import OnDemand
from trimtab.definitions.sources import FileSource
from trimtab.definitions.views import FeatureView
from trimtab.errors import DefinitionError
from trimtab.features.training_frames import request_types, training_frame

DAY = datetime(2013, 1, 1, tzinfo=UTC)
FLIGHTS = FileSource("flights", "flights.parquet", timestamp="leaves_at", known_at="lands_at")
RECORD = FeatureView("record", tt.Entity("carrier"), FLIGHTS, [count("1d"), mean("late", "1d")])


def hours(*moments: float | None) -> list[datetime | None]:
    return [None if hour is None else DAY + timedelta(hours=hour) for hour in moments]


TABLE = pl.DataFrame(
    {
        "leaves_at": hours(3, 1, 2, 1, None, 9),
        "lands_at": hours(5, 4, None, 2, 3, 11),
        "carrier": ["AA", "AA", "AA", "BB", "AA", "AA"],
        "late": [True, False, True, None, True, True],
        "distance": [300, 2**53 + 1, None, 100, 1, 1],
        "gate": ["A1", "A2", "A3", None, "A5", "A6"],
        "label": [1, 2, 3, 4, 5, 6],
    },
    schema_overrides={"leaves_at": pl.Datetime("us", "UTC"), "lands_at": pl.Datetime("us", "UTC")},
)


def scan(name: str) -> pl.LazyFrame:
    assert name == "flights"
    return TABLE.lazy()


MICROS = pl.Datetime("us", "UTC")


def model(*features: Any, label: str = "late") -> Model:
    return Model("delay", "binary", FLIGHTS, label, list(features))


def test_examples_in_order_with_outcomes_that_were_known_at_as_of() -> None:
    frame = training_frame(model(RECORD, "distance"), scan, as_of=DAY + timedelta(hours=4.5), keep=["gate", "distance"])

    views = ["record__count_1d", "record__late_mean_1d"]
    assert frame.columns == ["timestamp", "label", "label_known_at", *views, "distance", "gate"]
    assert frame.dtypes == [MICROS, pl.Float64, MICROS, *[pl.Float32] * 3, pl.String]
    # rows of one moment keep the order of the table; the row without a moment and those from as_of on are left out
    assert frame["gate"].to_list() == ["A2", None, "A3", "A1"]
    assert frame["timestamp"].to_list() == hours(1, 1, 2, 3)
    # A1 landed after as_of, A3 never did, BB's outcome is null
    assert frame["label"].to_list() == [0.0, None, None, None]
    assert frame["label_known_at"].is_not_null().to_list() == [True, False, False, False]
    # no flight of AA had landed before 4 o'clock
    assert frame["record__count_1d"].to_list() == [0.0, 0.0, 0.0, 0.0]
    assert frame["distance"].to_list() == [float(np.float32(2**53 + 1)), 100.0, None, 300.0]


def test_start_leaves_out_earlier_examples_but_not_their_rows_in_views() -> None:
    frame = training_frame(model(RECORD), scan, as_of=DAY + timedelta(days=1), start=DAY + timedelta(hours=9))
    assert frame.drop("label_known_at").rows() == [(hours(9)[0], 1.0, 2.0, 0.5)]


def test_times_without_zone_are_utc() -> None:
    table = TABLE.with_columns(pl.col("leaves_at", "lands_at").dt.replace_time_zone(None))
    as_of = DAY + timedelta(days=1)
    assert training_frame(model(RECORD), lambda _: table.lazy(), as_of=as_of).equals(
        training_frame(model(RECORD), scan, as_of=as_of.replace(tzinfo=None))
    )


def test_nothing_to_learn_from_is_an_empty_frame() -> None:
    frame = training_frame(model(RECORD, log), scan, as_of=DAY)
    assert frame.height == 0
    assert frame.columns == ["timestamp", "label", "label_known_at", "record__count_1d", "record__late_mean_1d", "log"]


@tt.on_demand(inputs=["distance"])
def log(distance: Any) -> Any:
    return np.log(distance)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (model("distence"), r"column 'distence', which source 'flights' does not have. Did you mean 'distance'\?"),
        (model("distance", label="gate"), "column 'gate' has 4 texts as labels .*For more of them: task='multiclass'"),
        (
            model(FeatureView("v", tt.Entity("carrier"), FLIGHTS, mean("gate", "1d"))),
            "FeatureView 'v': column 'gate' is String; expected numbers",
        ),
        (
            model(FeatureView("v", tt.Entity("distance"), FLIGHTS, mean("gat", "1d"))),
            r"FeatureView 'v' needs column 'gat', which source 'flights' does not have. Did you mean 'gate'\?",
        ),
        (
            Model("m", "binary", FileSource("flights", "f.csv", timestamp="gate"), "late", ["distance"]),
            "column 'gate' is String; expected timestamps",
        ),
        (model("label"), "column 'label' has a name that the training frame needs; rename it"),
    ],
)
def test_a_wrong_definition_is_explained(wrong: Model, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        training_frame(wrong, scan, as_of=DAY + timedelta(days=1))


def test_an_unknown_kept_column_is_explained() -> None:
    with pytest.raises(DefinitionError, match="column 'gates'"):
        training_frame(model("distance"), scan, as_of=DAY + timedelta(days=1), keep=["gates"])


def test_keys_of_another_type_than_the_views_are_refused() -> None:
    weather = FileSource("weather", "weather.parquet", timestamp="t")
    view = FeatureView("w", tt.Entity("carrier"), weather, count("1d"))
    table = pl.DataFrame({"t": hours(1), "carrier": [7]})
    scans = {"flights": TABLE.lazy(), "weather": table.lazy()}
    with pytest.raises(DefinitionError, match=r"key 'carrier' is Int64 in the view's source but String where it is"):
        training_frame(model(view), scans.__getitem__, as_of=DAY + timedelta(days=1))


def transform(function: Callable[..., Any], *outputs: str) -> OnDemand:
    return OnDemand("t", ("distance",), outputs or ("t",), function, "")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (transform(lambda x: x[:1]), r"on_demand 't', output 't' has shape \(1,\); expected \(5,\)"),
        (transform(lambda x: 1.0), r"output 't' has shape \(\)"),
        (transform(lambda x: [[1], [1, 2]]), "on_demand 't', output 't' is not an array: setting an array element"),
        (transform(lambda x: x.astype(str)), "feature 't' is String, and most of its texts read like numbers"),
        (transform(lambda x: x.astype("m8[s]")), "output 't' is timedelta64.*; expected numbers, booleans, texts or"),
        (transform(lambda x: x, "a", "b"), "returned ndarray; expected a mapping with the outputs"),
        (transform(lambda x: {"aaa": x}, "aab"), r"did not return output 'aab'. Did you mean 'aaa'\?"),
        (transform(lambda x: {"a": x, "b": x}, "a"), "returned 'b', which is none of its outputs. Valid: a."),
        (transform(lambda x: x / np.nanmax(x)), "output 't': row . gives .* it may not depend on other rows"),
        (transform(lambda x: x.sort()), "on_demand 't' failed: ValueError: .*read-only"),
    ],
)
def test_a_wrong_transform_is_explained(wrong: OnDemand, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        training_frame(model(wrong), scan, as_of=DAY + timedelta(days=1))


def test_request_types_are_those_of_the_examples() -> None:
    delay = model(RECORD, "distance", log, OnDemand("u", ("gate", "leaves_at", "late"), ("u",), len, ""), label="label")
    assert request_types(delay, scan) == {
        "carrier": "text",
        "distance": "integer",
        "gate": "text",
        "leaves_at": "time",
        "late": "boolean",
    }
