"""The catalog of metrics: every task has its own, and what is shown fits the task."""

from __future__ import annotations

from typing import get_args

import pytest

from trimtab.metric_catalog import BY_TASK, FAIRNESS, METRICS, TASKS, Mistake, Task, fitting, headline


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_defaults_of_its_own(task: Task) -> None:
    of = BY_TASK[task]
    named = (of.accuracy_gate, of.promotion, *of.summary, *of.paired, *of.training)
    assert all(task in METRICS[name].tasks for name in named)
    assert task in FAIRNESS[of.fairness]
    assert set(of.summary) <= set(fitting(task))
    assert set(of.costs) <= set(get_args(Mistake))


def test_a_window_is_shown_by_the_metric_of_its_task() -> None:
    assert headline({"p99_ms": 3.0}) is None
    assert headline({"brier": 0.1, "log_loss": 0.3}) == ("log_loss", 0.3)
    assert headline({"mae": 1.0, "rmse": 2.0}) == ("rmse", 2.0)


def test_words_for_the_worse_follow_the_direction() -> None:
    assert (METRICS["roc_auc"].worsening, METRICS["roc_auc"].better) == ("drop", "more")
    assert (METRICS["rmse"].worsening, METRICS["rmse"].better) == ("rise", "less")


def test_a_gain_is_positive_whichever_way_the_metric_goes() -> None:
    assert METRICS["roc_auc"].gain(0.8, 0.7) == pytest.approx(0.1)
    assert METRICS["rmse"].gain(3.0, 4.0) == 1.0
