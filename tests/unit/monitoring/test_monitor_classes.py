"""The whole monitor on multiclass and anomaly models: quality, drift, money, comparison, estimates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from trimtab.clock import EPOCH, ManualClock
from trimtab.definitions.impact_function import ImpactFunction, impact_function
from trimtab.errors import DataError
from trimtab.monitoring.monitor import Monitor
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.policy.reader import parse_policy
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.stats.metrics import metric_value
from trimtab.tasks import UNKNOWN_CLASS
from trimtab.testing.streams import DAY, FIRST_DAY, NAMES, World
from unit.monitoring.monitor_bench import Bench, lowest

Floats = npt.NDArray[np.float64]

CLASSES = ("on time", "late", "very late")
DAYS = 40
COSTS = "{ misclassification: 2, matrix: { very late: { on time: 12 } } }"
POLICY = parse_policy(
    f"""
project: flights
impact: {{ currency: USD, cost: {COSTS} }}
decide: {{ labels_mature_after: 1d }}
"""
)
WORLD = World(label_hours=1.0)


def truth(X: npt.NDArray[np.floating]) -> Floats:
    """Return the true probabilities of the classes, (rows, 3)."""
    z = np.column_stack([np.full(len(X), 0.8), 1.2 * X[:, 0], 1.2 * X[:, 1] - 0.4]).astype(np.float64)
    p = np.exp(z)
    found: Floats = p / p.sum(axis=1, keepdims=True)
    return found


def drawn(number: int, p: Floats) -> npt.NDArray[np.int64]:
    """Return a class a row, drawn by the probabilities."""
    at = np.random.default_rng((77, number)).random(len(p))
    found: npt.NDArray[np.int64] = (at[:, None] > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
    return found


def reference(costs: Any = None, classes: Sequence[str] = CLASSES, function: ImpactFunction | None = None) -> Reference:
    days = [WORLD.day(n) for n in range(DAYS)]
    X = np.concatenate([day.X for day in days])
    return build_reference(
        X,
        truth(X),
        np.concatenate([drawn(n, truth(day.X)) for n, day in enumerate(days)]).astype(np.float64),
        np.concatenate([day.times for day in days]),
        NAMES,
        window=POLICY.decide.window,
        task="multiclass",
        threshold=0.5,
        costs=POLICY.impact.cost_for("multiclass") if costs is None else costs,
        classes=classes,
        impact_function=function,
    )


Label = Callable[[int, npt.NDArray[np.floating]], Sequence[str]]
Scores = Callable[[npt.NDArray[np.floating]], Floats]


def honest(number: int, X: npt.NDArray[np.floating]) -> list[str]:
    return [CLASSES[k] for k in drawn(number, truth(X))]


def write(
    bench: Bench,
    numbers: Iterable[int],
    *,
    world: World = WORLD,
    label: Label = honest,
    versions: Sequence[tuple[int, str, Scores]] = ((1, "champion", truth),),
) -> None:
    """Write days of traffic, and at the end of each the labels of its rows."""
    for number in numbers:
        day = world.day(number)
        ids = [f"{number}-{row}" for row in range(len(day.y))]
        count, times = len(ids), day.times.tolist()
        for version, role, scores in versions:
            p = scores(day.X)
            best = p.max(axis=1).tolist()
            bench.log.append(
                {
                    "prediction_id": ids,
                    "model": ["delay"] * count,
                    "version": [version] * count,
                    "role": [role] * count,
                    "served": [role == "champion"] * count,
                    "route": ["split"] * count,
                    "revision": [1] * count,
                    "event_time": times,
                    "logged_at": times,
                    "entities": [None] * count,
                    "features": list(day.X),
                    "score": best,
                    "confidence": best,
                    "latency_us": [2000] * count,
                    "cpu_us": [80] * count,
                    "error": [None] * count,
                    "probabilities": p,  # type: ignore[dict-item]  # an array has all that is used of a Sequence
                }
            )
        end = (FIRST_DAY + number + 1) * DAY - 1
        bench.log.append_labels(
            {
                "prediction_id": ids,
                "model": ["delay"] * count,
                "label": [None] * count,
                "known_at": [end] * count,
                "received_at": [end] * count,
                "class_name": label(number, day.X),
            }
        )


def monitor(bench: Bench, *, function: ImpactFunction | None = None, **references: Reference) -> Monitor:
    own = reference()
    return Monitor(
        bench.book,
        bench.log,
        POLICY,
        lambda model, version: references.get(f"v{version}", own),
        ManualClock(EPOCH),
        checkpoint=bench.checkpoint,
        impact_functions={} if function is None else {"delay": function},
    )


def test_a_quiet_stream_has_the_metrics_of_its_labels_and_no_alarm(bench: Bench) -> None:
    write(bench, range(DAYS, DAYS + 8))
    monitor(bench).step()
    reports = bench.reports()
    assert len(reports) == 7  # the last one waits
    for report in reports:
        number = DAYS + reports.index(report)
        p = truth(WORLD.day(number).X)
        y = drawn(number, p).astype(np.float64)
        assert report.labelled == report.rows == len(y)
        for name in ("log_loss", "accuracy", "f1_macro", "brier", "balanced_accuracy"):
            assert report.metrics[name] == pytest.approx(metric_value(name, y, p))
        wrong = p.argmax(axis=1) != y
        dear = (y == 2) & (p.argmax(axis=1) == 0)
        assert report.metrics["money_lost"] == pytest.approx(2 * wrong.sum() + 10 * dear.sum())
        assert report.metrics["very late -> on time_mean"] == pytest.approx(dear.mean())
        assert report.metrics["confidence"] == pytest.approx(p.max(axis=1).mean())
        assert abs(report.metrics["estimated_accuracy_error"]) < 0.1
        assert abs(report.metrics["estimated_money_lost_error"]) < 150
    assert lowest(bench.signals("concept")) > 0.05
    assert lowest(bench.signals("prediction")) > 0.05
    assert all(abs(s.value) < 0.1 for s in bench.signals("concept"))
    assert not bench.signals("quality", "unknown classes")


def test_turned_labels_are_concept_drift_and_cost_money(bench: Bench) -> None:
    def turned(number: int, X: npt.NDArray[np.floating]) -> list[str]:
        return [CLASSES[(CLASSES.index(name) + 1) % 3] for name in honest(number, X)]

    write(bench, range(DAYS, DAYS + 3))
    write(bench, range(DAYS + 3, DAYS + 9), label=turned)
    monitor(bench).step()
    assert lowest(bench.signals("concept")) < 0.01
    assert lowest(bench.signals("prediction")) > 0.05
    money = [signal.value for signal in bench.signals("kpi")]
    assert min(money[3:]) > 100 + max(map(abs, money[:3]))
    assert bench.signals("concept")[0].statistic == "mean of log loss - entropy"


def test_a_shift_of_the_inputs_alone_is_drift_of_predictions_but_of_no_concept(bench: Bench) -> None:
    write(bench, range(DAYS, DAYS + 12), world=World(label_hours=1.0, shift={1: 1.5}))
    monitor(bench).step()
    assert lowest(bench.signals("prediction")) < 0.01
    assert lowest(bench.signals("concept")) > 0.05
    shown = {s.subject for s in bench.book.find(Signal, kind="prediction")} - {"all"}
    assert "score:very late" in shown
    (first, *_) = bench.signals("prediction", "score:very late")
    assert first.effect["max_share_moved"] > 0.2


def test_a_class_that_no_version_knows_is_a_mistake_and_named(bench: Bench) -> None:
    def with_new(number: int, X: npt.NDArray[np.floating]) -> list[str]:
        return ["cancelled" if row % 3 == 0 else name for row, name in enumerate(honest(number, X))]

    write(bench, range(DAYS, DAYS + 6), label=with_new)
    monitor(bench).step()
    (signal, *_) = bench.signals("quality", "unknown classes")
    assert signal.value == pytest.approx(1 / 3, abs=0.01)
    assert signal.carriers == ("cancelled",)
    assert "100 of 300 labels are of a class that the version does not know: cancelled (100)" in signal.reason
    report = bench.reports()[0]
    assert report.metrics["unknown_class"] == signal.value
    p = truth(WORLD.day(DAYS).X)
    y = np.where(np.arange(300) % 3 == 0, UNKNOWN_CLASS, drawn(DAYS, p))
    assert report.metrics["accuracy"] == pytest.approx(metric_value("accuracy", y, p))
    assert lowest(bench.signals("concept")) < 0.01


def test_money_of_the_projects_own_function_leaves_out_labels_of_unknown_classes(bench: Bench) -> None:
    """A third of the labels are of a class that no version knows; the challenger scores as the champion does."""

    def with_new(number: int, X: npt.NDArray[np.floating]) -> list[str]:
        return ["cancelled" if row % 3 == 0 else name for row, name in enumerate(honest(number, X))]

    def lost(y_true: Any, y_score: Any) -> Any:
        return np.array([1.0, 5.0, 1000.0])[y_true.astype(int)]

    function = impact_function("delay", lost, (), features=NAMES, classes=CLASSES)
    known = reference(function=function)
    write(bench, range(DAYS, DAYS + 4), label=with_new, versions=((1, "champion", truth), (2, "challenger", truth)))
    monitor(bench, function=function, v1=known, v2=known).step()
    y = drawn(DAYS, truth(WORLD.day(DAYS).X))[np.arange(300) % 3 != 0]
    own, challenger = bench.reports()[0], bench.reports(version=2)[0]
    assert own.metrics["money_lost"] == pytest.approx(lost(y, y).sum())
    assert challenger.metrics["paired_money_gain"] == 0
    signal = bench.signals("kpi")[0]
    assert signal.rows == 200
    assert signal.effect["per_prediction"] == pytest.approx(lost(y, y).mean())
    assert signal.reason.endswith("100 labels of classes that the version does not know are left out")


def test_versions_of_other_classes_are_compared_on_the_same_rows(bench: Bench) -> None:
    """The challenger knows the classes in another order, and one more."""
    order = ("very late", "cancelled", "on time", "late")

    def spread(X: npt.NDArray[np.floating]) -> Floats:
        p = truth(X)
        return np.column_stack([p[:, 2], np.full(len(p), 1e-9), p[:, 0], p[:, 1]])

    def dull(X: npt.NDArray[np.floating]) -> Floats:
        return np.tile([0.4, 0.35, 0.25], (len(X), 1))

    days = [WORLD.day(n) for n in range(DAYS)]
    X = np.concatenate([day.X for day in days])
    labels = np.concatenate([[order.index(name) for name in honest(n, day.X)] for n, day in enumerate(days)])
    other = build_reference(
        X,
        spread(X),
        labels.astype(np.float64),
        np.concatenate([day.times for day in days]),
        NAMES,
        window=POLICY.decide.window,
        task="multiclass",
        threshold=0.5,
        costs={},
        classes=order,
    )
    write(bench, range(DAYS, DAYS + 4), versions=((1, "champion", dull), (2, "challenger", spread)))
    monitor(bench, v2=other).step()
    report = bench.reports(version=2)[0]
    p = truth(WORLD.day(DAYS).X)
    y = drawn(DAYS, p).astype(np.float64)
    gain = metric_value("log_loss", y, dull(WORLD.day(DAYS).X)) - metric_value("log_loss", y, p)
    assert report.metrics["paired_rows"] == 300
    assert report.metrics["paired_log_loss_gain"] == pytest.approx(gain, abs=1e-6)
    assert report.metrics["paired_money_gain"] > 0


def test_a_reference_comes_back_as_it_was_written() -> None:
    made = reference()
    again = Reference.from_json(made.to_json())
    assert again.classes == CLASSES
    assert again.names == NAMES
    assert again.to_json() == made.to_json()
    assert [name for name in again.schemes if name not in NAMES] == ["score", *(f"score:{name}" for name in CLASSES)]
    assert abs(np.mean(made.excess)) < 0.02


def test_a_price_may_change_after_training_but_only_of_classes_that_there_are() -> None:
    made = reference()
    prices = POLICY.impact.cost_for("multiclass")
    assert made.money(prices) == pytest.approx(
        sum(w.rows * _cost(w.mistakes, prices) for w in made.labelled if w) / sum(made.rows)
    )
    dearer = {**prices, "late -> on time": 100.0}
    assert (made.money(dearer) or 0.0) > (made.money(prices) or 0.0)
    assert made.money_beyond(dearer) is not None
    with pytest.raises(DataError, match="names the class 'latest', which is none"):
        reference({"latest -> on time": 3.0})


def _cost(made: Mapping[str, float], prices: Mapping[str, float]) -> float:
    return sum(value * prices.get(kind, 0.0) for kind, value in made.items())


def test_the_monitor_says_the_same_however_often_it_is_started(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "other")
    watching = monitor(bench)
    for number in range(DAYS, DAYS + 6):
        write(bench, [number])
        watching.step()
        watching.close() if hasattr(watching, "close") else None
        watching = monitor(bench)
    write(other, range(DAYS, DAYS + 6))
    monitor(other).step()
    watching.step()
    assert bench.content() == other.content()
    assert bench.book.count(WindowReport) > 6
    other.close()


ANOMALY = parse_policy(
    """
project: flights
impact: { currency: USD, cost: { false_negative: 40, false_positive: 5 } }
decide: { labels_mature_after: 1d }
rollout: { promote_when: { metric: f1 } }
"""
)
LIMIT = 2.5


def strangeness(X: npt.NDArray[np.floating]) -> Floats:
    found: Floats = np.sqrt((X[:, :2].astype(np.float64) ** 2).sum(axis=1))
    return found


def write_anomalies(
    bench: Bench,
    numbers: Iterable[int],
    *,
    wrong: bool = False,
    labelled: bool = True,
    versions: Mapping[int, float] = MappingProxyType({1: 1.0}),
) -> None:
    """Write days of traffic with labels. versions: scale of the scores of each; the first is the champion."""
    for number in numbers:
        day = WORLD.day(number)
        ids, score, times = [f"{number}-{row}" for row in range(300)], strangeness(day.X), day.times.tolist()
        columns: dict[str, Any] = dict.fromkeys(("entities", "error", "confidence"), [None] * 300)
        columns |= {"prediction_id": ids, "model": ["delay"] * 300, "route": ["split"] * 300, "revision": [1] * 300}
        columns |= {"event_time": times, "logged_at": times, "features": list(day.X)}
        columns |= {"latency_us": [2000] * 300, "cpu_us": [80] * 300}
        for version, scale in versions.items():
            role = "champion" if version == 1 else "challenger"
            own = {"version": [version] * 300, "role": [role] * 300, "served": [version == 1] * 300}
            bench.log.append(columns | own | {"score": (scale * score).tolist()})
        if labelled:
            y = anomalies(number, score)
            end = [(FIRST_DAY + number + 1) * DAY - 1] * 300
            given = {"label": (1 - y if wrong else y).tolist(), "known_at": end, "received_at": end}
            bench.log.append_labels({"prediction_id": ids, "model": ["delay"] * 300, **given})


def anomalies(number: int, score: Floats) -> Floats:
    p = 1 / (1 + np.exp(-4 * (score - LIMIT)))
    return (np.random.default_rng((5, number)).random(len(score)) < p).astype(np.float64)


def anomaly_reference(*, labelled: bool, scale: float = 1.0) -> Reference:
    days = [WORLD.day(n) for n in range(DAYS)]
    X = np.concatenate([day.X for day in days])
    y = np.concatenate([anomalies(n, strangeness(day.X)) for n, day in enumerate(days)])
    return build_reference(
        X,
        scale * strangeness(X),
        y if labelled else np.full(len(X), np.nan),
        np.concatenate([day.times for day in days]),
        NAMES,
        window=ANOMALY.decide.window,
        task="anomaly",
        threshold=scale * LIMIT,
        costs={},
    )


def watch(bench: Bench, *found: Reference) -> None:
    """Let a monitor see all of the log. found: the reference of each version."""
    clock = ManualClock(EPOCH)
    Monitor(bench.book, bench.log, ANOMALY, lambda m, v: found[v - 1], clock, checkpoint=bench.checkpoint).step()


def test_an_anomaly_model_without_labels_is_watched_by_inputs_and_scores_alone(bench: Bench) -> None:
    write_anomalies(bench, range(DAYS, DAYS + 5), labelled=False)
    watch(bench, anomaly_reference(labelled=False))
    assert lowest(bench.signals("prediction")) > 0.05
    assert bench.signals("concept") == []
    assert not any(name.startswith("estimated") for report in bench.reports("closed") for name in report.metrics)


def test_wrong_decisions_on_anomalies_are_concept_drift_against_the_reference(bench: Bench) -> None:
    write_anomalies(bench, range(DAYS, DAYS + 4))
    write_anomalies(bench, range(DAYS + 4, DAYS + 14), wrong=True)
    watch(bench, anomaly_reference(labelled=True))
    concept = bench.signals("concept")
    assert concept[0].statistic == "share of wrong decisions - its expectation"
    assert abs(concept[0].value) < 0.03
    assert min(s.p_seq for s in concept[:4] if s.p_seq is not None) > 0.05
    assert lowest(concept) < 0.01
    report = bench.reports()[0]
    score = strangeness(WORLD.day(DAYS).X)
    y = anomalies(DAYS, score)
    assert report.metrics["roc_auc"] == pytest.approx(metric_value("roc_auc", y, score))
    assert report.metrics["false_negative_mean"] == pytest.approx(((y == 1) & (score < LIMIT)).mean())


def test_each_anomaly_model_decides_by_its_own_threshold_when_two_are_compared(bench: Bench) -> None:
    write_anomalies(bench, range(DAYS, DAYS + 3), versions={1: 1.0, 2: 100.0})
    watch(bench, anomaly_reference(labelled=True), anomaly_reference(labelled=True, scale=100.0))
    report = bench.reports(version=2)[0]
    gains = {name: value for name, value in report.metrics.items() if name.endswith("_gain")}
    assert report.metrics["paired_rows"] == 300
    assert {"paired_f1_gain", "paired_money_gain"} <= set(gains)
    assert set(gains.values()) == {0.0}, "both decide alike"
