"""Rows that training lacks: what serves answers them as the estimator does, or refuses what the estimator refuses.

Estimators of every kind that scikit-learn, LightGBM and XGBoost have, with and without missing values in training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PolynomialFeatures, PowerTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor
from threadpoolctl import threadpool_limits

from trimtab.bundle.limits import FLOAT32_MAX, InputCheck, answers
from trimtab.errors import StageError
from trimtab.training.forms import Form, choose
from trimtab.training.scores import native_scores

NAN, INF = np.nan, np.inf
NAMES = ("a", "b", "c", "d")
RNG = np.random.default_rng(0)
WHOLE = RNG.normal(size=(300, 4)).astype(np.float32)
WHOLE[:, 1] += 5
WHOLE[:, 2] = RNG.integers(0, 5, 300)
WHOLE[:, 3] = np.abs(WHOLE[:, 3]) + 0.01
HOLEY = np.where(RNG.random(WHOLE.shape) < 0.1, NAN, WHOLE).astype(np.float32)
VALUE = np.abs(WHOLE[:, 0] + 0.7 * (WHOLE[:, 1] - 5) + (WHOLE[:, 2] == 2)) + 0.1
YES = (VALUE > 0.8).astype(float)
STRANGE = np.array(
    [NAN, INF, -INF, 1e39, -0.0, 0.0, 1e-38, 1e6, -1e6, 1e19, -1e19, 3e38, -3e38, 5, 7, -1, 2.5, 1.25, 100],
    dtype=np.float32,
)


def by_column(step: Any) -> ColumnTransformer:
    return ColumnTransformer([("c", step, [2])], remainder="passthrough")


ESTIMATORS: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestClassifier(10, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(5, random_state=0),
    "bagging": lambda: BaggingClassifier(n_estimators=5, random_state=0),
    "ada boost": lambda: AdaBoostClassifier(n_estimators=5, random_state=0),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=10, random_state=0),
    "hist gradient boosting": lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "by its categories": lambda: HistGradientBoostingClassifier(max_iter=5, categorical_features=[2]),
    "neighbours": lambda: KNeighborsClassifier(),
    "naive bayes": lambda: GaussianNB(),
    "discriminant": lambda: LinearDiscriminantAnalysis(),
    "logistic": lambda: LogisticRegression(),
    "imputed": lambda: make_pipeline(SimpleImputer(), LogisticRegression()),
    "imputed by neighbours": lambda: make_pipeline(KNNImputer(), LogisticRegression()),
    "scaled forest": lambda: make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)),
    "powers": lambda: make_pipeline(PolynomialFeatures(2), LogisticRegression(max_iter=500)),
    "box-cox": lambda: make_pipeline(
        ColumnTransformer([("d", PowerTransformer("box-cox"), [3])], remainder="passthrough"), LogisticRegression()
    ),
    "one hot": lambda: make_pipeline(by_column(OneHotEncoder()), LogisticRegression()),
    "one hot or nothing": lambda: make_pipeline(
        by_column(OneHotEncoder(handle_unknown="ignore")), LogisticRegression()
    ),
    "ordinal of twelve": lambda: make_pipeline(
        by_column(OrdinalEncoder(categories=[list(range(12))])), LogisticRegression()
    ),
    "ordinal or -1": lambda: make_pipeline(
        by_column(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)), LogisticRegression()
    ),
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1),
    "lightgbm, zero is missing": lambda: lightgbm.LGBMClassifier(
        n_estimators=5, verbose=-1, n_jobs=1, zero_as_missing=True
    ),
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=10, n_jobs=1),
    "xgboost by categories": lambda: xgboost.XGBClassifier(
        n_estimators=5, n_jobs=1, enable_categorical=True, feature_types=["q", "q", "c", "q"], max_cat_to_onehot=2
    ),
    "forest of values": lambda: RandomForestRegressor(5, random_state=0),
    "tree of values": lambda: DecisionTreeRegressor(random_state=0),
    "linear": lambda: LinearRegression(),
    "poisson": lambda: PoissonRegressor(),
    "lightgbm of values": lambda: lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1),
}
VALUES = ("forest of values", "tree of values", "linear", "poisson", "lightgbm of values")


def strange_rows() -> np.ndarray[Any, Any]:
    """Every strange value in every column of a real row, and a row of nothing."""
    found = [np.full(4, NAN, dtype=np.float32)]
    for column in range(4):
        for value in STRANGE:
            row = WHOLE[7].copy()
            row[column] = value
            found.append(row)
    return np.array(found)


def served(form: Form, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The scores that the gateway gives; NaN where it refuses the row."""
    return np.where(InputCheck(NAMES, form.limits).refused_rows(X), NAN, answers(form.scorer.score, X))


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("X", [WHOLE, HOLEY], ids=["whole", "holey"])
def test_strange_rows_are_answered_as_by_the_estimator_or_refused(name: str, X: np.ndarray[Any, Any]) -> None:
    # given an estimator that was fitted on such rows, if it takes them
    estimator = ESTIMATORS[name]()
    try:
        estimator.fit(X, VALUE if name in VALUES else YES)
    except ValueError:
        assert X is HOLEY
        return
    task: Any = "regression" if name in VALUES else "binary"
    form = choose(estimator, X, task=task, features=NAMES)

    # then what serves gives its numbers, and none where it has none
    rows = np.concatenate([strange_rows(), WHOLE[:50]])
    with threadpool_limits(limits=1):
        expected, found = answers(lambda rows: native_scores(estimator, rows, task), rows), served(form, rows)
    refused = np.isnan(found)
    assert not (~refused & np.isnan(expected)).any(), rows[~refused & np.isnan(expected)]
    np.testing.assert_allclose(found[~refused], expected[~refused], rtol=1e-4, atol=1e-5)

    # and little else is refused: no real row, and only numbers far from all real ones
    ordinary = (np.abs(rows) < 1e6).all(axis=1) | np.isnan(rows).any(axis=1)
    assert not (refused & ordinary & ~np.isnan(expected)).any(), rows[refused & ordinary & ~np.isnan(expected)]


@pytest.mark.parametrize("name", ["forest", "extra trees", "bagging", "tree of values", "lightgbm", "xgboost"])
def test_trees_serve_as_a_graph_that_knows_where_missing_values_go(name: str) -> None:
    estimator = ESTIMATORS[name]().fit(WHOLE, VALUE if name in VALUES else YES)
    form = choose(estimator, WHOLE, task="regression" if name in VALUES else "binary", features=NAMES)
    assert (form.runtime, form.limits.no_null) == ("onnx", ())


def test_what_the_estimator_refuses_is_said_by_feature() -> None:
    # given a pipeline that imputes one column and knows the categories of another
    steps = [("a", SimpleImputer(), [0]), ("c", OneHotEncoder(), [2])]
    estimator = make_pipeline(ColumnTransformer(steps, remainder="passthrough"), LogisticRegression())
    limits = choose(estimator.fit(WHOLE, YES), WHOLE, task="binary", features=NAMES).limits
    assert limits.no_null == ("b", "c", "d")
    assert limits.highest == dict.fromkeys(("a", "b", "d"), FLOAT32_MAX)
    assert limits.categories == {"c": (0.0, 1.0, 2.0, 3.0, 4.0)}


def test_rows_of_its_own_that_an_estimator_refuses_are_told_with_the_columns() -> None:
    # given a trainer that leaves out rows with gaps, which the holdout has
    estimator = LogisticRegression().fit(WHOLE, YES)
    with pytest.raises(StageError, match=r"LogisticRegression cannot score the training set: .*NaN.*SimpleImputer"):
        choose(estimator, HOLEY, task="binary", features=NAMES)


def test_pandas_categories_of_hist_gradient_boosting_are_served_by_their_values() -> None:
    # given boosting that takes its categories from the dtype of a DataFrame
    frame = pd.DataFrame(WHOLE, columns=NAMES).astype({"c": int}).astype({"c": "category"})
    estimator = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(frame, YES)
    form = choose(estimator, WHOLE, task="binary", features=NAMES)
    np.testing.assert_allclose(form.scorer.score(WHOLE[:20]), estimator.predict_proba(frame[:20])[:, 1], atol=1e-6)


def test_an_estimator_whose_rounding_depends_on_the_other_rows_serves_from_its_own_file() -> None:
    form = choose(KernelRidge().fit(WHOLE, VALUE), WHOLE, task="regression", features=NAMES)
    assert form.runtime == "skops"
