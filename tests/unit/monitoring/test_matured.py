"""The paired comparison of a challenger with its champion, on the same labelled rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trimtab.metric_catalog import BY_TASK, TASKS, Task
from trimtab.monitoring.matured import loss_bounds, paired_gains, quality
from trimtab.monitoring.prediction_rows import Scored

NAN = float("nan")
ANSWERS: dict[str, Any] = {"task": "regression", "threshold": 0.5, "metric": "rmse"}


def scored(version: int, **scores: float) -> Scored:
    """Return what a version gave for each prediction."""
    ids, values = pa.array(list(scores), pa.string()), np.array(list(scores.values()))
    role: Any = "champion" if version == 1 else "challenger"
    return Scored(version=version, role=role, ids=ids, score=values, rows=len(ids), served=0, requests=len(ids))


def test_the_gain_is_positive_where_the_challenger_is_nearer_to_the_labels() -> None:
    champion, challenger = scored(1, a=13.0, b=17.0), scored(2, b=19.0, a=11.0)
    found = paired_gains(champion, challenger, np.array([20.0, 10.0]), **ANSWERS)
    assert (found["paired_rows"], found["paired_version"]) == (2, 1)
    assert found["paired_rmse_gain"] == pytest.approx(2)
    other = paired_gains(challenger, champion, np.array([10.0, 20.0]), **ANSWERS)
    assert other["paired_rmse_gain"] == pytest.approx(-2)


def test_only_rows_that_both_scored_and_that_have_a_label_are_paired() -> None:
    champion, challenger = scored(1, a=13.0, b=NAN, d=0.0), scored(2, a=11.0, b=1.0, c=1.0, d=9.0)
    found = paired_gains(champion, challenger, np.array([10.0, 10.0, 10.0, NAN]), **ANSWERS)
    assert found["paired_rows"] == 1
    assert found["paired_rmse_gain"] == pytest.approx(2)


def test_each_version_is_judged_by_its_own_threshold() -> None:
    # given two anomaly models that decide alike on scores of another scale
    y = np.array([1.0, 0.0, 1.0, 0.0])
    champion, challenger = scored(1, a=0.9, b=0.2, c=0.4, d=0.1), scored(2, a=90.0, b=20.0, c=40.0, d=10.0)
    settings: dict[str, Any] = {"task": "anomaly", "threshold": 50.0, "metric": "f1"}
    costs = {"false_negative": 100.0, "false_positive": 1.0}
    found = paired_gains(champion, challenger, y, champion_threshold=0.5, costs=costs, **settings)
    # then neither is better
    gains = {name: value for name, value in found.items() if name.endswith("_gain")}
    assert {"paired_f1_gain", "paired_money_gain"} <= set(gains)
    assert set(gains.values()) == {0.0}


def test_one_level_of_a_quantile_compares_two_versions() -> None:
    champion, challenger = scored(1, a=1.0, b=1.0), scored(2, a=1.0, b=1.0)
    settings: dict[str, Any] = {**ANSWERS, "threshold": 0.9, "metric": "mean_pinball_loss"}
    found = paired_gains(champion, challenger, np.array([2.0, 3.0]), champion_threshold=0.1, **settings)
    assert found["paired_mean_pinball_loss_gain"] == 0


@pytest.mark.parametrize(
    ("task", "metric", "costs", "gain"),
    [
        ("binary", "log_loss", {"false_negative": 100.0, "false_positive": 1.0}, 49.5),
        ("anomaly", "roc_auc", {"false_negative": 100.0, "false_positive": 1.0}, 49.5),
        ("regression", "rmse", {"over_prediction": 5.0, "under_prediction": 1.0}, -1.4),
    ],
)
def test_the_gain_in_money_is_positive_where_the_mistakes_of_the_challenger_cost_less(
    task: str, metric: str, costs: dict[str, float], gain: float
) -> None:
    # the champion misses b, and the challenger gives a false alarm for a
    champion, challenger = scored(1, a=0.1, b=0.2), scored(2, a=0.8, b=0.9)
    settings: dict[str, Any] = {"task": task, "threshold": 0.5, "metric": metric, "costs": costs}
    found = paired_gains(champion, challenger, np.array([0.0, 1.0]), **settings)
    assert found["paired_money_gain"] == pytest.approx(gain)
    other = paired_gains(challenger, champion, np.array([0.0, 1.0]), **settings)
    assert other["paired_money_gain"] == pytest.approx(-gain)


@pytest.mark.parametrize("task", TASKS)
def test_the_headline_of_every_task_has_bounds(task: Task) -> None:
    random = np.random.default_rng(1)
    score = random.dirichlet([2, 2, 2], 200) if task == "multiclass" else random.random(200)
    y = random.integers(0, 2, 200).astype(float)
    metrics = quality(y, score, task=task, threshold=0.5) | loss_bounds(y, score, task=task, threshold=0.5)
    name = BY_TASK[task].summary[0]
    assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]


def test_the_metric_of_the_policy_has_bounds_too_where_it_is_a_mean_over_rows() -> None:
    y, score = np.tile([0.0, 1.0, 1.0], 30), np.tile([0.3, 0.6, 0.9], 30)
    assert "brier_low" in loss_bounds(y, score, task="binary", threshold=0.5, metric="brier")
    assert np.isnan(loss_bounds(y, score, task="binary", threshold=0.5, metric="f1")["f1_low"])
    assert set(loss_bounds(y, score, task="binary", threshold=0.5, metric="money")) == {"log_loss_low", "log_loss_high"}
