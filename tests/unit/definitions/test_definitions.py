"""Definitions: names, hashes, what leaks, and every way to be wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from trimtab.definitions.aggregations import Aggregation, count, last, max_, mean, min_, sum_
from trimtab.definitions.collection import Definitions, collect
from trimtab.definitions.models import Model, Outcomes
from trimtab.definitions.on_demand import OnDemand, on_demand
from trimtab.definitions.sources import FileSource
from trimtab.definitions.views import Entity, FeatureView
from trimtab.errors import DefinitionError
from trimtab.units import MICROS

flights = FileSource("flights", "data/flights", timestamp="scheduled_at", known_at="landed_at")
at_once = FileSource("weather", "data/weather.parquet", timestamp="observed_at", known_at="observed_at")
weather = FileSource("weather", "data/weather.parquet", timestamp="observed_at")
carrier = Entity("carrier")
route = Entity("route", keys=["origin", "dest"])


def double(distance: Any) -> Any:
    return 2 * distance


def view(name: str = "punctuality", **changes: Any) -> FeatureView:
    known: dict[str, Any] = {"entity": carrier, "source": flights, "features": [count("1d"), mean("late", "7d")]}
    return FeatureView(name, **{**known, **changes})


def half(distance: Any, scheduled_at: Any) -> Any:
    return 0.5 + 0 * distance


async def waiting(distance: Any) -> Any:
    return distance


def model(name: str = "delay", **changes: Any) -> Model:
    known: dict[str, Any] = {"task": "binary", "examples": flights, "label": "late", "features": [view(), "distance"]}
    return Model(name, **{**known, **changes})


def anything(value: object) -> Any:
    """Hand over what the type checker would refuse."""
    return cast(Any, value)


def two_rules() -> None:
    made = model()
    made.fallback(inputs=["distance"])(double)
    made.fallback(inputs=["distance", "scheduled_at"])(half)


async def waiting_two(y_true: Any, y_score: Any) -> Any:
    return y_true


def third(y_true: Any, y_score: Any) -> Any:
    return y_true - y_score


def by_distance(y_true: Any, y_score: Any, distance: Any) -> Any:
    return distance


def two_impacts() -> None:
    made = model()
    made.impact(half)
    made.impact(third)


# --- names


def test_features_are_named_after_view_column_aggregate_and_window() -> None:
    made = view(
        features=[
            count("1d", "6h"),
            sum_("late", "1d"),
            mean("late", "90m"),
            min_("late", "1w"),
            max_("late", "30s"),
            last("temp", "wind"),
            last("visib", window="3h"),
        ]
    )
    assert [name.removeprefix("punctuality__") for name in made.feature_names] == [
        "count_1d",
        "count_6h",
        "late_sum_1d",
        "late_mean_90m",
        "late_min_7d",
        "late_max_30s",
        "temp",
        "wind",
        "visib_last_3h",
    ]


def test_an_entity_is_found_by_its_own_name_without_keys() -> None:
    assert carrier.keys == ("carrier",)
    assert route.keys == ("origin", "dest")


def test_a_source_without_known_at_is_known_at_its_timestamp() -> None:
    assert (weather.known_column, flights.known_column) == ("observed_at", "landed_at")


def test_durations_of_a_view_become_microseconds() -> None:
    made = view(ttl="6h", every="1h")
    assert (made.ttl_micros, made.every_micros) == (6 * MICROS["h"], MICROS["h"])
    assert (view().ttl_micros, view().every_micros) == (None, None)


def test_a_transform_has_one_name_or_one_an_output() -> None:
    assert on_demand(inputs=["distance"])(double).feature_names == ("double",)
    assert on_demand(inputs=["distance"], outputs=["a", "b"])(double).feature_names == ("double__a", "double__b")


def test_a_transform_can_still_be_called() -> None:
    assert on_demand(inputs=["distance"])(double)(anything(21)) == 42


# --- models


def test_a_model_takes_its_features_in_order() -> None:
    transform = on_demand(inputs=["scheduled_at"])(double)
    made = model(features=["distance", transform, view()])
    assert made.feature_names == ("distance", "double", "punctuality__count_1d", "punctuality__late_mean_7d")
    assert (made.views, made.transforms) == ((view(),), (transform,))


def test_a_request_brings_keys_inputs_and_columns_but_not_what_views_make() -> None:
    transform = on_demand(inputs=["scheduled_at"])(double)
    of_feature = on_demand(inputs=["punctuality__count_1d"])(double)
    made = model(features=[view(), view("history", entity=route), transform, "distance"])
    assert made.request_columns == ("carrier", "origin", "dest", "scheduled_at", "distance")
    assert made.entity_keys == ("carrier", "origin", "dest")
    assert model(features=[view(), of_feature]).request_columns == ("carrier",)


def test_the_trainer_is_kept_and_still_a_function() -> None:
    made = model()

    @made.trainer
    def train(data: Any, params: dict[str, Any], seed: int) -> str:
        return "fitted"

    assert made.fit is train
    assert train(anything(None), {}, 0) == "fitted"


def test_a_fallback_rule_is_kept_and_still_a_function() -> None:
    assert model().rule is None
    made = model()
    usual = made.fallback(inputs=["distance", "scheduled_at"])(half)
    assert usual is half
    assert made.rule is not None
    assert (made.rule.name, made.rule.inputs, made.rule.called) == (
        "half",
        ("distance", "scheduled_at"),
        "fallback 'half'",
    )
    assert "def half" in made.rule.source


def test_a_fallback_rule_takes_what_a_request_brings() -> None:
    transform = on_demand(inputs=["note"])(double)
    made = model(features=[view(), transform, "distance"])
    for column in ("carrier", "note", "distance", "scheduled_at"):
        made.fallback(inputs=[column])(double)
        assert made.rule is not None
        assert made.rule.inputs == (column,)


def test_a_fallback_rule_is_no_transform() -> None:
    made = model()
    usual = made.fallback(inputs=["distance"])(double)
    found = collect({"delay": made, "usual": usual})
    assert found.transforms == {}
    assert found.model().rule is made.rule


def test_another_text_of_the_impact_function_is_another_kind_of_money() -> None:
    one, two, priced = model(), model(), model()
    assert one.impact(half) is half
    two.impact(third)
    priced.impact(inputs=["distance"])(by_distance)
    kinds = {made.money.kind for made in (one, two, priced) if made.money is not None}
    assert len(kinds) == 3
    assert priced.money is not None
    assert priced.money.inputs == ("distance",)
    assert collect({"delay": one}).impact_functions == {"delay": one.money}


# --- hashes


def test_equal_definitions_hash_alike_for_ever() -> None:
    assert view().hash == view().hash == "09e1558d0162"
    assert view().version_id == f"punctuality@{view().hash}"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"entity": route},
        {"source": weather},
        {"source": replace(flights, known_at=None)},
        {"source": replace(flights, timestamp="departed_at")},
        {"features": [count("1d"), mean("late", "6d")]},
        {"features": [mean("late", "7d"), count("1d")]},
        {"ttl": "1d"},
        {"every": "1h"},
        {"window_by": "known_at"},
    ],
    ids=str,
)
def test_whatever_changes_a_value_changes_the_hash(change: dict[str, Any]) -> None:
    assert view(**change).hash != view().hash


@pytest.mark.parametrize(
    "change",
    [
        {"source": replace(flights, path="elsewhere/flights")},
        {"features": [count("24h"), *mean("late", "1w")]},
        {"ttl": None},
        {"window_by": "timestamp"},
    ],
    ids=str,
)
def test_what_changes_no_value_keeps_the_hash(change: dict[str, Any]) -> None:
    assert view(**change).hash == view().hash


def test_the_code_hash_follows_the_code() -> None:
    def made(transform: OnDemand) -> str:
        return model(features=[transform, "distance"]).code_hash

    first = on_demand(inputs=["distance"])(double)
    assert made(first) == made(replace(first))
    assert made(first) != made(replace(first, source=first.source + "  # changed"))
    assert made(first) != made(replace(first, inputs=("weight",)))


def test_a_fallback_rule_changes_no_feature_and_so_no_hash_of_them() -> None:
    plain, ruled = model(), model()
    ruled.fallback(inputs=["distance"])(double)
    assert ruled.code_hash == plain.code_hash


def test_a_view_may_read_the_examples_files_by_the_moment_of_the_outcome() -> None:
    landings = FileSource("landings", "data/flights", timestamp="landed_at")
    assert model(features=[view(source=landings)]).views[0].source == landings


# --- every way to be wrong


def wrong(case: Callable[[], object], *words: str) -> Any:
    return pytest.param(case, words, id=words[0][:50])


@pytest.mark.parametrize(
    ("case", "words"),
    [
        wrong(
            lambda: FileSource("my-source", "a.csv", timestamp="t"),
            "FileSource name 'my-source' is not valid",
            "'my_name'",
        ),
        wrong(lambda: FileSource("a__b", "a.csv", timestamp="t"), "'a__b' is not valid", "single underscores"),
        wrong(lambda: FileSource(anything(3), "a.csv", timestamp="t"), "FileSource name 3 is not valid"),
        wrong(
            lambda: FileSource("s", "a.json", timestamp="t"),
            "'a.json' is none of Parquet, CSV and JSON lines",
            ".jsonl, .ndjson, or",
        ),
        wrong(lambda: FileSource("s", "", timestamp="t"), "path is ''", "'data/flights.parquet'"),
        wrong(lambda: FileSource("s", anything(["a.csv"]), timestamp="t"), "path is ['a.csv']; expected text"),
        wrong(lambda: FileSource("s", "a.csv", timestamp=""), "timestamp is ''", "'scheduled_at'"),
        wrong(lambda: FileSource("s", "a.csv", timestamp="t", known_at=""), "known_at is ''"),
        wrong(lambda: Entity("2nd"), "Entity name '2nd' is not valid"),
        wrong(lambda: Entity("e", keys="carrier"), "keys is 'carrier'; expected a list, such as ['carrier']"),
        wrong(lambda: Entity("e", keys=["a", "a"]), "keys: 'a' is there twice"),
        wrong(lambda: Entity("e", keys=anything([1])), "one of them is 1; expected text"),
        wrong(lambda: count(), "count() needs at least one window", "count('1d')"),
        wrong(lambda: mean("late"), "mean('late') needs at least one window", "mean('late', '7d')"),
        wrong(lambda: sum_(anything(["late"]), "1d"), "sum: column is ['late']; expected text"),
        wrong(lambda: min_("late", "7 days"), "min: '7 days' is not a duration", "Did you mean 'd'?"),
        wrong(lambda: count(anything(7)), "count: '7' is not a duration", "expected a number and a unit"),
        wrong(lambda: last(), "last() needs at least one column"),
        wrong(lambda: last("a", anything(1)), "last: column is 1; expected text"),
        wrong(lambda: last("a", window=""), "last: '' is not a duration"),
        wrong(lambda: view("x y"), "FeatureView name 'x y' is not valid"),
        wrong(lambda: view(entity="carrier"), "entity is 'carrier'; expected one made with Entity(...)"),
        wrong(lambda: view(source="flights"), "source is 'flights'; expected one made with FileSource(...)"),
        wrong(lambda: view(features=[]), "FeatureView 'punctuality' has no features", "tt.count('1d')"),
        wrong(lambda: view(features=["late"]), "'late' is no aggregation", "tt.mean('late', '7d')"),
        wrong(lambda: view(features=None), "None is no aggregation"),
        wrong(lambda: view(features=[mean("x", "7d", "1w")]), "has two features named 'x_mean_7d'; remove one"),
        wrong(lambda: view(ttl="3 hours"), "FeatureView 'punctuality': ttl: '3 hours'", "Did you mean 'h'?"),
        wrong(lambda: view(every="0h"), "every: '0h' is not a duration", "more than zero"),
        wrong(lambda: on_demand(inputs=[])(double), "on_demand 'double' has no inputs"),
        wrong(lambda: on_demand(inputs="distance")(double), "inputs is 'distance'; expected a list"),
        wrong(lambda: on_demand(inputs=["a"], outputs="hour")(double), "outputs is 'hour'; expected a list"),
        wrong(lambda: on_demand(inputs=["a"], outputs=["b", "b"])(double), "outputs: 'b' is there twice"),
        wrong(lambda: on_demand(inputs=["a", "b"])(double), "takes 1 arguments but names 2 inputs: ['a', 'b']"),
        wrong(lambda: on_demand(inputs=["a"])(lambda a: a), "on_demand name '<lambda>' is not valid"),
        wrong(lambda: model("my model"), "Model name 'my model' is not valid"),
        wrong(lambda: model(task="Binary"), "unknown task 'Binary'. Did you mean 'binary'?"),
        wrong(lambda: model(task="ranking"), "unknown task 'ranking'. Valid: anomaly, binary, multiclass, regression."),
        wrong(lambda: model(examples="flights"), "examples is 'flights'; expected one made with FileSource(...)"),
        wrong(lambda: model(label=""), "label is ''; expected text"),
        wrong(lambda: model(features=[]), "Model 'delay' has no features"),
        wrong(lambda: model(features="distance"), "features is 'distance'; expected a list, such as ['distance']"),
        wrong(lambda: model(features=[double]), "is no feature; expected a FeatureView, an on_demand transform"),
        wrong(lambda: model(categories="hour"), "categories is 'hour'; expected a list, such as ['hour']"),
        wrong(
            lambda: model(categories=["distanse"]), "category 'distanse' is none of its features. Did you mean 'dist"
        ),
        wrong(lambda: model(features=["a", "a"]), "two features named 'a'; rename or remove one"),
        wrong(lambda: model(features=["late"]), "uses its label 'late' as an input"),
        wrong(lambda: model(features=[on_demand(inputs=["late"])(double)]), "uses its label 'late' as"),
        wrong(lambda: model(features=["landed_at"]), "uses 'landed_at' as an input", "its outcome became known"),
        wrong(
            lambda: model(examples=weather, label="rain", features=[view(source=weather)]),
            "learns from source 'weather' and view 'punctuality' reads the same source, whose rows are known at",
            "'observed_at', the time of the request: outcomes would leak into features",
            "FileSource(..., known_at='...')",
        ),
        wrong(  # a known_at that is the timestamp itself
            lambda: model(examples=at_once, label="rain", features=[view(source=at_once)]),
            "'punctuality' reads the same source, whose rows are known at 'observed_at'",
        ),
        wrong(  # the same files under another name, without known_at
            lambda: model(
                features=[view(source=FileSource("f2", "./data/flights/*.parquet", timestamp="scheduled_at"))]
            ),
            "view 'punctuality' reads source 'f2', which reads the same rows, whose rows are known at 'scheduled_at'",
        ),
        wrong(
            lambda: model(
                features=["arr_delay"],
                outcomes=Outcomes(source=FileSource("o", "data/flights/", timestamp="landed_at"), label="arr_delay"),
            ),
            "Model 'delay' uses the label of its outcomes, 'arr_delay', as an input",
        ),
        wrong(
            lambda: view(window_by="known"),
            "FeatureView 'punctuality': window_by is 'known'; expected 'timestamp' or 'known_at'",
            "Did you mean 'known_at'?",
        ),
        wrong(
            lambda: view(source=weather, window_by="known_at"),
            "window_by is 'known_at', but source 'weather' names no such column",
        ),
        wrong(lambda: model().trainer(anything(double)), "its trainer takes ['distance']; expected three arguments"),
        wrong(lambda: model().fallback(inputs=[])(double), "fallback 'double' of model 'delay' has no inputs"),
        wrong(lambda: model().fallback(inputs="distance")(double), "inputs is 'distance'; expected a list"),
        wrong(lambda: model().fallback(inputs=["a", "a"])(double), "inputs: 'a' is there twice"),
        wrong(lambda: model().fallback(inputs=["distance"])(half), "takes 2 arguments but names 1 inputs"),
        wrong(lambda: model().fallback(inputs=["distance"])(lambda a: a), "fallback name '<lambda>' is not valid"),
        wrong(lambda: model().fallback(inputs=["distance"])(waiting), "is async or a generator; expected a plain"),
        wrong(lambda: on_demand(inputs=["distance"])(waiting), "on_demand 'waiting' is async or a generator"),
        wrong(
            lambda: model().fallback(inputs=["distanse"])(double),
            "fallback 'double' of model 'delay': 'distanse' is no request column of the model.",
            "Did you mean 'distance'?",
        ),
        wrong(lambda: model().fallback(inputs=["late"])(double), "'late' is no request column of the model"),
        wrong(
            lambda: model().fallback(inputs=["punctuality__count_1d"])(double),
            "'punctuality__count_1d' is a computed feature",
            "takes request columns. Valid: carrier, distance, scheduled_at.",
        ),
        wrong(
            lambda: model().impact(inputs=["distanse"])(half),
            "impact 'half' of model 'delay': input 'distanse' is none of the model's features.",
            "Did you mean 'distance'?",
        ),
        wrong(
            lambda: model(task="multiclass").impact(third),
            "impact 'third' of model 'delay': its labels are indices of classes, and the model declares none; declare",
        ),
        wrong(lambda: model().impact(double), "takes ['distance']; expected 2 arguments: (y_true, y_score)"),
        wrong(lambda: model().impact(waiting_two), "impact 'waiting_two' of model 'delay' is async or a generator"),
        wrong(two_impacts, "impact 'third' of model 'delay': the model has the impact function 'half' already; remove"),
        wrong(two_rules, "fallback 'half' of model 'delay': the model has the fallback 'double' already; remove one"),
        wrong(lambda: collect({}).model(), "defines no model; add one with: tt.Model(...)"),
        wrong(lambda: collect({"m": model()}).model("dealy"), "has no model 'dealy'. Did you mean 'delay'?"),
        wrong(
            lambda: collect({"a": model("a"), "b": model("b")}).model(), "2 models; name one with --model: ['a', 'b']"
        ),
        wrong(
            lambda: collect({"a": carrier, "b": Entity("carrier", keys=["code"])}, "definitions.py"),
            "definitions.py defines two different entities named 'carrier', at test_definitions.py:",
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(case: Callable[[], object], words: tuple[str, ...]) -> None:
    with pytest.raises(DefinitionError) as refused:
        case()
    for word in words:
        assert word in str(refused.value)


# --- collect


def test_collect_follows_what_definitions_refer_to() -> None:
    transform = on_demand(inputs=["distance"])(double)
    wanted = model(features=[view(), transform])
    found = collect({"wanted": wanted, "other": 3, "windows": count("1d")})
    assert isinstance(found, Definitions)
    assert (dict(found.sources), dict(found.entities)) == ({"flights": flights}, {"carrier": carrier})
    assert (dict(found.views), dict(found.transforms)) == ({"punctuality": view()}, {"double": transform})
    assert found.model() is found.model("delay") is wanted


def test_collect_takes_equal_things_for_one() -> None:
    assert collect({"a": view(), "b": view(), "again": Entity("carrier")}).views == {"punctuality": view()}


def test_an_aggregation_of_all_the_past_has_no_window() -> None:
    assert last("temp") == [Aggregation("last", "temp", None)]


# --- outcomes


def test_the_source_of_outcomes_is_found_with_its_model() -> None:
    paid = FileSource("paid", "paid/", timestamp="paid_at")
    found = collect({"delay": model(outcomes=Outcomes(source=paid))})
    assert found.sources["paid"] is paid
    assert found.model().outcomes == Outcomes(source=paid, prediction_id="prediction_id", label=None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Outcomes(source=anything("paid")), "Outcomes: source is 'paid'; expected one made with FileSource"),
        (lambda: Outcomes(source=flights, prediction_id=""), "Outcomes: prediction_id is ''"),
        (lambda: Outcomes(source=flights, label=anything(1)), "Outcomes: label is 1"),
        (lambda: model(outcomes=anything(flights)), "Model 'delay': outcomes is FileSource"),
    ],
)
def test_wrong_outcomes_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        make()
    assert message in str(refused.value)
