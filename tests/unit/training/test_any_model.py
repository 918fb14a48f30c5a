"""Models of any kind serve in some form that gives their own scores, or are refused with what to do about it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from trimtab.app.project.definitions_file import load_definitions
from trimtab.bundle.limits import checked
from trimtab.bundle.origin import check_origin
from trimtab.bundle.spec import read_spec
from trimtab.definitions.models import Dataset, Model, Task
from trimtab.errors import DataError, StageError
from trimtab.runtimes.opening import open_scorer
from trimtab.runtimes.python_objects import NamedColumns, by_name
from trimtab.training.dataset import Frozen
from trimtab.training.forms import Form, choose
from trimtab.training.native_files import pickled
from trimtab.training.scores import native_scores
from trimtab.training.train import Workbench, train

RNG = np.random.default_rng(0)
X = np.where(RNG.random((600, 3)) < 0.2, np.nan, RNG.normal(size=(600, 3))).astype(np.float32)
WHOLE = np.nan_to_num(X)
NAMES = ("a", "b", "c")
VALUE = WHOLE @ [1.0, -2.0, 0.5] + RNG.normal(size=600)
LABEL = (VALUE > 0).astype(float)
TASKS: tuple[Task, ...] = ("binary", "regression")
LABELS = {"binary": LABEL, "regression": VALUE}

CODE = """
import numpy as np
import trimtab as tt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

rows = tt.FileSource("rows", "rows.csv", timestamp="at")
model = tt.Model("model", task="binary", examples=rows, label="y", features=["a", "b", "c"])

def filled(X):
    return np.nan_to_num(X) * SCALE

SCALE = 2.0

class Blend:
    classes_ = np.array([0.0, 1.0])
    def __init__(self, parts):
        self.parts = parts
    def predict(self, X):
        return (self.predict_proba(X)[:, 1] > 0.5).astype(float)
    def predict_proba(self, X):
        return np.mean([part.predict_proba(X) for part in self.parts], axis=0)

@model.trainer
def fit(data, params, seed):
    steps = make_pipeline(FunctionTransformer(filled), LogisticRegression()).fit(data.X, data.y)
    return steps if params.get("steps") else Blend([steps, steps])
"""


@pytest.fixture
def project(tmp_path: Path) -> Model:
    """A model of a project whose trainer returns the project's own class."""
    (tmp_path / "definitions.py").write_text(CODE)
    return load_definitions(tmp_path).model("model")


def own_model(model: Model, **params: Any) -> Any:
    times = np.arange(600).astype("datetime64[us]")
    assert model.fit is not None
    return model.fit(Dataset(X=X, y=LABEL, feature_names=NAMES, timestamps=times), params, 0)


def expect_equal(form: Form, estimator: Any, rows: np.ndarray[Any, Any], task: Task) -> None:
    np.testing.assert_allclose(form.scorer.score(rows), native_scores(estimator, rows, task), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_booster_of_the_libraries_own_training_serves(library: str, task: Task) -> None:
    module = pytest.importorskip(library)
    if library == "lightgbm":
        settings = {"objective": task, "verbose": -1, "num_threads": 1}
        booster = module.train(settings, module.Dataset(X, LABELS[task]), num_boost_round=8)
    else:
        objective = {"binary": "binary:logistic", "regression": "reg:squarederror"}[task]
        booster = module.train({"objective": objective, "nthread": 1}, module.DMatrix(X, LABELS[task]), 8)
    form = choose(booster, X, task=task, features=NAMES)
    assert form.runtime == "onnx"
    expect_equal(form, booster, X, task)


def test_a_booster_that_stopped_early_serves_its_best_round() -> None:
    xgboost = pytest.importorskip("xgboost")
    known = xgboost.DMatrix(X[300:], LABEL[300:])
    booster = xgboost.train(
        {"objective": "binary:logistic", "nthread": 1, "eta": 0.9},
        xgboost.DMatrix(X[:300], LABEL[:300]),
        60,
        evals=[(known, "later")],
        early_stopping_rounds=4,
        verbose_eval=False,
    )
    form = choose(booster, X, task="binary", features=NAMES)
    best = booster.predict(xgboost.DMatrix(X), iteration_range=(0, booster.best_iteration + 1))
    np.testing.assert_allclose(form.scorer.score(X), best, atol=1e-5)
    assert booster.best_iteration < booster.num_boosted_rounds() - 1


def test_a_booster_without_probabilities_is_refused_for_a_binary_model() -> None:
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({"objective": "reg:squarederror", "nthread": 1}, xgboost.DMatrix(X, VALUE), 3)
    with pytest.raises(StageError, match="must give the probability of class 1"):
        choose(booster, X, task="binary", features=NAMES)


@pytest.mark.parametrize("task", TASKS)
def test_catboost_serves_as_a_graph_beside_its_own_file(task: Task) -> None:
    catboost = pytest.importorskip("catboost")
    kind = catboost.CatBoostClassifier if task == "binary" else catboost.CatBoostRegressor
    estimator = kind(iterations=8, thread_count=1, verbose=0, allow_writing_files=False).fit(X, LABELS[task])
    form = choose(estimator, X, task=task, features=NAMES)
    assert (form.runtime, set(form.files)) == ("onnx", {"model.onnx", "model.cbm"})
    expect_equal(form, estimator, X, task)


def test_catboost_serves_from_its_own_file_where_the_graph_lacks_its_loss(tmp_path: Path) -> None:
    # given a Poisson regression, of which the graph holds the logarithm
    catboost = pytest.importorskip("catboost")
    estimator = catboost.CatBoostRegressor(
        iterations=8, thread_count=1, verbose=0, allow_writing_files=False, loss_function="Poisson"
    ).fit(X, np.abs(VALUE))
    form = choose(estimator, X, task="regression", features=NAMES)
    assert form.runtime == "catboost"
    np.testing.assert_array_equal(form.scorer.score(X), estimator.predict(X))


@pytest.mark.parametrize(
    ("fit", "task"),
    [
        (lambda sm: sm.OLS(VALUE, sm.add_constant(WHOLE)).fit(), "regression"),
        (lambda sm: sm.RLM(VALUE, sm.add_constant(WHOLE)).fit(), "regression"),
        (lambda sm: sm.QuantReg(VALUE, WHOLE).fit(q=0.8), "regression"),
        (lambda sm: sm.GLM(np.abs(VALUE), sm.add_constant(WHOLE), family=sm.families.Poisson()).fit(), "regression"),
        (lambda sm: sm.GLM(LABEL, sm.add_constant(WHOLE), family=sm.families.Binomial()).fit(), "binary"),
        (lambda sm: sm.Logit(LABEL, sm.add_constant(WHOLE)).fit(disp=0), "binary"),
    ],
    ids=["ols", "rlm", "quantile", "poisson", "binomial", "logit"],
)
def test_linear_models_of_statsmodels_serve_as_a_graph_in_float64(fit: Callable[[Any], Any], task: Task) -> None:
    results = fit(pytest.importorskip("statsmodels.api"))
    form = choose(results, X, task=task, features=NAMES)
    assert form.runtime == "onnx"
    assert form.parity.max_difference < 1e-9
    assert form.limits.no_null == NAMES


def test_statsmodels_with_another_link_needs_trust_in_the_project() -> None:
    sm = pytest.importorskip("statsmodels.api")
    results = sm.Probit(LABEL, sm.add_constant(WHOLE)).fit(disp=0)
    with pytest.raises(StageError, match=r"no linear model with a known link.*serving: \{ trust: \[project\] \}"):
        choose(results, X, task="binary", features=NAMES)
    form = choose(results, X, task="binary", features=NAMES, trust=["project"])
    assert (form.runtime, form.model_file) == ("project", "model.pkl")
    expect_equal(form, results, WHOLE, "binary")
    form.scorer.close()


def test_what_was_fitted_on_names_gets_a_table_with_the_features_names() -> None:
    smf = pytest.importorskip("statsmodels.formula.api")
    frame = pd.DataFrame({**dict(zip(NAMES, WHOLE.T, strict=True)), "y": VALUE})
    results = smf.ols("y ~ a + b * c", data=frame).fit()
    named = by_name(results, NAMES)
    assert isinstance(named, NamedColumns)
    np.testing.assert_allclose(native_scores(named, WHOLE, "regression"), results.predict(frame))


def test_a_search_serves_as_its_best_estimator() -> None:
    found = GridSearchCV(
        make_pipeline(SimpleImputer(), LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=2
    )
    form = choose(found.fit(X, LABEL), X, task="binary", features=NAMES)
    assert form.runtime == "onnx"
    expect_equal(form, found, X, "binary")


def test_splines_need_no_trust() -> None:
    estimator = make_pipeline(SimpleImputer(), SplineTransformer(), LogisticRegression()).fit(X, LABEL)
    form = choose(estimator, X, task="binary", features=NAMES)
    assert form.runtime == "skops"
    expect_equal(form, estimator, X, "binary")


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_pipeline_around_boosted_trees_serves_as_a_graph(library: str) -> None:
    # given trees behind a step that changes no number
    kind = {"lightgbm": "LGBMClassifier", "xgboost": "XGBClassifier"}[library]
    inner = getattr(pytest.importorskip(library), kind)(n_estimators=8, n_jobs=1)
    estimator = make_pipeline(SimpleImputer(strategy="constant", fill_value=0.0), inner).fit(X, LABEL)
    form = choose(estimator, X, task="binary", features=NAMES)
    assert form.runtime == "onnx"
    expect_equal(form, estimator, X, "binary")


def test_a_class_of_the_project_serves_as_a_pickle_in_a_process_of_its_own(project: Model) -> None:
    estimator = own_model(project)
    with pytest.raises(StageError, match=r"Blend cannot be converted.*serving: \{ trust: \[project\] \}"):
        choose(estimator, X, task="binary", features=NAMES)
    form = choose(estimator, X, task="binary", features=NAMES, trust=["project"])
    assert (form.runtime, form.scorer.in_process) == ("project", False)
    expect_equal(form, estimator, X, "binary")
    form.scorer.close()


def test_a_function_of_the_project_in_a_pipeline_is_refused_with_the_word_that_helps(project: Model) -> None:
    estimator = own_model(project, steps=True)
    with pytest.raises(StageError, match=r"add to trimtab.yaml: serving: \{ trust: \[project\] \}$") as caught:
        choose(estimator, X, task="binary", features=NAMES)
    assert "trimtab_project_" not in str(caught.value)
    form = choose(estimator, X, task="binary", features=NAMES, trust=["project"])
    assert form.runtime == "project"
    form.scorer.close()


def test_the_same_object_is_pickled_to_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "definitions.py").write_text(CODE)
    program = (
        "import sys, hashlib, pathlib; sys.path.insert(0, sys.argv[2])\n"
        "from unit.training.test_any_model import own_model, load_definitions, pickled\n"
        "model = load_definitions(pathlib.Path(sys.argv[1])).model('model')\n"
        "print(hashlib.sha256(pickled(own_model(model)).content).hexdigest())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parents[2])]
    found = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert found == {
        f"{hashlib.sha256(pickled(own_model(load_definitions(tmp_path).model('model'))).content).hexdigest()}\n"
    }


def test_a_pickle_is_only_run_when_its_run_made_it(frozen: Frozen, bench: Workbench) -> None:
    # given a run of a project whose trainer returns its own class
    names = ",".join(f'"{name}"' for name in frozen.version.features)
    text = CODE.replace('["a", "b", "c"]', f"[{names}]").replace('"model"', '"delay"')
    (bench.project / "definitions.py").write_text(text)
    model = load_definitions(bench.project).model("delay")
    run = train(model, frozen, bench=bench, params={}, seed=7, key="own", trust=["project"])
    folder = bench.artifacts.open(run.staging)
    spec = read_spec(folder)

    # then its record proves the pickle, which serves
    check_origin(folder, spec, run)
    with pytest.raises(DataError, match=r"add to trimtab.yaml: serving: \{ trust: \[project\] \}"):
        open_scorer(folder, spec)
    scorer = open_scorer(folder, spec, trust=["project"])
    assert np.isfinite(checked(scorer, spec).score(frozen.holdout.X[:5])).all()
    scorer.close()

    # but no other file, no other code, and no run of elsewhere
    with pytest.raises(DataError, match="no run of this project has the id"):
        check_origin(folder, spec, None)
    with pytest.raises(DataError, match=r"model\.pkl is not the file that run"):
        check_origin(folder, spec, msgspec.structs.replace(run, model_hash="0" * 64))
    with pytest.raises(DataError, match="the files in code/ are not those"):
        check_origin(folder, spec, msgspec.structs.replace(run, code_hash="0" * 64))


@pytest.mark.parametrize("values", ["labels", "large"])
def test_an_object_that_gives_no_probabilities_is_refused(values: str) -> None:
    class Rule:
        def predict(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return (rows[:, 0] > 0).astype(float) if values == "labels" else rows[:, 0] * 10

    words = "gave only 0 and 1, as labels" if values == "labels" else "must give the probability of class 1"
    with pytest.raises(StageError, match=words):
        choose(Rule(), WHOLE, task="binary", features=NAMES, trust=["project"])


def test_a_linear_booster_serves_from_its_own_file() -> None:
    xgboost = pytest.importorskip("xgboost")
    estimator = xgboost.XGBRegressor(booster="gblinear", n_estimators=10, n_jobs=1).fit(X, VALUE)
    form = choose(estimator, X, task="regression", features=NAMES)
    expect_equal(form, estimator, X, "regression")
