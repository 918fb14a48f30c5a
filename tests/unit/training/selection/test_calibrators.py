"""Calibration: probabilities become frequencies, keep their order, and can still be served."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB

from trimtab.definitions.models import Dataset
from trimtab.errors import StageError
from trimtab.stats.metrics import metric_value
from trimtab.training.forms import choose
from trimtab.training.scores import native_scores
from trimtab.training.selection.calibrators import Method, calibrated, like


def rows(seed: int, count: int = 1500, classes: int = 2) -> Dataset:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, 1)).astype(np.float32)
    X = np.hstack([X, X + rng.normal(size=(count, 1)) / 9, X + rng.normal(size=(count, 1)) / 9]).astype(np.float32)
    y = np.digitize(X[:, 0] + rng.normal(size=count), [0.0, 1.0][: classes - 1]).astype(np.float64)
    times = np.arange(count).astype("datetime64[h]").astype("datetime64[us]")
    return Dataset(X=X, y=y, feature_names=("a", "b", "c"), timestamps=times)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("classes", [2, 3])
def test_an_overconfident_model_is_calibrated(method: Method, classes: int) -> None:
    # given naive Bayes on three copies of one signal, which counts it three times
    train, validation, holdout = (rows(seed, classes=classes) for seed in (1, 2, 3))
    plain = GaussianNB().fit(train.X, train.y)
    made = calibrated(plain, validation, method)

    def loss(estimator: Any) -> float:
        scores = estimator.predict_proba(holdout.X)
        return metric_value("log_loss", holdout.y, scores[:, 1] if classes == 2 else scores)

    assert loss(made) < loss(plain) - 0.03
    assert made.predict_proba(holdout.X).sum(axis=1) == pytest.approx(np.ones(len(holdout.y)))


def test_the_curves_of_one_fit_are_put_on_another() -> None:
    train, validation = rows(1), rows(2)
    first = calibrated(GaussianNB().fit(train.X, train.y), validation, "sigmoid")
    second = GaussianNB().fit(validation.X, validation.y)
    moved = like(first, second)
    curve = moved.calibrated_classifiers_[0].calibrators[0]
    assert curve is first.calibrated_classifiers_[0].calibrators[0]
    assert first.calibrated_classifiers_[0].estimator is not second
    expected = curve.predict(second.predict_proba(train.X)[:, 1])
    assert moved.predict_proba(train.X)[:, 1] == pytest.approx(expected)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("absent", [0, 1, 2])
@pytest.mark.parametrize("classes", [2, 3])
def test_curves_of_other_classes_are_not_used(
    method: Method, absent: int, classes: int, caplog: pytest.LogCaptureFixture
) -> None:
    # given a fit on rows without one class, such as a stretch of time in which it did not occur
    absent = min(absent, classes - 1)
    train, validation = rows(1, classes=classes), rows(2, classes=classes)
    first = calibrated(LogisticRegression().fit(train.X, train.y), validation, method)
    part = validation.take(np.flatnonzero(validation.y != absent))
    second = GaussianNB().fit(part.X, part.y)
    # then its own probabilities stay, and the log says so
    moved = like(first, second)
    assert moved is second
    named = ", ".join(str(label) for label in range(classes) if label != absent)
    assert f"GaussianNB was fitted on the classes {named}, the curves of training.calibrate on 0, 1" in caplog.text
    # and the classes that it knows are in their columns
    known = native_scores(moved, part.X, "multiclass", classes)
    assert known[:, absent].max() == 0
    assert (known.argmax(axis=1) == part.y).mean() > 0.5


def test_a_calibrated_model_serves_from_onnx() -> None:
    train, validation = rows(1), rows(2)
    made = calibrated(LogisticRegression().fit(train.X, train.y), validation, "sigmoid")
    form = choose(made, train.X, task="binary", features=train.feature_names)
    assert form.runtime == "onnx"
    assert form.scorer.score(train.X) == pytest.approx(made.predict_proba(train.X)[:, 1], abs=1e-5)


def test_what_cannot_be_calibrated_is_refused() -> None:
    train = rows(1)
    with pytest.raises(StageError, match=r"training\.calibrate: Ridge is no scikit-learn classifier"):
        calibrated(Ridge().fit(train.X, train.y), train, "sigmoid")
    few = train.take(np.flatnonzero(train.y == 0))
    with pytest.raises(StageError, match=r"the validation rows have 0 of class 1; expected 5 or more"):
        calibrated(RandomForestClassifier(2, random_state=0).fit(train.X, train.y), few, "isotonic")
