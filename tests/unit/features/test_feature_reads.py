"""Reads of features by name give what a model gets."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import trimtab as tt
from trimtab.clock import to_micros
from trimtab.definitions.collection import collect
from trimtab.errors import DataError
from trimtab.features.feature_reads import FeatureReads
from trimtab.features.materialization import materialize
from trimtab.features.online_plan import OnlinePlan
from trimtab.stores.online.lmdb import LmdbOnline

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

paid = tt.FileSource("paid", "paid.parquet", timestamp="at", known_at="known")
card = tt.Entity("card")
route = tt.Entity("route", keys=["shop", "till"])
spent = tt.FeatureView(
    "spent", card, paid, [tt.count("1d"), tt.mean("amount", "1d"), tt.last("place", "at"), tt.since_last()]
)
tills = tt.FeatureView("tills", route, paid, [tt.sum("amount", "7d")])


@tt.on_demand(inputs=["amount", "spent__amount_mean_1d"], outputs=["ratio"])
def beside(amount, usual):  # type: ignore[no-untyped-def]
    return {"ratio": amount / usual}


@tt.on_demand(inputs=["now", "spent__at", "spent__place"], outputs=["hours", "words"])
def waited(now, paid_at, place):  # type: ignore[no-untyped-def]
    hours = (now.astype("datetime64[us]") - paid_at) / np.timedelta64(1, "h")
    return {"hours": hours, "words": np.array([0 if text is None else len(text.split()) for text in place])}


service = tt.FeatureService("checkout", features=[spent[["amount_mean_1d"]], beside])
DEFINITIONS = collect({name: value for name, value in globals().items() if name not in ("card",)})


@pytest.fixture
def reads(tmp_path: Path) -> FeatureReads:
    rows = pl.DataFrame(
        {
            "card": ["a", "a", "b"],
            "shop": ["x", "x", "y"],
            "till": [1, 2, 1],
            "amount": [10.0, 20.0, None],
            "place": ["north", "south", None],
            "at": [START, START + HOUR, START + 2 * HOUR],
            "known": [START, START + HOUR, START + 2 * HOUR],
        }
    )
    online = LmdbOnline(tmp_path / "online")
    for view in (spent, tills):
        materialize(view, rows, online, until=to_micros(START + 3 * HOUR))
    return FeatureReads(lambda: DEFINITIONS, online)


AT = to_micros(START + 2 * HOUR)


def test_values_statuses_and_names_are_those_of_feast(reads: FeatureReads) -> None:
    asked = reads.named(["spent:count_1d", "spent:amount_mean_1d", "spent:place", "spent:at", "spent:since_last"])
    found = {c.name: c for c in reads.read(asked, {"card": ["a", "b", "z"]}, at=AT, full_names=False)}
    assert list(found) == ["card", "count_1d", "amount_mean_1d", "place", "at", "since_last"]
    assert found["count_1d"].values == [2.0, 1.0, 0.0]
    assert found["amount_mean_1d"].values == [15.0, None, None]
    assert found["amount_mean_1d"].statuses == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]
    assert found["place"].values == ["south", None, None]
    assert found["at"].values == ["2026-03-01T01:00:00+00:00", "2026-03-01T02:00:00+00:00", None]
    assert found["since_last"].values == [3600.0, 0.0, None]
    assert found["count_1d"].times == [START + 2 * HOUR] * 3


def test_several_keys_and_full_names(reads: FeatureReads) -> None:
    found = reads.read(reads.named(["tills__amount_sum_7d"]), {"shop": ["x"], "till": [2]}, at=AT, full_names=True)
    assert [(c.name, c.values) for c in found] == [("shop", ["x"]), ("till", [2]), ("tills__amount_sum_7d", [20.0])]


def test_a_service_computes_its_transforms(reads: FeatureReads) -> None:
    columns: dict[str, list[Any]] = {"card": ["a", "b"], "amount": [30.0, 30.0]}
    found = {c.name: c for c in reads.read(reads.features_of("checkout"), columns, at=AT, full_names=True)}
    assert found["beside__ratio"].values == [2.0, None]
    assert found["spent__amount_mean_1d"].values == [15.0, None]


def test_transforms_take_times_and_texts_of_views(reads: FeatureReads) -> None:
    columns: dict[str, list[Any]] = {"card": ["a", "b"], "now": [AT, AT]}
    found = {c.name: c.values for c in reads.read(reads.named(["waited"]), columns, at=AT, full_names=True)}
    assert (found["waited__hours"], found["waited__words"]) == ([1.0, 0.0], [1, 0])
    alone = reads.read(reads.named(["waited"]), {"card": ["b"], "now": [AT]}, at=AT, full_names=True)
    assert [c.values for c in alone[-2:]] == [[0.0], [0]]


def test_dates_and_times_near_1970_are_what_they_are(tmp_path: Path) -> None:
    view = tt.FeatureView("v", card, paid, [tt.last("day", "due")])
    rows = pl.DataFrame(
        {
            "card": ["a", "b"],
            "day": [date(1970, 1, 1), None],
            "due": [datetime(1970, 1, 1, 0, 0, 5), None],
            "at": [START, START],
            "known": [START, START],
        }
    )
    online = LmdbOnline(tmp_path / "online")
    materialize(view, rows, online, until=AT)
    reads = FeatureReads(lambda: collect({"v": view}), online)
    found = reads.read(reads.named(["v:day", "v:due"]), {"card": ["a", "b"]}, at=AT, full_names=False)
    assert [c.values for c in found[1:]] == [["1970-01-01", None], ["1970-01-01T00:00:05+00:00", None]]


def test_a_model_gets_the_same(reads: FeatureReads) -> None:
    model = tt.Model("m", task="binary", examples=paid, label="place", features=[spent[["count_1d", "since_last"]]])
    vectors = OnlinePlan(model, reads._online).vectors({"card": ["a", "z"]}, [AT, AT])
    asked = reads.named(["spent:count_1d", "spent:since_last"])
    found = reads.read(asked, {"card": ["a", "z"]}, at=AT, full_names=False)[1:]
    own = np.array([[np.nan if v is None else v for v in column.values] for column in found]).T
    np.testing.assert_array_equal(vectors, own.astype(np.float32))


@pytest.mark.parametrize(
    ("names", "columns", "message"),
    [
        (["spend:count_1d"], {"card": ["a"]}, "no feature 'spend:count_1d'. Did you mean 'spent:count_1d'"),
        (["spent:count_2d"], {"card": ["a"]}, "view 'spent' has no feature 'count_2d'. Did you mean 'count_1d'"),
        (["spent:count_1d"], {"cart": ["a"]}, r"entities has no 'card'.*Did you mean 'cart'"),
        (["spent:count_1d"], {"card": [1.5]}, "column 'card', row 0: 1.5; expected text"),
        (["spent:count_1d"], {"card": [1]}, "column 'card', row 0: 1; expected text"),
        (["tills:amount_sum_7d"], {"shop": ["x"], "till": ["1"]}, "column 'till', row 0: '1'; expected a whole number"),
        (["spent:count_1d"], {"card": []}, "entities is empty"),
        (["tills:amount_sum_7d"], {"shop": ["x", "y"], "till": [1]}, "'till' has 1 values; expected 2"),
        (["beside"], {"card": ["a"]}, "entities has no 'amount', an input of 'beside'"),
        (["spent:count_1d", "spent__count_1d"], {"card": ["a"]}, "two columns of the answer have the name 'count_1d'"),
        (["spent:place"], {"card": ["a"], "place": ["x"]}, "name 'place'; ask for full_feature_names"),
    ],
)
def test_what_is_wrong_is_named(
    reads: FeatureReads, names: list[str], columns: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        reads.read(reads.named(names), columns, at=AT, full_names=False)


def test_a_view_without_values_says_what_to_do(tmp_path: Path) -> None:
    empty = FeatureReads(lambda: DEFINITIONS, LmdbOnline(tmp_path / "none"))
    with pytest.raises(DataError, match=r"view 'spent' has no values yet.*trimtab features"):
        empty.read(empty.named(["spent:count_1d"]), {"card": ["a"]}, at=AT, full_names=False)
    with pytest.raises(DataError, match=r"no feature service 'check'. Did you mean 'checkout'"):
        empty.features_of("check")
