"""A fallback rule gets the arrays that a transform gets, gives one score a row, and is tried before it is packaged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from trimtab.definitions.models import Model
from trimtab.definitions.sources import FileSource
from trimtab.errors import DataError, DefinitionError
from trimtab.features.online_plan import OnlinePlan
from trimtab.features.training_frames import training_frame
from trimtab.features.transforms import RulePlan
from trimtab.features.value_types import Kind
from trimtab.stores.online.lmdb import LmdbOnline

DAY = datetime(2013, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
FLIGHTS = FileSource("flights", "flights.parquet", timestamp="leaves_at", known_at="lands_at")
KINDS: dict[str, Kind] = {"distance": "number", "gate": "text", "leaves_at": "time"}
TABLE = pl.DataFrame(
    {
        "leaves_at": [DAY + timedelta(hours=hour) for hour in (1, 2, 3)],
        "lands_at": [DAY + timedelta(hours=hour) for hour in (4, 5, 6)],
        "late": [True, False, True],
        "distance": [300, None, 100],
        "gate": ["A1", None, "B3"],
    }
)

Function = Callable[..., Any]


def ruled(function: Function, *inputs: str, task: Any = "binary") -> Model:
    model = Model("delay", task, FLIGHTS, "late", ["distance"])

    def usual(distance: Any) -> Any:
        return function(distance)

    if inputs == ():
        model.fallback(inputs=["distance"])(usual)
    else:
        model.features = ["distance", "gate"]
        model.fallback(inputs=inputs)(function)
    return model


def plan_of(model: Model) -> RulePlan:
    assert model.rule is not None
    return RulePlan(model, model.rule, KINDS)


def test_a_rule_gets_the_arrays_that_a_transform_gets() -> None:
    seen: dict[str, Any] = {}

    def usual(distance: Any, gate: Any, leaves_at: Any) -> Any:
        seen.update(distance=distance, gate=gate, leaves_at=leaves_at)
        return np.where(distance > 1000, 0.3, 0.2)

    plan = plan_of(ruled(usual, "distance", "gate", "leaves_at"))
    columns: dict[str, Any] = {
        "distance": [2000, None],
        "gate": ["A1", None],
        "leaves_at": ["2013-01-01T01:00:00Z", None],
        "more": [1],
    }
    assert plan.scores(columns, [0, 0]) == [0.3, 0.2]
    assert [seen[name].dtype for name in seen] == [np.float64, object, np.dtype("datetime64[us]")]
    assert np.isnan(seen["distance"][1])
    assert np.isnat(seen["leaves_at"][1])
    assert seen["gate"].tolist() == ["A1", None]


def test_without_a_timestamp_it_is_the_moment_of_the_row() -> None:
    def usual(leaves_at: Any) -> Any:
        return leaves_at.astype("int64") / HOUR_US / 10

    plan = plan_of(ruled(usual, "leaves_at"))
    assert plan.scores({}, [HOUR_US, 2 * HOUR_US]) == [0.1, 0.2]
    assert plan.scores({"leaves_at": ["1970-01-01T03:00:00Z"]}, [0]) == [0.3]


def test_booleans_are_certain_scores() -> None:
    assert plan_of(ruled(lambda distance: distance > 1)).scores({"distance": [2, 0]}, [0, 0]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "the request has no column 'distance'"),
        ({"distanse": [1.0]}, "the request has no column 'distance'"),
        ({"distance": ["far"]}, "column 'distance', row 0: 'far'; expected a number"),
    ],
)
def test_what_a_request_lacks_is_told(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan_of(ruled(lambda distance: distance)).scores(columns, [0])


@pytest.mark.parametrize(
    ("function", "task", "message"),
    [
        (lambda distance: 1 // 0, "binary", "fallback 'usual' failed: ZeroDivisionError"),
        (lambda distance: 0.2, "binary", r"fallback 'usual', output 'usual' has shape \(\); expected \(2,\)"),
        (lambda distance: distance[:1], "binary", r"has shape \(1,\); expected \(2,\), one value a row"),
        (lambda distance: distance.astype(str), "binary", "expected numbers or booleans"),
        (lambda distance: None, "binary", "fallback 'usual', output 'usual' has shape"),
        (lambda distance: distance * np.nan, "binary", "fallback 'usual' gave nan; expected a probability from 0 to 1"),
        (lambda distance: distance + 0.5, "binary", "fallback 'usual' gave 1.5; expected a probability from 0 to 1"),
        (lambda distance: -distance, "binary", "fallback 'usual' gave -1; expected a probability from 0 to 1"),
        (lambda distance: distance / 0, "regression", "fallback 'usual' gave (inf|nan); expected a number"),
    ],
)
def test_a_rule_that_gives_no_scores_is_named(function: Function, task: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        plan_of(ruled(function, task=task)).scores({"distance": [0, 1]}, [0, 0])


def test_a_regression_may_be_any_number() -> None:
    assert plan_of(ruled(lambda distance: -7 * distance, task="regression")).scores({"distance": [3]}, [0]) == [-21.0]


def test_the_online_plan_knows_the_rule_of_its_model(tmp_path: Path) -> None:
    online = LmdbOnline(tmp_path)
    plan = OnlinePlan(ruled(lambda distance: distance / 10), online, {"distance": "number"})
    assert plan.rule is not None
    assert (plan.rule.name, plan.rule.scores({"distance": [3]}, [0])) == ("usual", [0.3])
    assert OnlinePlan(Model("delay", "binary", FLIGHTS, "late", ["distance"]), online).rule is None
    online.close()


# --- before it is packaged


def frame(model: Model) -> pl.DataFrame:
    return training_frame(model, lambda name: TABLE.lazy(), as_of=DAY + timedelta(days=1))


def test_a_rule_changes_nothing_of_the_training_set() -> None:
    plain = Model("delay", "binary", FLIGHTS, "late", ["distance"])
    assert frame(ruled(lambda distance: distance / 1000)).equals(frame(plain))


def test_examples_without_an_answer_are_forgiven() -> None:
    assert frame(ruled(lambda distance: np.where(distance > 200, 0.3, np.nan))).height == 3


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda distance: distance, "fallback 'usual' gave 300; expected a probability from 0 to 1"),
        (lambda distance: distance.missing, "fallback 'usual' failed: AttributeError"),
        (
            lambda distance: distance / np.nansum(distance),
            "fallback 'usual', output 'usual': row 0 gives 0.75 among 3 rows but 1.0 alone",
        ),
    ],
)
def test_a_rule_that_is_broken_is_refused_at_training(function: Function, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        frame(ruled(function))


def test_no_examples_try_no_rule() -> None:
    model = ruled(lambda distance: distance.missing)
    assert training_frame(model, lambda name: TABLE.lazy(), as_of=DAY).height == 0
