"""What a closed window says of how its versions ran, and when it is compared with nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trimtab.bundle.spec import Limits
from trimtab.clock import from_micros
from trimtab.policy.reader import parse_policy
from trimtab.records.monitoring import CHECKS, Profile
from trimtab.testing.predictions import prediction_rows
from trimtab.testing.streams import DAY, FIRST_DAY, Variant, log_rows, play
from unit.monitoring.monitor_bench import POLICY, QUIET, Bench, lowest, reference


def test_a_version_that_saw_a_part_of_the_window_is_reported_but_not_compared(bench: Bench) -> None:
    monitor = bench.monitor()
    play(bench.log, QUIET, [0])
    variant = Variant(version=2, role="challenger")
    log_rows(bench.log, QUIET.day(0), 0, np.arange(250, 300), variant, served=False, model="delay")
    play(bench.log, QUIET, [1, 2, 3], [Variant(version=1), Variant(version=2, role="challenger")])
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
    play(bench.log, QUIET, range(2), [Variant(version=1, failing=0.1, latency_ms=5.0)])
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
    play(bench.log, QUIET, range(33, 38), [Variant(version=1, latency_ms=20.0)])
    monitor.step()
    latency = bench.signals("latency")
    assert all(s.p_seq is None for s in latency[:30])
    assert latency[32].p_seq == 1.0
    assert latency[33].p is not None
    assert latency[33].p < 0.05
    assert latency[33].effect["rise_sd"] > 5


def test_failures_and_cost_that_rise_stand_out_and_what_stays_does_not(bench: Bench) -> None:
    play(bench.log, QUIET, range(33), [Variant(version=1, failing=0.02)])
    play(bench.log, QUIET, range(33, 40), [Variant(version=1, failing=0.2)])
    bench.monitor().step()
    errors, costs = bench.signals("error"), bench.signals("cost")
    assert all(s.p is None for s in (*errors[:30], *costs[:30]))
    assert all(s.p is not None and s.p > 0.01 for s in errors[30:33])
    assert errors[33].p is not None
    assert errors[33].p < 0.05
    assert errors[33].effect["rise_sd"] > 5
    assert errors[33].reference_windows == 30
    assert lowest(errors) < 0.01
    assert lowest(costs) > 0.05, "each row took as much processor time as before"


def test_a_version_that_scored_parts_of_some_days_is_compared_as_by_one_process(tmp_path: Path) -> None:
    once, often = Bench(tmp_path / "once"), Bench(tmp_path / "often")

    def played(bench: Bench, step: Callable[[int], object]) -> None:
        for day in range(40):
            play(bench.log, QUIET, [day])
            rows = np.arange(250, 300) if day % 7 == 3 else np.arange(300)  # of some days a few rows only
            challenger = Variant(version=2, role="challenger", failing=0.02 if day < 36 else 0.3)
            log_rows(bench.log, QUIET.day(day), day, rows, challenger, served=False, model="delay")
            step(day)

    def restart(day: int) -> None:
        if day == 36:
            shutil.rmtree(tmp_path / "often" / "detectors")
        if day in (24, 30, 36, 38, 39):
            often.monitor().step()

    played(once, lambda day: None)
    once.monitor().step()
    played(often, restart)
    found = [(s.p, s.p_seq) for s in once.signals("error", version=2)]
    assert (len(found), sum(p is not None for p, _ in found)) == (39, 3)
    assert min(p for p, _ in found if p is not None) < 0.05
    assert [(s.p, s.p_seq) for s in often.signals("error", version=2)] == found
    for each in (once, often):
        each.close()


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


def test_one_slow_request_of_many_rows_proves_no_slow_version(bench: Bench) -> None:
    # given 700 requests of one row, and one of 60 that waited for the machine
    n, start = 760, FIRST_DAY * DAY
    logged = [start + min(row, 700) for row in range(n)]
    latency = [1_000 + row % 7 for row in range(700)] + [300_000] * 60
    columns = {"version": [1] * n, "event_time": logged, "logged_at": logged, "latency_us": latency}
    bench.log.append(prediction_rows([f"r{row}" for row in range(n)], **columns))
    bench.monitor(known=False).step(watermark=from_micros(start + 3 * DAY))
    (closed,) = bench.reports("closed")
    assert closed.metrics["p99_ms"] == 300
    assert closed.metrics["p99_low_ms"] < 2


def test_one_failed_request_of_many_rows_proves_no_failing_version(bench: Bench) -> None:
    n, start = 760, FIRST_DAY * DAY
    logged = [start + min(row, 700) for row in range(n)]
    failed = [None] * 700 + ["no such row"] * 60
    ids = [f"r{row}" for row in range(n)]
    bench.log.append(prediction_rows(ids, version=[1] * n, event_time=logged, logged_at=logged, error=failed))
    bench.monitor(known=False).step(watermark=from_micros(start + 3 * DAY))
    (closed,) = bench.reports("closed")
    assert closed.metrics["failed_requests"] == 1
    assert closed.metrics["error_rate_low"] < 0.001 < closed.metrics["error_rate"]


def test_values_that_the_checks_do_not_expect_are_a_signal(bench: Bench) -> None:
    # given checks that two of the columns keep, but for a few rows of one of them
    first, second = reference().names[:2]
    limits = Limits(lowest={first: -1e9}, highest={second: 1.0})
    monitor = bench.monitor(known=replace(reference(), limits=limits))
    play(bench.log, QUIET, range(2))
    # when a day is over
    monitor.step()
    # then its signal says which share of the rows, and which column
    (found,) = bench.signals("quality", subject=CHECKS)
    share = float((QUIET.day(0).X[:, 1].astype(np.float32) > 1.0).mean())
    assert 0 < share < 1
    assert (found.value, found.effect, found.carriers) == (share, {second: share}, (second,))
    assert found.reason == f"{round(share * 300)} of 300 rows hold a value that is not expected: {second}"
