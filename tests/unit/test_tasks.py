"""What the scores of each task mean: decisions, losses, mistakes, labels that fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trimtab.metric_catalog import BY_TASK, TASKS, Task
from trimtab.tasks import RULES, UNKNOWN_CLASS

Array = np.ndarray[Any, Any]


def of_task(task: Task, seed: int, rows: int = 40) -> tuple[Array, Array]:
    """Return labels and scores of a task."""
    random = np.random.default_rng(seed)
    if RULES[task].by_class:
        return random.integers(-1, 3, rows).astype(np.float64), random.dirichlet(np.ones(3), rows)
    if RULES[task].label == "number":
        return random.normal(size=rows), random.normal(size=rows)
    return random.integers(0, 2, rows).astype(np.float64), random.random(rows)


@pytest.mark.parametrize("task", TASKS)
@given(seed=st.integers(0, 10_000), threshold=st.floats(0.05, 0.95))
def test_decisions_mistakes_and_losses_agree(task: Task, seed: int, threshold: float) -> None:
    rules = RULES[task]
    y, scores = of_task(task, seed)
    decision, loss = rules.decide(scores, threshold), rules.loss(y, scores, threshold)
    made = rules.mistakes(y, scores, threshold)
    assert decision.shape == loss.shape == rules.squared(y, scores, threshold).shape == y.shape
    assert rules.main_score(scores).shape == y.shape
    assert not len(rules.wrong_labels(decision, classes=3))
    assert set(made) == set(BY_TASK[task].costs)
    assert (loss >= 0).all()
    if rules.decides:
        assert (sum(made.values()) == (decision != y)).all()


@given(arrays(np.float64, 20, elements=st.floats(0, 1)), st.integers(0, 999))
def test_two_classes_are_a_binary_model(p: Array, seed: int) -> None:
    y = np.random.default_rng(seed).integers(0, 2, 20).astype(np.float64)
    both = np.column_stack([1 - p, p])
    one, two = RULES["binary"], RULES["multiclass"]
    assert np.allclose(one.loss(y, p, 0.5), two.loss(y, both, 0.5), atol=1e-9)
    assert np.allclose(one.squared(y, p, 0.5), two.squared(y, both, 0.5))
    assert one.confidence is not None
    assert two.confidence is not None
    assert np.allclose(one.confidence(p), two.confidence(both))


def test_labels_that_do_not_fit_are_found() -> None:
    y = np.array([0.0, 1.0, 2.0, np.nan, 0.5])
    assert RULES["binary"].wrong_labels(y).tolist() == [0.5, 2.0]
    assert RULES["anomaly"].wrong_labels(y).tolist() == [0.5, 2.0]
    assert RULES["multiclass"].wrong_labels(y, classes=3).tolist() == [0.5]
    assert RULES["multiclass"].wrong_labels(np.array([UNKNOWN_CLASS]), classes=3).tolist() == [UNKNOWN_CLASS]
    assert not len(RULES["regression"].wrong_labels(y))
    assert RULES["regression"].wrong_labels(np.array([1.0, np.inf, np.nan, np.inf])).tolist() == [np.inf]


def test_a_row_of_an_unknown_class_is_a_large_finite_loss() -> None:
    rules, y, scores = RULES["multiclass"], np.array([UNKNOWN_CLASS]), np.array([[0.5, 0.5]])
    assert 30 < rules.loss(y, scores, 0.5)[0] < 40
    assert rules.squared(y, scores, 0.5)[0] == 0.75
    assert rules.mistakes(y, scores, 0.5)["misclassification"][0] == 1.0
