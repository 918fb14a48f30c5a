"""The whole monitor on a real log and a real book of records: windows, alarms, crashes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trimtab.clock import EPOCH, ManualClock, from_micros
from trimtab.definitions import Task
from trimtab.monitoring import Comparison, Monitor, Reference, build_reference, compare
from trimtab.policy import Policy, parse_policy
from trimtab.records import Profile, Record, Signal, SignalKind, WindowReport
from trimtab.stores.metadata import Metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.predictions import Predictions
from trimtab.stores.predictions.segments import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows
from trimtab.testing.streams import DAY, FIRST_DAY, NAMES, Lane, World, log_rows, play, truth

POLICY = parse_policy(
    """
project: flights
impact: { currency: USD, cost: { false_negative: 40, false_positive: 5 } }
decide: { labels_mature_after: 1d }
"""
)
DAYS = 60
QUIET = World()


@cache
def reference(days: int = DAYS, *, rows: int = 300, worse_model: bool = False) -> Reference:
    """Return the reference of the quiet world's first days."""
    every = [World(rows=rows).day(n) for n in range(days)]
    X = np.concatenate([day.X for day in every])
    return build_reference(
        X,
        truth(X),
        np.concatenate([day.y for day in every]),
        np.concatenate([day.times for day in every]),
        NAMES,
        window=POLICY.decide.window,
        task="binary",
        threshold=POLICY.impact.threshold,
        costs=POLICY.impact.cost,
    )


class Bench:
    """A log, a book of records, and monitors on them."""

    def __init__(self, folder: Path) -> None:
        self.log: Predictions = SegmentLog(folder / "log", segment_rows=5_000)
        self.book: Metadata = SqlMetadata(folder / "metadata.db")
        self.bookmark = folder / "monitor.json"

    def monitor(
        self, *, book: Metadata | None = None, policy: Policy = POLICY, known: Reference | bool | None = True
    ) -> Monitor:
        """Return a new monitor, as a new process would make it."""
        found = reference() if known is True else known or None
        book, clock = book or self.book, ManualClock(EPOCH)
        return Monitor(book, self.log, policy, lambda model, version: found, clock, bookmark=self.bookmark)

    def reports(self, stage: str = "matured", **where: Any) -> list[WindowReport]:
        """Return reports, oldest first."""
        return list(self.book.find(WindowReport, oldest_first=True, stage=stage, **where))

    def signals(self, kind: SignalKind, subject: str = "all", version: int = 1) -> list[Signal]:
        """Return the signals of a kind, oldest first."""
        found = self.book.find(Signal, oldest_first=True, kind=kind, version=version)
        return [s for s in found if s.subject == subject]

    def content(self) -> dict[str, bytes]:
        """Return all records but for when they were written."""
        kinds: tuple[type[Record], ...] = (WindowReport, Profile, Signal)
        found = [r for kind in kinds for r in self.book.find(kind)]
        return {r.id: msgspec.json.encode(msgspec.structs.replace(r, created_at=EPOCH)) for r in found}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.log.close()
    made.book.close()


# --- windows


def test_a_window_closes_after_its_lateness_and_matures_when_all_its_labels_are_there(bench: Bench) -> None:
    monitor = bench.monitor()
    seen: list[tuple[str, int]] = []

    def step() -> None:
        seen.extend((r.stage, monitor.watermark // (DAY // 24) - FIRST_DAY * 24) for r in monitor.step())

    play(bench.log, World(label_hours=1.0), range(3), ticks=24, after_tick=step)
    assert [(stage, hour // 24) for stage, hour in seen] == [
        ("closed", 1),
        ("matured", 1),
        ("closed", 2),
        ("matured", 2),
    ]
    assert seen[0][1] == 25, "an hour after midnight"
    first = bench.reports()[0]
    assert (first.start, first.end) == (from_micros(FIRST_DAY * DAY), from_micros((FIRST_DAY + 1) * DAY))
    assert (first.rows, first.served_rows, first.labelled, first.coverage) == (300, 300, 300, 1.0)
    assert first.id == "delay/v1/2024-10-04T00:00:00Z/matured"
    assert {"log_loss", "roc_auc", "brier", "accuracy", "money_lost", "p99_ms", "error_rate", "cost"} <= set(
        first.metrics
    )


def test_without_all_labels_a_window_matures_when_its_time_is_over(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, World(label_hours=20.0), range(4), ticks=24, after_tick=monitor.step)
    matured = bench.reports()
    assert len(matured) == 2
    due = FIRST_DAY * DAY + 2 * DAY
    in_time = int((World(label_hours=20.0).day(0).known_at <= due).sum())
    assert matured[0].labelled == in_time < 300


def test_labels_that_come_when_their_window_was_judged_change_nothing_and_are_counted(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, World(label_hours=20.0), range(4), ticks=24, after_tick=monitor.step)
    before = bench.content()
    given_up, ids = monitor.unmatched_labels, [f"delay-0-{row}" for row in range(300)]
    known = [FIRST_DAY * DAY + DAY // 2] * 300
    bench.log.append_labels(label_rows(ids, label=[0.0] * 300, known_at=known, received_at=known))
    monitor.step()
    assert bench.content() == before
    assert monitor.unmatched_labels == given_up + 300


def test_an_explicit_watermark_closes_what_no_row_would(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, QUIET, range(2))
    monitor.step()
    assert len(bench.reports("closed")) == 1
    monitor.step(watermark=from_micros((FIRST_DAY + 3) * DAY))
    assert len(bench.reports("closed")) == len(bench.reports("matured")) == 2


def test_a_late_row_is_left_out_and_counted(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, QUIET, range(2))
    log_rows(bench.log, QUIET.day(0), 0, np.arange(5), Lane(version=1), served=True, model="delay")
    play(bench.log, QUIET, [2])
    monitor.step()
    assert monitor.late == 5
    assert [r.rows for r in bench.reports("closed")] == [300, 300]


def test_one_wrong_clock_does_not_close_all_windows_up_to_it(bench: Bench) -> None:
    monitor = bench.monitor()
    start = FIRST_DAY * DAY
    wrong = prediction_rows(
        ["a"], version=[1], event_time=[start + 3650 * DAY], logged_at=[start], features=[[0.0] * 4], score=[0.5]
    )
    bench.log.append(wrong)
    play(bench.log, QUIET, range(3))
    monitor.step()
    assert (monitor.ahead, monitor.late) == (1, 0)
    assert [r.rows for r in bench.reports("closed")] == [300, 300]


def test_a_small_window_is_judged_together_with_the_next(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, QUIET, [0])
    play(bench.log, World(rows=100), [1])
    play(bench.log, QUIET, [2, 3, 4])
    monitor.step()
    closed = bench.reports("closed")
    assert [r.rows for r in closed] == [300, 400, 300]
    assert closed[1].end - closed[1].start == 2 * (closed[0].end - closed[0].start)


def test_a_version_that_saw_a_part_of_the_window_is_reported_but_not_compared(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, QUIET, [0])
    lane = Lane(version=2, role="challenger")
    log_rows(bench.log, QUIET.day(0), 0, np.arange(250, 300), lane, served=False, model="delay")
    play(bench.log, QUIET, [1, 2, 3], [Lane(version=1), Lane(version=2, role="challenger")])
    monitor.step()
    reports = bench.reports(version=2)
    assert [(r.rows, r.role, r.served_rows) for r in reports] == [(50, "challenger", 0), (300, "challenger", 0)]
    assert "paired_rows" not in reports[0].metrics
    assert reports[1].metrics["paired_rows"] == 300
    assert reports[1].metrics["paired_log_loss_gain"] == 0.0
    assert len(bench.signals("data", version=2)) == 2
    assert len(bench.signals("data", version=1)) == 3


def test_failures_latency_and_cost_are_told(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, QUIET, range(2), [Lane(version=1, failing=0.1, latency_ms=5.0)])
    monitor.step()
    (closed,) = bench.reports("closed")
    failed = round(closed.metrics["error_rate"] * 300)
    assert 15 < failed < 50
    assert closed.metrics["p50_ms"] == pytest.approx(5.0, rel=0.1)
    assert closed.metrics["cost"] == pytest.approx(300 * 80 / 3.6e9 * POLICY.prices.cpu_hour)
    assert bench.signals("error")[0].reason == f"{failed} of 300 predictions failed"
    assert bench.signals("cost")[0].value == pytest.approx(1000 * closed.metrics["cost"] / 300)


def test_a_slow_version_stands_out_from_its_own_first_windows(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, QUIET, range(33))
    play(bench.log, QUIET, range(33, 38), [Lane(version=1, latency_ms=20.0)])
    monitor.step()
    latency = bench.signals("latency")
    assert all(s.p_seq is None for s in latency[:30])
    assert latency[32].p_seq == 1.0
    assert latency[33].p is not None
    assert latency[33].p < 0.05
    assert latency[33].effect["rise_sd"] > 5


def test_without_a_reference_operations_are_told_and_nothing_is_compared(bench: Bench) -> None:
    monitor = bench.monitor(known=False)
    play(bench.log, QUIET, range(4))
    monitor.step()
    assert [r.labelled for r in bench.reports()] == [300, 300]
    assert bench.signals("data") == []
    assert len(bench.signals("error")) == 3


def test_a_reference_of_other_windows_is_not_compared_with(bench: Bench) -> None:
    policy = parse_policy("project: p\ndecide: { window: 12h }\n")
    monitor = bench.monitor(policy=policy)
    play(bench.log, QUIET, range(3))
    monitor.step()
    assert bench.signals("data") == []
    assert len(bench.reports("closed")) > 2


def test_models_do_not_mix(bench: Bench) -> None:
    monitor = bench.monitor()
    for day in range(3):
        play(bench.log, QUIET, [day], model="delay")
        play(bench.log, World(seed=1), [day], model="fraud")
    monitor.step()
    assert [len(bench.reports("closed", model=model)) for model in ("delay", "fraud")] == [2, 2]
    assert bench.reports(model="delay")[0].metrics != bench.reports(model="fraud")[0].metrics


def test_rows_of_matured_windows_are_forgotten(bench: Bench) -> None:
    monitor = bench.monitor()
    most = 0

    def step() -> None:
        nonlocal most
        monitor.step()
        most = max(most, monitor.rows_kept, monitor.labels_kept)

    play(bench.log, QUIET, range(12), ticks=4, after_tick=step)
    assert monitor.rows == 3600
    assert most < 1000, "three days of rows"


def test_unknown_labels_are_given_up_and_counted(bench: Bench) -> None:
    monitor = bench.monitor()
    moment = FIRST_DAY * DAY
    bench.log.append_labels(label_rows(["nobody", "no one"], known_at=[moment, moment + 5], received_at=[moment] * 2))
    play(bench.log, QUIET, range(5))
    monitor.step()
    assert monitor.unmatched_labels == 2


def test_labels_of_another_model_do_not_reach_the_predictions_of_this_one(bench: Bench) -> None:
    """Given true labels, and wrong ones of another model for the same ids that are known later."""
    monitor = bench.monitor()
    for number in range(3):
        ids = [f"delay-{number}-{row}" for row in range(300)]
        moment = [(FIRST_DAY + number) * DAY + DAY - 1] * 300
        bench.log.append_labels(label_rows(ids, model=["price"] * 300, known_at=moment, received_at=moment))
    play(bench.log, QUIET, range(4))
    monitor.step()
    honest = QUIET.day(0)
    assert bench.reports()[0].metrics["brier"] == pytest.approx(np.mean((truth(honest.X) - honest.y) ** 2))


def test_odd_rows_do_no_harm(bench: Bench) -> None:
    monitor = bench.monitor()
    start = FIRST_DAY * DAY
    odd = prediction_rows(
        ["a", "b", "c"],
        version=[1] * 3,
        event_time=[start, start + 1, start + 2],
        logged_at=[start] * 3,
        features=[None, [1.0], [float("nan")] * 4],
        score=[None, 0.5, float("nan")],
        confidence=[None] * 3,
        error=["no such entity", None, None],
    )
    bench.log.append(odd)
    play(bench.log, QUIET, range(3))
    monitor.step()
    first = bench.reports()[0]
    assert first.rows == 303
    assert first.labelled == 300
    assert bench.book.find(Profile, oldest_first=True)[0].rows == 301, "rows whose features fit"
    assert bench.signals("quality")[0].value == pytest.approx(4 / 4 / 301)


# --- alarms


def lowest(signals: Iterable[Signal]) -> float:
    return min(s.p_seq for s in signals if s.p_seq is not None)


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_quiet_stream_raises_no_alarm(bench: Bench, seed: int) -> None:
    play(bench.log, World(seed=seed), range(DAYS, DAYS + 30))
    bench.monitor().step()
    for kind in ("data", "prediction", "quality", "concept"):
        assert lowest(bench.signals(kind)) > 0.05, kind
    money = [s.value for s in bench.signals("kpi")]
    assert abs(np.mean(money)) < 60, "about what the reference lost"


def test_a_shifted_column_raises_the_alarm_of_the_inputs_and_names_the_column(bench: Bench) -> None:
    play(bench.log, World(seed=11), range(DAYS, DAYS + 6))
    play(bench.log, World(seed=11, shift={2: 0.7}), range(DAYS + 6, DAYS + 15))
    bench.monitor().step()
    data = bench.signals("data")
    assert lowest(data[:6]) > 0.05
    assert lowest(data) < 0.01
    assert data[-1].carriers[0] == NAMES[2]
    assert data[-1].reference_windows == DAYS
    assert bench.signals("data", subject=NAMES[2])[-1].effect["wasserstein_sd"] == pytest.approx(0.7, abs=0.2)
    assert lowest(bench.signals("concept")) > 0.05, "the column means nothing: no harm"


def test_turned_labels_raise_the_alarm_of_the_labels_and_cost_money_but_not_of_the_inputs(bench: Bench) -> None:
    play(bench.log, World(seed=11), range(DAYS, DAYS + 6))
    play(bench.log, World(seed=11, flip=0.25), range(DAYS + 6, DAYS + 16))
    bench.monitor().step()
    concept = bench.signals("concept")
    assert lowest(concept[:6]) > 0.05
    assert lowest(concept) < 0.01
    assert lowest(bench.signals("data")) > 0.05
    assert np.mean([s.value for s in bench.signals("kpi")[7:]]) > 100


def test_missing_values_raise_the_alarm_of_quality(bench: Bench) -> None:
    play(bench.log, World(seed=11, shift={3: float("nan")}), range(DAYS, DAYS + 6))
    bench.monitor().step()
    assert lowest(bench.signals("quality")) < 0.05
    assert bench.signals("quality")[-1].value == pytest.approx(0.25)


# --- looks, crashes and restarts

LANES = (Lane(version=1), Lane(version=2, role="challenger", worse=True, failing=0.02))


def write(log: Predictions, after_tick: Callable[[], object] = lambda: None) -> None:
    """Twelve days of life: a drift, a small day, and a challenger from that day on."""
    world = World(seed=5, label_hours=9.0, shift={2: 0.3})
    play(log, world, range(DAYS, DAYS + 5), ticks=6, after_tick=after_tick)
    play(log, World(seed=5, rows=90), [DAYS + 5], LANES, ticks=6, after_tick=after_tick)
    play(log, world, range(DAYS + 6, DAYS + 12), LANES, ticks=6, after_tick=after_tick)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a monitor writes that looks at every tick."""
    made = Bench(tmp_path_factory.mktemp("undisturbed"))
    monitor = made.monitor()
    write(made.log, monitor.step)
    content = made.content()
    made.log.close()
    made.book.close()
    assert len([id_ for id_ in content if id_.endswith("/closed")]) == 10 + 5
    assert len([id_ for id_ in content if id_.endswith("/matured")]) > 10
    return content


def test_looking_once_at_the_end_gives_the_same_records(bench: Bench, undisturbed: dict[str, bytes]) -> None:
    write(bench.log)
    bench.monitor().step()
    assert bench.content() == undisturbed


def test_a_new_process_at_every_look_gives_the_same_records(bench: Bench, undisturbed: dict[str, bytes]) -> None:
    ticks = 0

    def step() -> None:
        nonlocal ticks
        ticks += 1
        if ticks % 5 == 0:
            bench.monitor().step()

    write(bench.log, step)
    bench.monitor().step()
    assert bench.content() == undisturbed


class Dying:
    """A book of records in front of which the process dies: before the n-th write, or just after it."""

    def __init__(self, book: Metadata, *, at: int, after: bool) -> None:
        self._book, self._left, self._after = book, at, after

    def put(self, *records: Record) -> None:
        self._left -= 1
        if self._left == 0:
            if self._after:
                self._book.put(*records)
            raise KeyboardInterrupt
        self._book.put(*records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 7, 12, 19])
def test_a_process_that_dies_at_a_write_leaves_nothing_undone_and_nothing_twice(
    bench: Bench, undisturbed: dict[str, bytes], at: int, after: bool
) -> None:
    monitor = bench.monitor(book=Dying(bench.book, at=at, after=after))
    dead = False

    def step() -> None:
        nonlocal monitor, dead
        try:
            monitor.step()
        except KeyboardInterrupt:
            dead, monitor = True, bench.monitor()

    write(bench.log, step)
    monitor.step()
    assert dead
    assert bench.content() == undisturbed


def test_a_store_that_fails_once_is_written_to_by_the_next_step(bench: Bench, undisturbed: dict[str, bytes]) -> None:
    monitor = bench.monitor(book=Dying(bench.book, at=4, after=False))
    failed: Sequence[BaseException] = []

    def step() -> None:
        nonlocal failed
        try:
            monitor.step()
        except KeyboardInterrupt as error:
            failed = [*failed, error]

    write(bench.log, step)
    assert len(failed) == 1
    assert bench.content() == undisturbed


def test_a_regression_is_judged_on_its_own_terms(bench: Bench) -> None:
    task: Task = "regression"
    every = [QUIET.day(n) for n in range(DAYS)]
    X, y, times = (np.concatenate(part) for part in zip(*((d.X, d.y, d.times) for d in every), strict=True))
    known = build_reference(
        X, truth(X), y, times, NAMES, window=DAY, task=task, threshold=0.5, costs={"absolute_error": 2.0}
    )
    policy = parse_policy(
        "project: p\nimpact: { cost: { absolute_error: 2 } }\ndecide: { labels_mature_after: 1d }\n"
        "rollout: { promote_when: { metric: rmse } }\n"
    )
    play(bench.log, World(seed=11), range(DAYS, DAYS + 4), LANES)
    bench.monitor(policy=policy, known=known).step()
    matured = bench.reports(version=2)[0].metrics
    assert {"rmse", "mae", "r2", "paired_rmse_gain", "paired_mae_gain", "absolute_error_mean"} <= set(matured)
    assert "log_loss" not in matured
    assert lowest(bench.signals("concept")) > 0.05
    assert abs(np.mean([s.value for s in bench.signals("kpi")])) < 30


# --- champion and challenger


def test_a_better_challenger_is_promoted_and_an_equal_one_is_not(bench: Bench) -> None:
    lanes = (
        Lane(version=1, worse=True),
        Lane(version=2, role="challenger"),
        Lane(version=3, role="shadow", worse=True),
    )
    play(bench.log, World(seed=11), range(DAYS, DAYS + 14), lanes)
    bench.monitor().step()

    def look(challenger: int) -> Comparison:
        when = POLICY.rollout.promote_when
        return compare(bench.book, model="delay", champion=1, challenger=challenger, policy=when)

    assert (look(2).verdict, look(3).verdict) == ("promote", "continue")
    assert look(2).windows == look(3).windows == 12
    assert look(3).mean == 0.0
    assert "paired_rows" not in bench.reports(version=1)[0].metrics
