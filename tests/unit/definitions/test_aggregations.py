"""Kinds of features: names, filters, specs and hashes, and every way to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import trimtab as tt
from trimtab.clock import ManualClock
from trimtab.definitions import row_filter
from trimtab.definitions.collection import collect
from trimtab.errors import DefinitionError
from trimtab.features.view_versions import view_of, view_version

rows = tt.FileSource("payments", "payments.parquet", timestamp="paid_at", known_at="booked_at")
card = tt.Entity("card")
shop = tt.Entity("shop")


def view(*features: Any, **more: Any) -> tt.FeatureView:
    return tt.FeatureView(more.pop("name", "v"), card, more.pop("source", rows), list(features), **more)


EVERY_KIND = [
    *tt.count("1d", where="channel=='web'"),
    *tt.first("channel"),
    *tt.first("channel", window="3h"),
    *tt.distinct("shop", "7d"),
    *tt.quantile("amount", 0.999, "7d"),
    *tt.quantile("amount", 0.5, "7d", name="usual"),
    *tt.std("amount", "30d"),
    *tt.decayed_mean("amount", "7d"),
    *tt.decayed_sum("amount", "12h"),
    *tt.decayed_count("1h"),
    *tt.since_last(where="amount >= 100 and not refunded"),
    *tt.last("channel", where="channel is not None"),
    *tt.ratio(tt.sum("amount", "1d"), tt.sum("amount", "7d")),
    *tt.difference(tt.count("1h"), tt.since_last(), name="odd"),
]
NAMES = [
    "count_1d_where_channel_is_web",
    "channel_first",
    "channel_first_3h",
    "shop_distinct_7d",
    "amount_p99_9_7d",
    "usual",
    "amount_std_30d",
    "amount_decayed_mean_7d",
    "amount_decayed_sum_12h",
    "decayed_count_1h",
    "since_last_where_amount_ge_100_and_not_refunded",
    "channel_where_channel_is_not_None",
    "amount_sum_1d_over_amount_sum_7d",
    "odd",
]


def test_names_say_kind_column_length_and_filter() -> None:
    assert [each.name for each in EVERY_KIND] == NAMES


def test_a_view_of_every_kind_comes_back_from_its_record() -> None:
    inner = view(*EVERY_KIND, ttl="90d")
    outer = tt.FeatureView("outer", shop, inner, tt.mean("usual", "7d"))
    for each in (inner, outer):
        found = view_of(view_version(each, ManualClock()))
        assert (found.version_id, found.spec(), found.feature_names, found.over) == (
            each.version_id,
            each.spec(),
            each.feature_names,
            None if each.over is None else found.over,
        )


def test_hashes_of_older_views_stay_and_words_do_not_count() -> None:
    old = view(tt.count("1d"), tt.last("amount"))
    assert old.spec()["features"] == [["count", None, 86_400_000_000], ["last", "amount", None]]
    assert old.hash == "805fb09779d7"  # of the release before these kinds
    told = view(
        tt.count("1d"),
        tt.last("amount"),
        description="what cards pay",
        owner="payments",
        tags=["money"],
        deprecated="use w",
        descriptions={"amount": "of the last payment"},
    )
    assert told.version_id == old.version_id
    named = view(tt.count("1d", name="c"), tt.last("amount"))
    assert named.version_id != old.version_id


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("amount>100", "amount > 100"),
        ('channel  ==  "web"', "channel == 'web'"),
        ("(a == 1) and (b in ('x', 'y'))", "a == 1 and b in ('x', 'y')"),
        ("0 < a <= -2.5", "0 < a <= -2.5"),
        ("not flagged or b is None", "not flagged or b is None"),
    ],
)
def test_filters_have_one_spelling(text: str, spelled: str) -> None:
    assert row_filter.canonical("count", text) == spelled
    assert row_filter.canonical("count", spelled) == spelled
    assert tt.count("1d", where=text) == tt.count("1d", where=spelled)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("amount = 100", "write == for equal"),
        ("a == 1 AND b == 2", "in lower case"),
        ("a <> 1", "write != for unequal"),
        ("(a > 1) & (b > 2)", "write and, or, not"),
        ("a is null", "write 'is None'"),
        ("a == None", "write 'is None' or 'is not None'"),
        ("a is True", "`is` compares a column with None"),
        ("1 < 2", "'1 < 2' compares no column"),
        ("amount + 1 > 2", "'amount + 1' is neither a column nor a constant"),
        ("open('/etc/passwd')", "is no condition"),
        ("a.b > 1", "'a.b' is neither a column nor a constant"),
        ("a in b", "a list of constants must stand after `in`"),
        ("a in [1, 'x']", "a list of both texts and numbers"),
        ("a == true", "'true' is no column here"),
        ("", "where is ''"),
        (5, "where is 5"),
        ("a >", "it cannot be read"),
    ],
)
def test_a_wrong_filter_is_refused_with_what_is_right(text: Any, told: str) -> None:
    with pytest.raises(DefinitionError) as found:
        tt.count("1d", where=text)
    assert told in str(found.value)
    assert "expected such as" in str(found.value)


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: tt.quantile("x", 2, "1d"), "q is 2; expected a number from 0 to 1"),
    (lambda: tt.quantile("x", 0.5), r"quantile\('x', 0.5\) needs at least one window"),
    (lambda: tt.distinct("x"), r"distinct\('x'\) needs at least one window"),
    (lambda: tt.decayed_mean("x"), "decayed_mean needs at least one half-life"),
    (lambda: tt.decayed_count("1 day"), "'day' is no unit"),
    (lambda: tt.count("1d", "2d", name="n"), "name='n' is one name for 2 features"),
    (lambda: tt.count("1d", name="a__b"), "not valid"),
    (lambda: tt.ratio(tt.count("1d"), tt.count("1d", "2d")), "ratio of 1 and 2 features"),
    (lambda: tt.ratio(tt.count("1d"), "v__count_1d"), "two of one form"),
    (lambda: tt.ratio(tt.count("1d"), 5), "5 is no feature"),  # type: ignore[arg-type]  # what is refused
    (lambda: view(tt.count("1d"), description=5), "description is 5; expected text"),
    (lambda: view(tt.count("1d"), descriptions={"count": "x"}), "has no feature 'count'. Did you mean 'count_1d'"),
    (lambda: view(tt.count("1d"), tt.count("1d")), "remove one"),
    (lambda: view(tt.count("1d", where="a == 'x y'"), tt.count("1d", where="a == 'x_y'")), "give one another name"),
    (lambda: view(tt.count("1d"))["count"], "has no feature 'count'. Did you mean 'count_1d'"),
    (lambda: tt.FeatureService("s", features=[]), "FeatureService 's': features is"),
    (lambda: tt.FeatureService("s", features=[view(tt.count("1d")), "v__count_1d"]), "two features named"),
]


@pytest.mark.parametrize(("make", "told"), WRONG)
def test_what_is_wrong_is_named(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told.replace(".", r"\.") if "(" not in told else told):
        make()


def test_a_model_takes_services_and_some_features_of_views() -> None:
    spend = view(tt.count("1d"), tt.sum("amount", "1d"), name="spend")
    per_shop = tt.FeatureView("shops", shop, rows, tt.count("1d"))
    share = tt.ratio(spend["count_1d"], per_shop["shops__count_1d"], name="share")
    service = tt.FeatureService("fraud", features=[spend[["amount_sum_1d"]], per_shop, share, "amount"])
    model = tt.Model("m", task="binary", examples=rows, label="fraud", features=service)

    assert model.feature_names == ("spend__amount_sum_1d", "shops__count_1d", "share", "amount")
    assert (model.views, model.services) == ((spend, per_shop), (service,))
    assert model.request_columns == ("card", "shop", "amount")
    assert share(np.array([1.0, 1.0]), np.array([2.0, 0.0])).tolist()[0] == 0.5
    found = collect({"model": model})
    assert (list(found.services), list(found.views)) == (["fraud"], ["spend", "shops"])


def test_a_view_over_a_view_reads_its_source_and_has_a_version_of_its_own() -> None:
    spend = view(tt.mean("amount", "7d"), name="spend")
    usual = tt.FeatureView("shops", shop, spend, tt.mean("amount_mean_7d", "30d"))
    plain = tt.FeatureView("shops", shop, rows, tt.mean("amount_mean_7d", "30d"))
    assert (usual.source, usual.over) == (rows, spend)
    assert replace(usual, ttl="1d").over is spend
    assert usual.version_id != plain.version_id
    assert set(collect({"usual": usual}).views) == {"spend", "shops"}
