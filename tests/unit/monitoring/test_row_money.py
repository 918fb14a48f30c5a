"""A project's own impact function takes the place of the prices of the policy, everywhere that money is counted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.app.reports.answer_money import answer_money
from trimtab.bundle.typed_matrix import Schema, TypedMatrix, objects
from trimtab.control.cause import gather
from trimtab.control.impact import judge
from trimtab.definitions.impact_function import ImpactFunction, impact_function
from trimtab.errors import ImpactFailed
from trimtab.monitoring.mistakes import mean_mistakes
from trimtab.monitoring.reference import build_reference
from trimtab.monitoring.row_money import RowMoney
from trimtab.policy.decide import Impact
from trimtab.records.monitoring import IMPACT, MONEY_GAIN
from trimtab.tasks import UNKNOWN_CLASS
from trimtab.testing.streams import NAMES, Variant, World, log_labels, log_rows, play, truth
from trimtab.units import MICROS
from unit.monitoring.monitor_bench import DAYS, POLICY, VARIANTS, Bench, content, reference

THRESHOLD = POLICY.impact.threshold
OWN = POLICY.model_copy(update={"impact": Impact()})
"""A policy that names no costs."""


def made(function: Callable[..., Any], inputs: Sequence[str] = ()) -> ImpactFunction:
    return impact_function("delay", function, inputs, features=NAMES)


def as_priced(y_true: Any, y_score: Any) -> Any:
    """What the policy's prices say: 40 a missed yes, 5 a wrong one."""
    yes = y_score >= THRESHOLD
    return np.where(y_true > 0.5, np.where(yes, 0.0, 40.0), np.where(yes, 5.0, 0.0))


def by_distance(y_true: Any, y_score: Any, distance: Any) -> Any:
    return np.where(y_score >= THRESHOLD, 0.0, y_true * np.abs(distance))


def label_and_score(y_true: Any, y_score: Any) -> Any:
    """The label, and the largest score of the row."""
    return y_true + (y_score.max(axis=1) if y_score.ndim == 2 else y_score)


def broken(y_true: Any, y_score: Any) -> Any:
    raise ZeroDivisionError("no rate for this day")


def run(bench: Bench, function: ImpactFunction | None, *, known: Any = True, often: bool = False) -> None:
    """Play six days of two versions. often: each day is judged by a new process."""
    policy = POLICY if function is None else OWN

    def step() -> None:
        bench.monitor(policy=policy, function=function, known=known).step()

    days = range(DAYS, DAYS + 6)
    play(bench.log, World(seed=5), days, VARIANTS, after_tick=step if often else lambda: None)
    step()


def test_a_function_that_says_what_the_prices_say_gives_the_same_money_everywhere(tmp_path: Path) -> None:
    priced, own = Bench(tmp_path / "priced"), Bench(tmp_path / "own")
    run(priced, None)
    run(own, made(as_priced))
    for stage, names in (("closed", ["estimated_money_lost"]), ("matured", ["money_lost", MONEY_GAIN])):
        pairs = list(zip(priced.reports(stage), own.reports(stage), strict=True))
        assert pairs
        for name in names:
            assert any(name in report.metrics for report, _ in pairs), name
        for one, two in pairs:
            for name in names:
                assert two.metrics.get(name) == pytest.approx(one.metrics.get(name)), (two.id, name)
    for one_signal, two_signal in zip(priced.signals("kpi"), own.signals("kpi"), strict=True):
        assert two_signal.value == pytest.approx(one_signal.value, abs=1e-6)
        assert two_signal.effect == pytest.approx(one_signal.effect)
    assert len(own.signals("kpi")) > 3
    for each in (priced, own):
        each.close()


@pytest.mark.parametrize("function", [None, made(as_priced)])
def test_answers_of_a_replaced_champion_have_their_own_money(bench: Bench, function: ImpactFunction | None) -> None:
    # given a day on which version 2 replaces version 1, which goes on as a shadow and has most rows as one
    day = World(seed=5, label_hours=1.0).day(DAYS)
    early = day.times < np.quantile(day.times, 0.2)
    before, after = np.flatnonzero(early), np.flatnonzero(~early)
    log_rows(bench.log, day, DAYS, before, Variant(version=1), served=True, model="delay")
    log_rows(bench.log, day, DAYS, after, Variant(version=1, role="shadow"), served=False, model="delay")
    log_rows(bench.log, day, DAYS, after, Variant(version=2), served=True, model="delay")
    log_labels(bench.log, {DAYS: day}, after=0, until=int(day.known_at.max()) + 1, model="delay")
    play(bench.log, World(seed=5), range(DAYS + 1, DAYS + 6), (Variant(version=2),))
    bench.monitor(policy=POLICY if function is None else OWN, function=function, known=True).step()
    # then each version's answers cost what its own rows cost, and all rows are counted once
    first, second = (report for report in bench.reports("matured") if report.start == bench.reports("matured")[0].start)
    assert (first.version, first.role, second.role) == (1, "shadow", "champion")
    money = as_priced(day.y, truth(day.X))
    for report, rows in ((first, before), (second, after)):
        lost, counted = answer_money(report) or (None, None)
        assert lost == pytest.approx(money[rows].sum())
        assert counted == len(rows) == report.served_rows
    assert first.metrics["money_lost"] == pytest.approx(money.sum()), "on all rows that it scored"


def test_money_can_depend_on_a_feature_and_a_quiet_stream_loses_what_is_expected(bench: Bench) -> None:
    function = made(by_distance, ["distance"])
    run(bench, function)
    signals = bench.signals("kpi")
    day = World(seed=5).day(DAYS)
    played = RowMoney(function=function, columns={"distance": day.X[:, 0]})
    from_rows = played.lost(day.y, truth(day.X)).mean()
    assert signals[0].effect["per_prediction"] == pytest.approx(from_rows, rel=1e-6)
    beyond = np.array([s.value for s in signals])
    assert abs(beyond.mean()) < 3 * beyond.std() / np.sqrt(len(beyond)) + 5


def test_restarts_and_the_stored_records_give_the_same_money_as_one_process(tmp_path: Path) -> None:
    once, often = Bench(tmp_path / "once"), Bench(tmp_path / "often")
    run(once, made(by_distance, ["distance"]))
    run(often, made(by_distance, ["distance"]), often=True)
    assert content(once.book) == content(often.book)
    before = content(often.book)
    often.monitor(policy=OWN, function=made(as_priced)).step()
    assert content(often.book) == before, "another function changes nothing that is judged"
    for each in (once, often):
        each.close()


def test_a_function_that_fails_gives_a_signal_and_the_other_records_stay(bench: Bench) -> None:
    usual = reference(made(as_priced))
    run(bench, made(broken), known=usual)
    matured = bench.reports("matured")
    assert matured
    assert all("money_lost" not in report.metrics and "log_loss" in report.metrics for report in matured)
    failed = bench.signals("error", subject=IMPACT)
    assert len(failed) == len([r for r in matured if r.version == 1])
    assert "impact 'broken' failed: ZeroDivisionError: no rate for this day" in failed[0].reason
    assert f"{Path(__file__).name}:" in failed[0].reason
    cause = gather(bench.book, matured[0], over=MICROS["d"], size=MICROS["d"])
    found = judge(cause, OWN.impact)
    assert (found.level, found.per_day) == ("low", 0.0)
    assert "no rate for this day" in found.reason


def test_a_reference_of_another_function_expects_no_money(bench: Bench) -> None:
    run(bench, made(as_priced), known=reference(made(by_distance, ["distance"])))
    assert bench.signals("kpi") == []
    assert all("money_lost" in report.metrics for report in bench.reports("matured"))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda y_true, y_score: 7.0, r"returned shape \(\) for 3 rows; expected shape \(3,\)"),
        (lambda y_true, y_score: np.array([0.0, np.nan, np.inf]), "2 of 3 rows have no finite money"),
        (lambda y_true, y_score: ["a", "b", "c"], "ValueError: could not convert"),
    ],
)
def test_what_is_no_money_is_refused_with_its_place(returned: Any, said: str) -> None:
    money = RowMoney(function=ImpactFunction("lost", (), returned, "text"), columns={})
    with pytest.raises(ImpactFailed, match=rf"test_row_money\.py:\d+: impact 'lost' failed: .*{said}"):
        money.lost(np.zeros(3), np.zeros(3))


def test_what_is_expected_of_several_classes_is_the_mean_over_their_probabilities() -> None:
    money = RowMoney(function=made(label_and_score), columns={})
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    assert money.expected(p) == pytest.approx([0.5 * 0.5 + 0.3 * 1.5 + 0.2 * 2.5, 0.1 * 0.8 + 0.1 * 1.8 + 0.8 * 2.8])
    assert money.expected(np.array([0.25])) == pytest.approx([0.75 * 0.25 + 0.25 * 1.25])


def test_a_version_without_the_feature_is_named() -> None:
    money = RowMoney(function=made(by_distance, ["distance"]), columns={})
    with pytest.raises(ImpactFailed, match="the version has no feature 'distance'"):
        money.lost(np.zeros(3), np.zeros(3))


def test_a_label_of_an_unknown_class_does_not_reach_the_function(caplog: pytest.LogCaptureFixture) -> None:
    prices = np.array([1.0, 5.0, 1000.0])

    def by_class(y_true: Any, y_score: Any) -> Any:
        return prices[y_true.astype(int)]

    money = RowMoney(function=made(by_class), columns={})
    scores = np.full((3, 3), 1 / 3)
    lost = money.lost(np.array([1.0, UNKNOWN_CLASS, 0.0]), scores)
    assert lost[[0, 2]].tolist() == [5.0, 1.0]
    assert np.isnan(lost[1])
    assert "impact 'by_class': 1 of 3 rows are left out" in caplog.text
    mean = mean_mistakes(np.array([1.0, UNKNOWN_CLASS, 0.0]), scores, task="multiclass", threshold=0.5, own=money)
    assert mean[money.function.kind] == 3.0
    with pytest.raises(ImpactFailed, match="all 3 labels are of classes that are not known"):
        money.lost(np.full(3, UNKNOWN_CLASS), scores)


def test_the_function_gets_classes_in_the_order_of_the_definition() -> None:
    seen: list[Any] = []

    def looks(y_true: Any, y_score: Any) -> Any:
        seen.extend((y_true.tolist(), y_score.tolist()))
        return y_true

    function = impact_function("delay", looks, (), features=(), classes=("on time", "late", "cancelled"))
    # given a version that was trained on other classes
    money = RowMoney(function=function, columns={}, classes=("late", "diverted", "on time"))
    lost = money.lost(np.array([0.0, 1.0, 2.0]), np.array([[0.7, 0.1, 0.2]] * 3))
    assert seen == [[1.0, 0.0], [[0.2, 0.7, 0.0]] * 2]
    assert np.isnan(lost[1]), "diverted is none of the classes that the definition knows"


@pytest.mark.parametrize("known", [("b", "c"), ("a", "b", "c")])
def test_a_category_has_its_name_whatever_its_code_is_after_a_training(known: tuple[str, ...]) -> None:
    seen: list[Any] = []

    def by_shop(y_true: Any, y_score: Any, shop: Any) -> Any:
        seen.extend(shop.tolist())
        return np.where(shop == "b", 1000.0, 1.0)

    codes = np.array([known.index("b"), known.index("c"), len(known), np.nan], np.float32)
    function = impact_function("delay", by_shop, ["shop"], features=["shop"])
    money = RowMoney.of(function, {"shop": codes}, names={"shop": known})
    assert money is not None
    assert money.lost(np.zeros(4), np.zeros(4)).tolist() == [1000.0, 1.0, 1.0, 1.0]
    assert seen == ["b", "c", "(other)", None]
    assert money.rows(np.array([False, True, True, False])).lost(np.zeros(2), np.zeros(2)).tolist() == [1.0, 1.0]


def test_the_reference_of_a_training_set_with_categories_names_them() -> None:
    seen: set[Any] = set()

    def by_shop(y_true: Any, y_score: Any, shop: Any) -> Any:
        seen.update(shop.tolist())
        return np.zeros(len(y_true))

    schema = Schema.known(("shop",), {"shop": "category"}, {"shop": ("b", "c")}, "frame", "other")
    assert schema is not None
    X = TypedMatrix.of(schema, {"shop": objects(["b", "c", None, "new"] * 10)})
    made = build_reference(
        X,
        np.full(40, 0.5),
        np.zeros(40),
        np.arange(40) * MICROS["d"],
        ("shop",),
        window=10 * MICROS["d"],
        task="binary",
        threshold=0.5,
        costs={},
        categories=("shop",),
        impact_function=impact_function("delay", by_shop, ["shop"], features=["shop"]),
    )
    assert made.windows == 4
    assert seen == {"b", "c", "(other)", None}


def test_a_function_cannot_change_the_rows_of_the_window() -> None:
    def greedy(y_true: Any, y_score: Any, distance: Any) -> Any:
        y_true[:], distance[:] = 1, 9
        return y_true

    y, distance = np.zeros(3), np.zeros(3, np.float32)
    RowMoney(function=made(greedy, ["distance"]), columns={"distance": distance}).lost(y, y)
    assert (y.sum(), distance.sum()) == (0, 0)
