"""Gates of multiclass and anomaly models: leaks, calibration by class, decisions that change, missing labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.bundle.outputs import in_order
from trimtab.gates.accuracy import judge_accuracy
from trimtab.gates.calibration_error import judge_calibration
from trimtab.gates.inputs import GateInputs
from trimtab.gates.leakage import judge_leakage
from trimtab.gates.robustness import CHANGED, judge_robustness
from trimtab.gates.table import evaluate
from trimtab.metric_catalog import Task
from trimtab.policy.gates import Accuracy, Bias, Calibration, Gates, Leakage, Robustness

Array = np.ndarray[Any, Any]
ROWS, CLASSES = 3_000, ("low", "mid", "top")


class Fixed:
    """A scorer that computes its scores from the rows."""

    in_process = True

    def __init__(self, task: Task, sharpness: float = 1.0) -> None:
        self.task, self._sharpness = task, sharpness

    def score(self, X: Array) -> Array:
        """Return probabilities of three classes by the first column, or the distance from 0."""
        if self.task == "regression":
            return X[:, 0].astype(np.float64) + 1.3
        if self.task == "anomaly":
            return np.abs(X[:, 0]).astype(np.float64)
        logits = self._sharpness * np.column_stack([-X[:, 0], np.zeros(len(X)), X[:, 0]]).astype(np.float64)
        odds = np.exp(logits)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def close(self) -> None:
        """No-op."""


def inputs(task: Task, y: Array | None = None, X: Array | None = None, **changed: Any) -> GateInputs:
    """Return rows of twenty days."""
    random = np.random.default_rng(0)
    X = random.normal(size=(ROWS, 2)).astype(np.float32) if X is None else X
    if y is None and task == "anomaly":
        y = (np.abs(X[:, 0]) + random.normal(0, 0.2, ROWS) > 2).astype(np.float64)
    elif y is None:
        y = np.array([random.choice(3, p=p) for p in Fixed("multiclass").score(X)], dtype=np.float64)
    usual: dict[str, Any] = {
        "X": X,
        "y": y,
        "timestamps": np.datetime64("2026-01-01", "us") + np.arange(ROWS) * np.timedelta64(10, "m"),
        "feature_names": ("a", "b"),
        "candidate": Fixed(task),
        "folder": Path(),
        "classes": CLASSES if task == "multiclass" else (),
        "threshold": 2.0,
        "groups": {"side": np.where(np.arange(ROWS) % 2, "left", "right")},
    }
    return GateInputs(**{**usual, **changed})


def test_a_multiclass_model_is_compared_with_its_champion_by_names() -> None:
    # given a champion that knows the classes in another order, and one of them not at all
    class Turned(Fixed):
        def score(self, X: Array) -> Array:
            return super().score(X)[:, [2, 1]]

    champion = in_order(Turned("multiclass"), ("top", "mid"), CLASSES)
    assert champion.score(np.ones((1, 2)))[0, 0] == 0.0
    judged = inputs("multiclass", champion=champion, champion_id="m/1")
    alone, against = judge_accuracy(judged, Accuracy(not_worse_than_champion_by=0.05))
    assert alone.metric == "balanced_accuracy"
    assert alone.verdict == "pass"
    assert "a model without skill reaches 0.3333" in alone.reason
    assert against.verdict == "pass"
    assert against.value > 0.05


def test_a_column_with_the_class_is_a_leak() -> None:
    clean = inputs("multiclass")
    leaky = inputs("multiclass", y=clean.y, X=np.column_stack([clean.X[:, 0], 3 - clean.y]).astype(np.float32))
    assert judge_leakage(clean, Leakage())[0].verdict == "pass"
    found = judge_leakage(leaky, Leakage())[0]
    assert (found.verdict, found.value, found.metric) == ("fail", 1.0, "roc_auc_ovr of one feature")
    assert "'b' alone explains the label" in found.reason


def test_calibration_names_the_class_that_is_worst() -> None:
    good = judge_calibration(inputs("multiclass"), Calibration(max=0.05))[0]
    bad = judge_calibration(inputs("multiclass", candidate=Fixed("multiclass", 4.0)), Calibration(max=0.05))[0]
    assert good.verdict == "pass"
    assert bad.verdict == "fail"
    assert bad.details["worst"] in ("low", "top")
    assert set(bad.details["classes"]) == set(CLASSES)
    assert bad.value == max(bad.details["classes"].values())


@pytest.mark.parametrize("task", ["multiclass", "anomaly"])
def test_decisions_that_change_under_noise_are_counted(task: Task) -> None:
    judged = inputs(task)
    found = judge_robustness(judged, Robustness(missing=0, noise=1.0, max_drop=0.9))[0]
    scores = judged.candidate.score(judged.X)
    assert found.details["changed_decisions"]["noise of 1 sd"] > 0.05
    assert np.isfinite(scores).all()


def test_without_labels_gates_say_that_they_do_not_judge() -> None:
    judged = inputs("anomaly", y=np.full(ROWS, np.nan))
    policy = Gates(
        robustness=Robustness(missing=0, noise=0.5, max_drop=0.01),
        bias=Bias(sensitive=["side"], max=0.1),
        calibration=Calibration(max=0.1),
        performance=None,
    )
    results = {result.gate: result for result in evaluate(judged, policy)}
    for gate in ("accuracy", "leakage"):
        assert results[gate].verdict == "warn"
        assert "not judged: the holdout has no rows that are labelled as anomalies" in results[gate].reason
    assert (results["robustness"].metric, results["robustness"].verdict) == (CHANGED, "fail")
    assert "of the rows get another decision under noise of 0.5 sd" in results["robustness"].reason
    assert results["bias"].metric == "demographic_parity_difference(side)"
    assert results["bias"].verdict == "pass"


def test_an_anomaly_score_is_judged_by_its_labels() -> None:
    alone = judge_accuracy(inputs("anomaly"), Accuracy(min=0.8))[0]
    assert (alone.metric, alone.verdict) == ("roc_auc", "pass")


def test_an_anomaly_model_keeps_its_promise_of_how_many_rows_it_reports() -> None:
    # given distances from 0 of a normal variable, of which 5% are above 1.96
    kept = judge_calibration(inputs("anomaly", threshold=1.96), Calibration(max=0.04))[0]
    broken = judge_calibration(inputs("anomaly", threshold=1.0), Calibration(max=0.04))[0]
    assert (kept.metric, kept.verdict, broken.verdict) == ("alarm_share_error", "pass", "fail")
    assert broken.value == pytest.approx(0.317 - 0.05, abs=0.03)
    assert broken.low is not None
    assert broken.high is not None
    assert broken.low < broken.value < broken.high
    assert "of the rows are reported, and training.contamination is 0.05" in broken.reason


def test_a_quantile_is_not_judged_as_a_mean() -> None:
    # given predictions of the 0.9 quantile
    random = np.random.default_rng(1)
    X = random.normal(size=(ROWS, 2)).astype(np.float32)
    y = X[:, 0] + random.normal(size=ROWS)
    judged = inputs("regression", y=y, X=X, objective="quantile:0.9", threshold=0.9)
    mean = judge_accuracy(judged, Accuracy(metric="rmse", max=2.0))[0]
    own = judge_accuracy(judged, Accuracy(metric="mean_pinball_loss"))[0]
    assert mean.verdict == "warn"
    assert "which rmse does not judge: gates.accuracy.metric: mean_pinball_loss" in mean.reason
    assert own.verdict == "pass"
    assert own.value == pytest.approx(0.175, abs=0.02)


def test_rows_without_scores_are_mistakes_of_every_class() -> None:
    class Holey(Fixed):
        def score(self, X: Array) -> Array:
            found = super().score(X)
            found[::2] = np.nan
            return found

    whole = judge_accuracy(inputs("multiclass"), Accuracy(metric="accuracy"))[0]
    holey = judge_accuracy(inputs("multiclass", candidate=Holey("multiclass")), Accuracy(metric="accuracy"))[0]
    assert holey.value == pytest.approx(whole.value / 2, abs=0.03)
