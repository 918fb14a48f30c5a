"""Every kind of feature: batch, online store and requests say what the definition says, and nothing of the future."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trimtab as tt
from trimtab.clock import from_micros, to_micros
from trimtab.definitions.aggregations import Aggregation
from trimtab.definitions.row_filter import canonical
from trimtab.definitions.views import FeatureView
from trimtab.errors import DefinitionError
from trimtab.features.corrections import replaced
from trimtab.features.materialization import materialize
from trimtab.features.online_plan import OnlinePlan
from trimtab.features.point_in_time import view_values
from trimtab.stores.online.lmdb import LmdbOnline

Row = dict[str, Any]
Oracle = Callable[..., "list[float | None]"]
Bits = Callable[[Sequence["float | None"]], "list[str | None]"]

SCHEMA = {
    "id": pl.Int64, "key": pl.String, "ts": pl.Int64, "known": pl.Int64, "x": pl.Float64, "y": pl.Int64,
    "s": pl.String, "b": pl.Boolean,
}  # fmt: skip
TOLERANCE = 1e-12
"""Of decayed sums, relative to the sum of absolute values."""
FILTERS = [
    "x > 0", "not x > 0", "s == 'a'", "s != 'a' and y >= 1", "s in ['a', 'b'] or b", "s not in ('a',)", "x is None",
    "x is not None", "0 <= y < 2", "not b", "x == y", "b == False", "y in [1, 2]", "not (s == 'a' or x < 0)",
]  # fmt: skip


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    table = pl.DataFrame(list(rows), schema=SCHEMA, orient="row")
    return table.with_columns(pl.col("ts", "known").cast(pl.Datetime("us", "UTC")))


SPECIAL = [None, 0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7e308, -1.7e308, 0.1, 1e16]


def history(random: Random, *, corrections: bool = False, tame: bool = False) -> list[Row]:
    """Return random rows: some late, some never known, with equal times and values."""

    def known(at: int) -> int | None:
        late = [at, at + random.randint(0, 6), at + random.randint(0, 40), -100, random.randint(-10, 60)]
        return random.choice([*late, *late, None])

    def number() -> float | None:
        small = [random.randint(-3, 3) / 1, random.randint(-8, 8) / 4]
        return random.choice([*small, None, math.nan] if tame else [*small, *small, random.gauss(0, 50), *SPECIAL])

    return [
        {
            "id": random.randint(0, 12) if corrections else None,
            "key": random.choice(["k", "k", "l", None]),
            "ts": at,
            "known": known(at),
            "x": number(),
            "y": random.choice([None, -1, 0, 1, 2]),
            "s": random.choice(["a", "b", "", None]),
            "b": random.choice([True, False, None]),
        }
        for at in (random.randint(-5, 40) for _ in range(random.randint(0, 30)))
    ]


KINDS: list[Any] = [
    "count", "sum", "mean", "min", "max", "last", "first", "distinct", "quantile", "std", "decayed_mean", "decayed_sum",
    "decayed_count", "since_last",
]  # fmt: skip


def leaf(random: Random, kind: Any) -> Aggregation:
    free = kind.startswith("decayed") or kind == "since_last"
    window = None if free else random.choice([None, 1, 4, 11, 30])
    columns = ["s", "x", "y", "b"] if kind == "distinct" else ["x", "x", "y", "b"]
    column = None if kind in ("count", "since_last", "decayed_count") else random.choice(columns)
    arg: Any = random.choice([1, 3, 10]) if kind.startswith("decayed") else None
    arg = random.choice([0.0, 0.25, 0.5, 0.9, 1.0]) if kind == "quantile" else arg
    where = random.choice([None, None, *FILTERS])
    return Aggregation(kind, column, window, where and canonical("v", where), arg)


def features(random: Random) -> list[Aggregation]:
    """Return half of the kinds, ratios and differences of others, and one of those that came before."""
    made = [leaf(random, kind) for kind in random.sample(KINDS, 7)]
    kind: Any = random.choice(["ratio", "difference"])
    pair = leaf(random, random.choice(KINDS)), leaf(random, random.choice(KINDS))
    made.append(Aggregation(kind, None, None, of=pair))
    made.append(Aggregation("difference", None, None, of=(made[-1], made[0])))
    random.shuffle(made)
    return [Aggregation(a.kind, a.column, a.window, a.where, a.arg, f"f{n}", a.of) for n, a in enumerate(made)]


def options(random: Random) -> dict[str, Any]:
    return {
        "ttl": random.choice([None, None, "5us", "20us"]),
        "every": random.choice([None, None, "4us", "7us"]),
        "window_by": random.choice(["timestamp", "known_at"]),
    }


def view_of(aggregations: list[Aggregation], *, key: Sequence[str] = (), **options: Any) -> FeatureView:
    source = tt.FileSource("events", "events.parquet", timestamp="ts", known_at="known", key=key)
    return FeatureView("v", tt.Entity("key"), source, aggregations, **options)


def has_decay(aggregation: Aggregation) -> bool:
    return aggregation.kind.startswith("decayed") or any(has_decay(each) for each in aggregation.of)


def same(view: FeatureView, found: Sequence[Any], expected: Sequence[Any], bits: Bits, largest: float) -> bool:
    """Compare bit for bit; what has to do with decay to TOLERANCE of the largest sum."""
    for aggregation, one, other in zip(view.aggregations, found, expected, strict=True):
        if not has_decay(aggregation):
            if bits([one]) != bits([other]):
                return False
        elif (one is None) != (other is None) or (
            one is not None and one != other and not abs(one - other) <= TOLERANCE * largest * max(1.0, abs(other))
        ):
            return False
    return True


def read(view: FeatureView, online: LmdbOnline, asked: Sequence[tuple[str | None, int]]) -> list[list[float | None]]:
    """Return the features that a request of each (key, time) gets, before they become float32."""
    examples = tt.FileSource("asked", "asked.parquet", timestamp="at", known_at="told")
    plan = OnlinePlan(tt.Model("m", task="regression", examples=examples, label="y", features=[view]), online)
    columns = {"key": [key for key, _ in ASKED]}
    with np.errstate(all="ignore"):
        table = plan._view_table(columns, [at for _, at in asked])
        vectors = plan.vectors(columns, [at for _, at in asked])
    with np.errstate(over="ignore"):
        assert np.array_equal(vectors, table.astype(np.float32), equal_nan=True)
    return [[None if math.isnan(value) else float(value) for value in row] for row in table]


RANDOM = st.randoms(use_true_random=True)
ASKED = [(key, at) for key in ("k", "l", None) for at in range(-6, 75, 4)]


@settings(max_examples=40, deadline=None)
@given(random=RANDOM)
def test_batch_timelines_and_requests_say_what_the_oracle_says(random: Random, oracle: Oracle, bits: Bits) -> None:
    aggregations, untils = features(random), [random.randint(-5, 60) for _ in range(2)]
    decays = any(has_decay(each) for each in aggregations)
    rows = history(random, corrections=random.random() < 0.5, tame=decays)
    view = view_of(aggregations, key=["id"], **options(random))
    with tempfile.TemporaryDirectory() as folder:
        online = LmdbOnline(Path(folder))
        for until in sorted(untils):
            table = frame(rows).lazy()
            gone = replaced(table, view.source, as_of=from_micros(until))
            materialize(view, table, online, until=until)
            # given the rows that stand and are known by the run
            standing = [row for n, row in enumerate(rows) if n not in set(gone.tolist())]
            known = [row for row in standing if row["known"] is not None and max(row["ts"], row["known"]) <= until]
            largest = 1.0 + sum(abs(v) for r in known for v in (r["x"], r["y"]) if v is not None and math.isfinite(v))
            # when batch, the store and the oracle are asked
            keys = pl.DataFrame({"key": [key for key, _ in ASKED]}, schema={"key": pl.String})
            at = np.array([moment for _, moment in ASKED], dtype=np.int64)
            batch = view_values(view, frame(known), keys, at).rows()
            served = read(view, online, ASKED)
            # then all say the same
            for (key, moment), offline, online_values in zip(ASKED, batch, served, strict=True):
                assert bits(offline) == bits(online_values), (key, moment)
                assert same(view, offline, oracle(view, known, {"key": key}, moment), bits, largest), (key, moment)
        online.close()


@settings(max_examples=80, deadline=None)
@given(random=RANDOM)
def test_rows_that_become_known_later_change_nothing(random: Random, bits: Bits) -> None:
    rows, moment, view = history(random), random.randint(-5, 60), view_of(features(random), **options(random))
    keys, at = pl.DataFrame({"key": ["k", "l"]}), np.array([moment, moment], dtype=np.int64)
    known = [row for row in rows if row["known"] is not None and max(row["ts"], row["known"]) <= moment]
    with_future, without = (view_values(view, frame(some), keys, at).rows() for some in (rows, known))
    assert [bits(row) for row in with_future] == [bits(row) for row in without]


def nested(rows: Sequence[Row], inner: FeatureView, oracle: Oracle) -> list[Row]:
    """Return rows with the features of the inner view at the time from which each counts."""
    found = []
    for row in rows:
        at = None if row["known"] is None else max(row["ts"], row["known"])
        made = oracle(inner, rows, row, at)
        found.append({**row, **{a.name: value for a, value in zip(inner.aggregations, made, strict=True)}})
    return found


@settings(max_examples=25, deadline=None)
@given(random=RANDOM)
def test_a_view_over_a_view_aggregates_its_features_as_each_row_knew_them(
    random: Random, oracle: Oracle, bits: Bits
) -> None:
    until, kinds = random.randint(0, 60), [kind for kind in KINDS if not kind.startswith("decayed")]
    rows = history(random, corrections=random.random() < 0.5)
    inner = [leaf(random, kind) for kind in random.sample(kinds, 2)]
    source = tt.FileSource("events", "events.parquet", timestamp="ts", known_at="known", key=["id"])
    named = [Aggregation(a.kind, a.column, a.window, a.where, a.arg, f"f{n}") for n, a in enumerate(inner)]
    per_text = FeatureView("inner", tt.Entity("s"), source, named, **options(random))
    over = FeatureView("v", tt.Entity("key"), per_text, [*tt.mean("f0", "20us"), *tt.last("f0"), *tt.max("x", "9us")])
    table = frame(rows)
    gone = replaced(table.lazy(), source, as_of=from_micros(until)).tolist()
    known = [
        row
        for n, row in enumerate(rows)
        if n not in gone and row["known"] is not None and max(row["ts"], row["known"]) <= until
    ]
    keys = pl.DataFrame({"key": [key for key, _ in ASKED]}, schema={"key": pl.String})
    batch = view_values(over, frame(known), keys, np.array([at for _, at in ASKED], dtype=np.int64)).rows()
    with tempfile.TemporaryDirectory() as folder:
        online = LmdbOnline(Path(folder))
        materialize(over, table[: len(rows) // 2], online, until=min(until, 20))
        materialize(over, table, online, until=until)
        served = read(over, online, ASKED)
        online.close()
    seen = nested(known, per_text, oracle)
    for (key, moment), offline, online_values in zip(ASKED, batch, served, strict=True):
        assert bits(offline) == bits(online_values) == bits(oracle(over, seen, {"key": key}, moment)), (key, moment)


DAY = datetime(2026, 1, 1)
PAYMENTS = tt.FileSource("payments", "payments.parquet", timestamp="at")
CARD = tt.Entity("card")
PAID = pl.DataFrame(
    {
        "card": ["a"] * 4,
        "at": [DAY + timedelta(hours=h) for h in range(4)],
        "amount": [10.0, 20.0, None, 40.0],
        "channel": ["web", None, "shop", "web"],
        "when": [date(2026, 1, 1), date(2026, 1, 2), None, date(2026, 1, 1)],
        "price": [Decimal("1.5"), Decimal("2"), None, Decimal("1.50")],
    }
)


def ask(*features: Any, hours: float = 3.5) -> dict[str, Any]:
    view = FeatureView("v", CARD, PAYMENTS, list(features))
    asked = pl.DataFrame({"card": ["a"], "t": [DAY + timedelta(hours=hours)]})
    row = tt.point_in_time_join(asked, [(view, PAID)], at="t").row(0, named=True)
    return {name.removeprefix("v__"): value for name, value in row.items() if name.startswith("v__")}


def test_texts_dates_and_decimals_are_counted_picked_and_filtered() -> None:
    found = ask(
        tt.distinct("channel", "1d"), tt.distinct("when", "1d"), tt.distinct("price", "1d"),
        tt.first("channel", "when", window="150m"), tt.last("channel", where="amount < 30"),
        tt.count("1d", where="when == '2026-01-01'"), tt.count("1d", where="at >= '2026-01-01T02:00Z'"),
        tt.count("1d", where="price == 1.5"),
    )  # fmt: skip
    assert list(found.values()) == [2.0, 2.0, 2.0, "shop", None, None, 2.0, 2.0, 2.0]


def test_decayed_features_and_the_time_since_go_on_changing_between_rows() -> None:
    features = [
        *tt.decayed_sum("amount", "1h"),
        *tt.decayed_mean("amount", "1h"),
        *tt.since_last(),
        *tt.decayed_count("1h"),
    ]
    early, late = ask(*features, hours=3), ask(*features, hours=5)
    assert early["amount_decayed_sum_1h"] == pytest.approx(10 / 8 + 20 / 4 + 40)
    assert late["amount_decayed_sum_1h"] == pytest.approx(early["amount_decayed_sum_1h"] / 4)
    assert late["amount_decayed_mean_1h"] == early["amount_decayed_mean_1h"]
    assert (early["since_last"], late["since_last"]) == (0.0, 7200.0)
    assert late["decayed_count_1h"] == pytest.approx((1 / 8 + 1 / 4 + 1 / 2 + 1) / 4)


def test_a_sum_that_faded_for_a_thousand_years_is_zero_and_large_ones_do_not_overflow() -> None:
    assert ask(tt.decayed_sum("amount", "1us"), hours=9e6) == {"amount_decayed_sum_1us": 0.0}


WRONG = [
    (tt.count("1d", where="channel > 5"), "column 'channel' is String and is compared with 5; expected a text"),
    (tt.count("1d", where="amount == 'x'"), "is compared with 'x'; expected a number"),
    (
        tt.count("1d", where="amout > 1"),
        "needs column 'amout', which source 'payments' does not have. Did you mean 'amount'",
    ),
    (tt.count("1d", where="amount"), "no boolean; compare it: amount > 0"),
    (tt.count("1d", where="at > 'yesterday'"), "'yesterday' is no time"),
    (tt.count("1d", where="amount == channel"), "expected two columns of one kind"),
    (tt.ratio(tt.last("channel"), tt.count("1d")), "column 'channel' is String; expected numbers"),
    (tt.quantile("channel", 0.5, "1d"), "column 'channel' is String; expected numbers"),
]


@pytest.mark.parametrize(("feature", "told"), WRONG)
def test_a_filter_or_kind_that_does_not_fit_the_columns_is_refused(feature: Any, told: str) -> None:
    with pytest.raises(DefinitionError) as found:
        ask(feature)
    assert told in str(found.value)
    assert "FeatureView 'v'" in str(found.value)


def test_a_feature_named_like_a_column_is_refused_by_a_view_over_it() -> None:
    inner = FeatureView("inner", CARD, PAYMENTS, tt.last("amount"))
    outer = FeatureView("v", CARD, inner, tt.mean("amount", "1d"))
    asked = pl.DataFrame({"card": ["a"], "t": [DAY]})
    with pytest.raises(
        DefinitionError, match=r"'amount' is a column of source 'payments' and a feature of view 'inner'"
    ):
        tt.point_in_time_join(asked, [(outer, PAID)], at="t")


def test_a_model_gets_the_chosen_features_of_a_view_alone() -> None:
    view = FeatureView("v", CARD, PAYMENTS, [*tt.count("1h"), *tt.since_last(), *tt.sum("amount", "1d")])
    share = tt.ratio(view["since_last"], view["count_1h"], name="pace")
    examples = tt.FileSource("asked", "asked.parquet", timestamp="at", known_at="told")
    chosen = ["amount", view[["amount_sum_1d", "since_last"]], share]
    model = tt.Model("m", task="regression", examples=examples, label="y", features=chosen)
    with tempfile.TemporaryDirectory() as folder:
        online = LmdbOnline(Path(folder))
        materialize(view, PAID, online, until=to_micros(DAY.replace(tzinfo=UTC) + timedelta(days=1)))
        at = to_micros(DAY.replace(tzinfo=UTC) + timedelta(hours=3.5))
        found = OnlinePlan(model, online).vectors({"card": ["a"], "amount": [7.0]}, [at])
        online.close()
    asked = pl.DataFrame({"card": ["a"], "t": [DAY + timedelta(hours=3.5)]})
    joined = tt.point_in_time_join(asked, [(view[["since_last"]], PAID), (view["count_1h"], PAID)], at="t")
    assert joined.drop("card", "t").rows() == [(1800.0, 1.0)]
    assert model.feature_names == ("amount", "v__amount_sum_1d", "v__since_last", "pace")
    assert found.tolist() == [[7.0, 70.0, 1800.0, 1800.0]]


def test_deviations_of_several_windows_that_a_ttl_makes_one(oracle: Oracle, bits: Bits) -> None:
    view = view_of([*tt.std("x", "7us", "9us"), *tt.quantile("x", 0.5, "7us", "9us")], ttl="5us")
    rows = [{**dict.fromkeys(SCHEMA), "key": "k", "ts": at, "known": at, "x": float(at**2)} for at in range(9)]
    found = view_values(view, frame(rows), pl.DataFrame({"key": ["k"]}), np.array([9])).row(0)
    assert bits(found) == bits(oracle(view, rows, {"key": "k"}, 9))
