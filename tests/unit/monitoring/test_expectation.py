"""The mistakes that a model expects of itself: money that hard rows cost is no loss beyond expectation."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.metric_catalog import Task
from trimtab.monitoring.expectation import Expectation
from trimtab.monitoring.mistakes import mean_mistakes


def test_a_binary_model_expects_the_mistakes_of_its_own_decisions() -> None:
    found = Expectation(task="binary").mistakes(np.array([0.1, 0.4, 0.7, 0.9]), threshold=0.5)
    assert found == {"false_negative": pytest.approx(0.5 / 4), "false_positive": pytest.approx(0.4 / 4)}


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_what_is_expected_is_what_happens_to_calibrated_scores_also_when_rows_are_harder(task: Task) -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(200_000) < 0.5
    if task == "binary":
        score = np.where(hard, rng.uniform(0.3, 0.7, hard.size), rng.uniform(0, 0.1, hard.size))
        y = (rng.random(hard.size) < score).astype(float)
    else:
        score = np.where(hard, rng.uniform(100, 200, hard.size), rng.uniform(0, 100, hard.size))
        y = score + rng.normal(size=hard.size) * np.where(hard, 50, 1)
    expectation = Expectation.fit(y, score, task=task)
    for rows in (hard, ~hard):
        found = expectation.mistakes(score[rows], threshold=0.5)
        made = mean_mistakes(y[rows], score[rows], task=task, threshold=0.5)
        for kind in found:
            assert found[kind] == pytest.approx(
                made[kind], rel=0.03, abs=0.005 if task == "binary" else 0.5
            )  # one bin holds rows of both


def test_an_expectation_of_an_earlier_release_knows_no_errors() -> None:
    assert Expectation(task="regression", edges=(1.0,), losses=(1.0, 2.0)).mistakes(np.ones(3), threshold=0.5) == {}
