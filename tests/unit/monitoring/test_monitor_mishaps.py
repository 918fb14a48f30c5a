"""What must not stop the monitor, nor cost a window: odd figures, stores that are away, rows that are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from trimtab.clock import EPOCH, ManualClock, from_micros
from trimtab.definitions.models import Task
from trimtab.errors import DataError, StoreError
from trimtab.monitoring.monitor import Monitor
from trimtab.monitoring.reference import Reference, build_reference
from trimtab.policy.reader import parse_policy
from trimtab.records.monitoring import Profile, Signal, WindowReport
from trimtab.records.record import Record
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.predictions import label_rows, prediction_rows
from trimtab.testing.streams import DAY, FIRST_DAY, NAMES, Variant, World, play, truth
from unit.monitoring.monitor_bench import DAYS, POLICY, QUIET, Bench, reference

START = (FIRST_DAY + DAYS) * DAY
REGRESSION = parse_policy("project: p\nimpact: { cost: { absolute_error: 2 } }\ndecide: { labels_mature_after: 1d }\n")


def reference_of(task: Task) -> Reference:
    if task == "binary":
        return reference()
    every = [QUIET.day(n) for n in range(DAYS)]
    X, y, times = (np.concatenate(part) for part in zip(*((d.X, d.y, d.times) for d in every), strict=True))
    return build_reference(
        X, truth(X), y, times, NAMES, window=DAY, task=task, threshold=0.5, costs={"absolute_error": 2.0}
    )


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("figure", [1e300, -1.7e308, float("inf"), float("-inf"), float("nan"), 3e38])
def test_figures_that_nobody_can_average_stop_nothing(bench: Bench, figure: float, task: Task) -> None:
    # given predictions, features and labels of a client who can send what he wants
    odd, moment = ["x", "y", "z"], [START + 1, START + 2, START + 3]
    feature = figure if abs(figure) < 1e38 else float("inf")  # of which the log keeps 32 bits
    rows = prediction_rows(odd, version=[1] * 3, event_time=moment, logged_at=moment, features=[[feature] * 4] * 3)
    bench.log.append({**rows, "score": [figure, 0.5, figure]})
    bench.log.append_labels(label_rows(odd, label=[figure, figure, 1.0], known_at=moment, received_at=moment))
    play(bench.log, World(seed=3), range(DAYS, DAYS + 4))
    # when they are judged
    policy = REGRESSION if task == "regression" else POLICY
    bench.monitor(policy=policy, known=reference_of(task)).step()
    # then every window is, and the records can be read
    assert [r.rows for r in bench.reports()] == [303, 300]
    assert all(bench.book.find(kind) for kind in (Profile, Signal))


class Away:
    """A book of records that cannot be read at the n-th try."""

    def __init__(self, book: Metadata, *, at: int) -> None:
        self._book, self._left = book, at

    def find(self, kind: type[Record], /, **where: Any) -> Sequence[Record]:
        self._left -= 1
        if self._left == 0:
            raise StoreError("the store is away")
        return self._book.find(kind, **where)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)


@pytest.mark.parametrize("at", range(1, 15))
def test_a_store_that_cannot_be_read_costs_no_window(bench: Bench, at: int) -> None:
    variants = (Variant(version=1), Variant(version=2, role="challenger"))
    play(bench.log, World(seed=3, rows=200), range(DAYS, DAYS + 3), variants)
    book: Any = Away(bench.book, at=at)
    monitor = bench.monitor(book=book)
    with pytest.raises(StoreError):
        monitor.step()
    monitor.step()
    assert [(r.version, r.rows) for r in bench.reports("closed")] == [(1, 200), (2, 200)] * 2
    assert [(r.version, r.rows) for r in bench.reports()] == [(1, 200), (2, 200)]
    once = bench.content()
    # and the records are those of a monitor that nothing happened to
    other = Bench(bench.checkpoint.parent / "other")
    play(other.log, World(seed=3, rows=200), range(DAYS, DAYS + 3), variants)
    other.monitor().step()
    assert other.content() == once
    other.close()


@pytest.mark.parametrize("left", [0, 100])
def test_rows_that_are_gone_hold_up_no_later_window(bench: Bench, left: int) -> None:
    # given a window that was closed, and a log that has lost rows of it since
    play(bench.log, QUIET, [0, 1], [Variant(version=1), Variant(version=2, role="challenger")])
    bench.monitor().step()
    assert [r.rows for r in bench.reports("closed")] == [300, 300]
    bench.log.close()
    bench.log = SegmentLog(bench.checkpoint.parent / "what is left", segment_rows=5_000)
    play(bench.log, World(rows=left) if left else World(rows=1), [0])
    play(bench.log, QUIET, range(1, 5))
    # when a new process reads on
    bench.monitor().step()
    # then it goes on with what is left
    assert [r.rows for r in bench.reports("closed", version=1)] == [300, 300, 300, 300]
    assert [r.rows for r in bench.reports(version=1)] == [left or 1, 300, 300]


def test_a_broken_bundle_keeps_no_other_model_from_being_watched(bench: Bench) -> None:
    def find(model: str, version: int) -> Reference | None:
        if model == "fraud":
            raise DataError("reference/windows.json is not a reference")
        return reference()

    for day in range(3):
        for model in ("delay", "fraud"):
            play(bench.log, QUIET, [day], model=model)
    Monitor(bench.book, bench.log, POLICY, find, ManualClock(EPOCH)).step()
    assert {(s.model, s.kind) for s in bench.book.find(Signal)} >= {("delay", "data"), ("fraud", "error")}
    assert not bench.book.find(Signal, model="fraud", kind="data")


def test_a_model_that_only_shadows_is_watched(bench: Bench) -> None:
    play(bench.log, QUIET, range(4), [Variant(version=1, role="shadow")])
    bench.monitor().step()
    assert [(r.role, r.rows, r.labelled) for r in bench.reports()] == [("shadow", 300, 300)] * 2
    assert "paired_rows" not in bench.reports()[0].metrics


def test_labels_of_one_class_leave_out_what_they_do_not_define(bench: Bench) -> None:
    ids = [f"r{n}" for n in range(300)]
    moment = [START + n for n in range(300)]
    features = [[0.0] * 4] * 300
    bench.log.append(prediction_rows(ids, version=[1] * 300, event_time=moment, logged_at=moment, features=features))
    bench.log.append_labels(label_rows(ids, label=[1.0] * 300, known_at=moment, received_at=moment))
    bench.monitor().step(watermark=from_micros(START + 3 * DAY))
    (report,) = bench.book.find(WindowReport, stage="matured")
    assert "roc_auc" not in report.metrics
    assert {"log_loss", "brier", "accuracy"} <= set(report.metrics)
