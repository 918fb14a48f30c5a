"""Which columns, features and entity keys are personal data."""

from __future__ import annotations

from typing import Any

import trimtab as tt
from trimtab.definitions.collection import collect
from trimtab.definitions.personal_columns import mask_number, mask_segment, personal_columns

PEOPLE = tt.FileSource("people", "people.parquet", timestamp="at", pii=["email", "pay"])
ORDERS = tt.FileSource("orders", "orders.parquet", timestamp="at")
SAME_ROWS = tt.FileSource("again", "people.parquet", timestamp="at")


def personal(**found: Any) -> set[str]:
    return set(personal_columns(collect(found)))


def test_features_that_show_values_of_a_personal_column_are_personal_and_counts_are_not() -> None:
    shown = [*tt.last("pay"), *tt.first("pay"), *tt.mean("pay", "7d"), *tt.quantile("pay", 0.5, "7d")]
    more = [*tt.min("pay", "7d"), *tt.max("pay", "7d"), *tt.sum("pay", "7d"), *tt.last("size")]
    counted = [*tt.count("7d"), *tt.count("1d", where="pay > 3"), *tt.distinct("pay", "7d")]
    ratio = tt.ratio(tt.sum("pay", "1d"), tt.count("1d"), name="per_row")
    view = tt.FeatureView("who", tt.Entity("team"), PEOPLE, [shown, more, counted, ratio])
    assert personal(view=view) == {
        "email", "pay", "who__pay", "who__pay_first", "who__pay_mean_7d", "who__pay_p50_7d", "who__pay_min_7d",
        "who__pay_max_7d", "who__pay_sum_7d", "who__per_row",
    }  # fmt: skip


def test_views_over_views_and_transforms_carry_it_on() -> None:
    first = tt.FeatureView("who", tt.Entity("team"), PEOPLE, [tt.mean("pay", "7d"), tt.count("7d")])
    over = tt.FeatureView("all", tt.Entity("site"), first, [tt.max("pay_mean_7d", "7d"), tt.max("count_7d", "7d")])

    @tt.on_demand(inputs=["all__pay_mean_7d_max_7d"])
    def rounded(pay: Any) -> Any:
        return pay.round()

    @tt.on_demand(inputs=["all__count_7d_max_7d"])
    def busy(count: Any) -> Any:
        return count > 3

    found = personal(over=over, rounded=rounded, busy=busy)
    assert found == {"email", "pay", "who__pay_mean_7d", "all__pay_mean_7d_max_7d", "rounded"}


def test_an_entity_key_is_personal_where_another_source_says_so_and_other_columns_of_the_name_are_not() -> None:
    person = tt.Entity("person", keys=["email"])
    view = tt.FeatureView("buys", person, ORDERS, [tt.last("email"), tt.last("pay")])
    again = tt.FeatureView("again", tt.Entity("team"), SAME_ROWS, [tt.last("pay")])
    assert personal(people=PEOPLE, view=view, again=again) == {"email", "pay", "buys__email", "again__pay"}


def test_groups_of_a_personal_column_stay_apart() -> None:
    assert [mask_number("pay", place, name, {"pay"}) for place, name in enumerate("ab")] == ["*** 1", "*** 2"]
    assert mask_number("size", 0, "a", {"pay"}) == "a"


def test_a_segment_keeps_its_column() -> None:
    assert mask_segment("carrier=3", {"carrier"}) == "carrier=***"
    assert mask_segment("all", {"all"}) == "all"
    assert mask_segment("carrier=3", {"pay"}) == "carrier=3"
