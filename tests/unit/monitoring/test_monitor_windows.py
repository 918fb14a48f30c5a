"""When the windows of a real log close and mature, and which rows and labels are in them."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.clock import from_micros
from trimtab.policy.rollout import PromoteWhen, Rollout
from trimtab.testing.predictions import label_rows, prediction_rows
from trimtab.testing.streams import DAY, FIRST_DAY, Variant, World, log_rows, play, truth
from unit.monitoring.monitor_bench import POLICY, QUIET, Bench


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


def test_the_metric_of_promotion_is_computed_for_every_window(bench: Bench) -> None:
    policy = POLICY.model_copy(update={"rollout": Rollout(promote_when=PromoteWhen(metric="f1"))})
    play(bench.log, World(label_hours=1.0), range(3), ticks=24)
    bench.monitor(policy=policy).step()
    metrics = bench.reports()[0].metrics
    assert metrics["f1"] > 0
    assert "recall" not in metrics


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
    log_rows(bench.log, QUIET.day(0), 0, np.arange(5), Variant(version=1), served=True, model="delay")
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


@pytest.mark.parametrize(("later", "ahead"), [(DAY, 0), (DAY + 1, 1)])
def test_a_row_may_be_a_window_later_than_its_time_of_logging(bench: Bench, later: int, ahead: int) -> None:
    monitor = bench.monitor()
    logged = FIRST_DAY * DAY
    row = prediction_rows(["a"], version=[1], event_time=[logged + later], logged_at=[logged], features=[[0.0] * 4])
    bench.log.append(row)
    monitor.step()
    assert monitor.ahead == ahead


def test_a_small_window_is_judged_together_with_the_next(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, QUIET, [0])
    play(bench.log, World(rows=100), [1])
    play(bench.log, QUIET, [2, 3, 4])
    monitor.step()
    closed = bench.reports("closed")
    assert [r.rows for r in closed] == [300, 400, 300]
    assert closed[1].end - closed[1].start == 2 * (closed[0].end - closed[0].start)


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
