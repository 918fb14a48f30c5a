"""Multiclass models and outlier detectors are served with the scores of their estimators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDOneClassSVM
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC, OneClassSVM

from trimtab.errors import StageError
from trimtab.training.forms import choose
from trimtab.training.scores import native_scores

Array = np.ndarray[Any, Any]
FEATURES = ("a", "b", "c")


def rows(seed: int = 0, count: int = 400) -> tuple[Array, Array]:
    """Return rows and the classes 0, 1, 2."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(count, 3)).astype(np.float32)
    return X, np.digitize(X[:, 0] + 0.3 * random.normal(size=count), [-0.6, 0.5]).astype(np.float64)


def lightgbm() -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=5, verbose=-1)


def xgboost() -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=5)


CLASSIFIERS: list[Callable[[], Any]] = [
    LogisticRegression,
    lambda: RandomForestClassifier(10, random_state=0),
    lambda: HistGradientBoostingClassifier(max_iter=5),
    lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
    lambda: CalibratedClassifierCV(LinearSVC(), cv=2),
    lightgbm,
    xgboost,
]
DETECTORS: list[Callable[[], Any]] = [
    lambda: IsolationForest(n_estimators=10, random_state=0),
    OneClassSVM,
    lambda: LocalOutlierFactor(novelty=True),
    lambda: SGDOneClassSVM(random_state=0),
    EllipticEnvelope,
    lambda: make_pipeline(StandardScaler(), IsolationForest(n_estimators=10, random_state=0)),
]


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_a_classifier_gives_the_probability_of_each_class(make: Callable[[], Any]) -> None:
    X, y = rows()
    estimator = make().fit(X, y)
    scorer = choose(estimator, X, task="multiclass", features=FEATURES).scorer
    found = scorer.score(X)
    assert np.allclose(found, estimator.predict_proba(X), atol=1e-5)
    assert found.shape == (len(X), 3)


@pytest.mark.parametrize("make", DETECTORS)
def test_an_outlier_detector_gives_more_for_what_is_stranger(make: Callable[[], Any]) -> None:
    X, _ = rows()
    estimator = make().fit(X)
    found = choose(estimator, X, task="anomaly", features=FEATURES).scorer.score(X)
    assert np.allclose(found, -estimator.score_samples(X), atol=1e-4 * np.std(found))
    if isinstance(estimator, SGDOneClassSVM):
        return  # linear: what is far on its good side is usual
    far = np.full((1, 3), 8.0, dtype=np.float32)
    assert native_scores(estimator, far, "anomaly")[0] > np.median(found)


def test_a_class_without_rows_in_a_fold_gets_no_probability() -> None:
    X, y = rows()
    estimator = LogisticRegression().fit(X[y != 1], y[y != 1])
    found = native_scores(estimator, X, "multiclass", 3)
    assert (found[:, 1] == 0).all()
    assert np.allclose(found[:, [0, 2]], estimator.predict_proba(X))


@pytest.mark.parametrize(
    ("make", "task", "words"),
    [
        (LinearSVC, "multiclass", "LinearSVC has no predict_proba; a multiclass model must give probabilities"),
        (LogisticRegression, "regression", "LogisticRegression is a classifier"),
        (SimpleImputer, "anomaly", "an anomaly model is an outlier detector such as IsolationForest"),
    ],
)
def test_an_estimator_of_another_task_is_refused(make: Callable[[], Any], task: Any, words: str) -> None:
    X, y = rows()
    estimator = make().fit(X, y)
    with pytest.raises(StageError, match=words):
        choose(estimator, X, task=task, features=FEATURES)


def test_labels_that_are_no_indices_of_classes_are_refused() -> None:
    X, y = rows()
    estimator = LogisticRegression().fit(X, np.array(["low", "mid", "high"])[y.astype(int)])
    with pytest.raises(StageError, match=r"fit it on data\.y, whose classes are 0 to 2"):
        native_scores(estimator, X, "multiclass", 3)


def test_numbers_that_are_no_probabilities_are_refused() -> None:
    class Odd:
        classes_ = np.arange(3.0)

        def predict_proba(self, X: Array) -> Array:
            return np.ones((len(X), 3))

    with pytest.raises(StageError, match="add up to 3 over the classes of a row"):
        native_scores(Odd(), rows()[0], "multiclass", 3)
