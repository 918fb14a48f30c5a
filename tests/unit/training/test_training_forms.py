"""What serves: the ONNX graph where it reproduces the estimator, its own library's file where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import load_model
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from trimtab.bundle.spec import read_spec
from trimtab.definitions.models import Model, Task
from trimtab.errors import StageError
from trimtab.runtimes.opening import open_scorer
from trimtab.training.dataset import Frozen
from trimtab.training.forms import choose
from trimtab.training.scores import native_scores
from trimtab.training.train import Workbench, train

RNG = np.random.default_rng(0)
X = np.where(RNG.random((800, 4)) < 0.3, np.nan, RNG.normal(size=(800, 4))).astype(np.float32)
NAMES = ("a", "b", "c", "d")
Y = (np.nan_to_num(X[:, 0]) + RNG.normal(size=800) > 0).astype(float)


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize(("library", "file"), [("lightgbm", "model.lgb"), ("xgboost", "model.ubj")])
def test_boosted_trees_serve_as_a_graph_beside_their_own_file(library: str, file: str, task: Task) -> None:
    # given trees that learned from many gaps
    kind = {"lightgbm": "LGBM", "xgboost": "XGB"}[library] + {"binary": "Classifier", "regression": "Regressor"}[task]
    estimator = getattr(pytest.importorskip(library), kind)(n_estimators=20, n_jobs=1).fit(X, Y)

    # then the graph serves, and the trees stand beside it
    form = choose(estimator, X, task=task, features=NAMES)
    assert (form.runtime, form.model_file, form.reason) == ("onnx", "model.onnx", "")
    assert set(form.files) == {"model.onnx", file}
    assert form.parity.ok


def test_scikit_learn_serves_as_a_graph_beside_its_skops_file() -> None:
    form = choose(HistGradientBoostingClassifier(max_iter=5).fit(X, Y), X, task="binary", features=NAMES)
    assert form.runtime == "onnx"
    assert set(form.files) == {"model.onnx", "model.skops"}


def test_what_has_no_converter_serves_from_its_skops_file() -> None:
    voting = VotingClassifier(
        [("a", LogisticRegression()), ("b", HistGradientBoostingClassifier(max_iter=5))], voting="soft"
    )
    estimator = make_pipeline(SimpleImputer(), voting).fit(X, Y)
    form = choose(estimator, X, task="binary", features=NAMES)
    assert (form.runtime, form.model_file) == ("skops", "model.skops")
    assert form.reason.startswith("Pipeline cannot be converted to ONNX: ")
    np.testing.assert_allclose(form.scorer.score(X), native_scores(estimator, X, "binary"))


def test_a_graph_that_does_not_reproduce_the_estimator_does_not_serve() -> None:
    # given a discriminant analysis, which its converter makes from other figures
    whole = np.nan_to_num(X)
    estimator = LinearDiscriminantAnalysis().fit(whole, Y)
    form = choose(estimator, whole, task="binary", features=NAMES)
    assert form.runtime == "skops"
    assert "does not reproduce it" in form.reason
    assert form.parity.max_difference == 0.0


def test_a_booster_whose_graph_differs_serves_from_its_own_text() -> None:
    # given linear trees, which the converter takes for constant ones
    lightgbm = pytest.importorskip("lightgbm")
    whole = np.nan_to_num(X).astype(np.float64)
    estimator = lightgbm.LGBMRegressor(n_estimators=10, linear_tree=True, n_jobs=1, verbose=-1)
    estimator.fit(whole, whole @ [1.0, 2.0, 3.0, 4.0])
    form = choose(estimator, whole.astype(np.float32), task="regression", features=NAMES)
    assert (form.runtime, form.model_file, set(form.files)) == ("lightgbm", "model.lgb", {"model.lgb"})
    assert form.reason


def test_early_stopping_counts_in_the_native_file() -> None:
    xgboost = pytest.importorskip("xgboost")
    estimator = xgboost.XGBClassifier(n_estimators=200, early_stopping_rounds=3, learning_rate=0.5, n_jobs=1)
    estimator.fit(X[:400], Y[:400], eval_set=[(X[400:], Y[400:])], verbose=False)
    form = choose(estimator, X, task="binary", features=NAMES)
    assert form.parity.ok
    assert estimator.best_iteration < 100


def double(X: Any) -> Any:
    return np.nan_to_num(X) * 2


def test_types_that_nobody_trusts_are_named_with_what_to_add() -> None:
    # given a step that is a function of the project, which has no converter
    estimator = make_pipeline(FunctionTransformer(double), HistGradientBoostingRegressor(max_iter=5)).fit(X, Y)
    with pytest.raises(StageError, match=r"serving: \{ trust: \[.*double.*\] \}"):
        choose(estimator, X, task="regression", features=NAMES)


def test_an_estimator_that_cannot_do_the_task_is_refused_once() -> None:
    with pytest.raises(StageError, match=r"^LinearSVC has no predict_proba"):
        choose(LinearSVC().fit(np.nan_to_num(X), Y), np.nan_to_num(X), task="binary", features=NAMES)


def test_a_run_says_what_serves_it_and_why(model: Model, frozen: Frozen, bench: Workbench) -> None:
    # given a trainer of something that has no converter
    def vote(data: Any, params: dict[str, Any], seed: int) -> Any:
        members = [("a", HistGradientBoostingClassifier(max_iter=3)), ("b", HistGradientBoostingClassifier(max_iter=5))]
        return VotingClassifier(members, voting="soft").fit(data.X, data.y)

    model.fit = vote
    run = train(model, frozen, bench=bench, params={}, seed=7, key="k", request_types={"hour": "integer"})

    # then its tags and its bundle say that skops serves, and MLflow's description does
    tags = bench.tracking.client.get_run(run.id).data.tags
    folder = bench.artifacts.open(run.staging)
    spec = read_spec(folder)
    assert tags["trimtab.runtime"] == spec.runtime == "skops"
    assert tags["trimtab.runtime_reason"] == spec.runtime_reason
    assert spec.runtime_reason.startswith("VotingClassifier cannot be converted to ONNX")
    assert spec.request_types == {"hour": "integer"}
    assert not (folder / "model.onnx").exists()
    served: Any = load_model(str(folder))
    rows = frozen.holdout.X[:3]
    found = served.predict(pd.DataFrame(rows, columns=spec.features))
    np.testing.assert_allclose(found, open_scorer(folder, spec).score(rows))
