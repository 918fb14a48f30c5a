"""Cross-fitted scores: no row is scored by a model that saw its stretch of time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from catboost import CatBoostClassifier
from hypothesis import given
from hypothesis import strategies as st
from lightgbm import LGBMClassifier
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from xgboost import XGBClassifier

from trimtab.definitions.models import Dataset, Model
from trimtab.definitions.sources import FileSource
from trimtab.errors import StageError
from trimtab.training.scores import EstimatorFailed, cross_fit, flagging, native_scores

SOURCE = FileSource("flights", "flights.parquet", timestamp="timestamp")


class Memory:
    """Gives 1 to every row that it was fitted on, else 0."""

    def __init__(self, X: np.ndarray[Any, Any]) -> None:
        self._known = {float(x) for x in X[:, 0]}

    def predict(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.array([float(float(x) in self._known) for x in X[:, 0]])


def dataset(times: list[int]) -> Dataset:
    """Rows whose only feature is their number."""
    count = len(times)
    return Dataset(
        X=np.arange(count, dtype=np.float32)[:, None],
        y=(np.arange(count) % 2).astype(np.float64),
        feature_names=("x",),
        timestamps=np.sort(np.array(times)).astype("datetime64[us]"),
    )


def remembering() -> Model:
    return Model(
        "memory",
        task="regression",
        examples=SOURCE,
        label="late",
        features=["x"],
        fit=lambda data, params, seed: Memory(data.X),
    )


@given(st.lists(st.integers(0, 60), min_size=8, max_size=80), st.integers(2, 4))
def test_no_row_is_scored_by_a_model_that_saw_it(times: list[int], folds: int) -> None:
    data = dataset(times)
    try:
        scores = cross_fit(remembering(), data, {}, 0, folds=folds)
    except StageError:
        assert max(times.count(t) for t in times) >= len(times) / folds, "only a crowded moment leaves one stretch"
        return
    assert (scores == 0.0).all()


def test_stretches_are_contiguous_and_of_about_equal_size() -> None:
    # given models that give the number of rows they were fitted on
    data = dataset(list(range(100)))
    model = remembering()
    sizes: list[int] = []

    def counting(data: Dataset, params: dict[str, Any], seed: int) -> Memory:
        sizes.append(len(data.y))
        return Memory(data.X)

    model.fit = counting
    cross_fit(model, data, {}, 0, folds=4)
    assert sizes == [75, 75, 75, 75]


def test_unlabelled_rows_are_scored_by_their_stretch() -> None:
    data, rows = dataset(list(range(0, 100, 2))), dataset(list(range(100)))
    assert cross_fit(remembering(), data, {}, 0, rows=rows).shape == (100,)


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(StageError, match="5 examples are too few for 4"):
        cross_fit(remembering(), dataset([1, 2, 3, 4, 5]), {}, 0)


def test_native_scores_are_the_probability_of_one() -> None:
    X = np.arange(10, dtype=np.float32)[:, None]
    y = (X[:, 0] > 4).astype(float)
    fitted = LogisticRegression().fit(X, y)
    assert (np.diff(native_scores(fitted, X, "binary")) > 0).all()
    never = DummyClassifier().fit(X, np.zeros(10))
    assert (native_scores(never, X, "binary") == 0.0).all()


def test_estimators_without_probabilities_or_with_other_classes_are_refused() -> None:
    X = np.arange(10, dtype=np.float32)[:, None]
    with pytest.raises(StageError, match="LinearSVC has no predict_proba"):
        native_scores(LinearSVC().fit(X, X[:, 0] > 4), X, "binary")
    with pytest.raises(StageError, match=r"classes \[1.0, 2.0\]; expected 0 and 1"):
        native_scores(LogisticRegression().fit(X, (X[:, 0] > 4) + 1.0), X, "binary")


def test_an_estimator_that_raises_is_named_with_what_about_the_rows_may_have_caused_it() -> None:
    rows = np.array([[1.0, np.nan], [0.0, 1.0]], dtype=np.float32)
    fitted = LogisticRegression().fit(np.eye(2), [0, 1])
    with pytest.raises(EstimatorFailed, match=r"LogisticRegression cannot score.*1 of 2 rows have missing.*SimpleImp"):
        native_scores(fitted, rows, "binary")
    with pytest.raises(EstimatorFailed, match=r"LinearRegression cannot score.*NotFittedError.*return a fitted"):
        native_scores(LinearRegression(), rows[1:], "regression")


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]) | st.floats(-3, 3), min_size=1, max_size=60),
    st.floats(0.01, 0.5),
)
def test_no_other_threshold_flags_a_share_that_is_nearer(values: list[float], share: float) -> None:
    scores = np.array(values)
    flagged = (scores >= flagging(scores, share)).mean()
    nearest = min(abs((scores >= limit).mean() - share) for limit in [*scores, np.inf])
    assert abs(flagged - share) <= max(nearest, 1 / len(scores)) + 1e-12


def test_a_score_that_most_rows_have_flags_none_of_them() -> None:
    scores = np.concatenate([np.zeros(990), np.ones(10)])
    assert (scores >= flagging(scores, 0.05)).sum() == 10
    assert (np.ones(50) >= flagging(np.ones(50), 0.05)).sum() == 0
    assert flagging(np.arange(100.0), 0.05) == 95, "as before where no two rows are alike"


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        LGBMClassifier(),
        XGBClassifier(),
        CatBoostClassifier(verbose=False, allow_writing_files=False),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("missing", [False, True])
def test_an_estimator_that_was_not_fitted_is_called_so(estimator: Any, missing: bool) -> None:
    rows = np.array([[1.0, np.nan if missing else 0.0], [0.0, 1.0]], dtype=np.float32)
    with pytest.raises(EstimatorFailed, match=r"cannot score.*return a fitted estimator: estimator\.fit"):
        native_scores(estimator, rows, "binary")
