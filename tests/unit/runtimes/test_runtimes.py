"""Runtimes beside ONNX: native files score as their libraries do, and what is not known to be safe is not opened."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor
from skops.io import dump

from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Runtime
from trimtab.errors import DataError, MissingExtra
from trimtab.runtimes.opening import open_scorer
from trimtab.runtimes.tree_checks import check_trees
from trimtab.testing.bundles import plain_spec

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 3)).astype(np.float32)
Y = (X[:, 0] + RNG.normal(size=300) > 0).astype(float)


def opened(folder: Path, runtime: Runtime, name: str, *, task: str = "binary", **options: Any) -> Scorer:
    return open_scorer(
        folder, plain_spec("delay", ["a", "b", "c"], runtime=runtime, model_file=name, task=task), **options
    )


def test_lightgbm_scores_from_its_text(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    estimator = lightgbm.LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1).fit(X, Y)
    estimator.booster_.save_model(tmp_path / "model.lgb")
    scorer = opened(tmp_path, "lightgbm", "model.lgb")
    np.testing.assert_array_equal(scorer.score(X), estimator.predict_proba(X)[:, 1])
    assert scorer.score(X[:0]).shape == (0,)
    assert (scorer.in_process, scorer.task) == (True, "binary")


def test_xgboost_scores_from_its_file(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    estimator = xgboost.XGBRegressor(n_estimators=10, n_jobs=1).fit(X, Y)
    for name in ("model.ubj", "model.json"):
        estimator.save_model(tmp_path / name)
        scorer = opened(tmp_path, "xgboost", name, task="regression")
        np.testing.assert_allclose(scorer.score(X), estimator.predict(X), rtol=1e-6)
        assert scorer.score(X[:0]).shape == (0,)


def test_a_booster_of_several_classes_or_of_no_probabilities_is_refused(tmp_path: Path) -> None:
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    three = np.arange(300) % 3
    kind = {"n_estimators": 3, "n_jobs": 1}
    lightgbm.LGBMClassifier(**kind, verbose=-1).fit(X, three).booster_.save_model(tmp_path / "model.lgb")
    with pytest.raises(DataError, match="it gives 3 numbers a row; expected one"):
        opened(tmp_path, "lightgbm", "model.lgb")
    xgboost.XGBClassifier(**kind, objective="binary:hinge").fit(X, Y).save_model(tmp_path / "model.ubj")
    xgboost.XGBClassifier(**kind).fit(X, three).save_model(tmp_path / "three.ubj")
    for task in ("binary", "regression"):
        with pytest.raises(DataError, match="it gives 3 numbers a row; expected one"):
            opened(tmp_path, "xgboost", "three.ubj", task=task)
    with pytest.raises(DataError, match="objective of a binary model is 'binary:hinge', whose prediction is no prob"):
        opened(tmp_path, "xgboost", "model.ubj")


@pytest.mark.parametrize(("runtime", "package"), [("lightgbm", "lightgbm"), ("xgboost", "xgboost"), ("skops", "skops")])
def test_a_damaged_file_is_named(runtime: Runtime, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    (tmp_path / "model.bin").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"model\.bin: (LightGBM|XGBoost|not a skops file)"):
        opened(tmp_path, runtime, "model.bin")


def test_a_missing_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.lgb").write_text("tree")
    monkeypatch.setattr("trimtab.runtimes.opening.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"lightgbm is not installed\. .*'trimtab\[boosting\]'"):
        opened(tmp_path, "lightgbm", "model.lgb")


@pytest.mark.parametrize(
    "estimator",
    [
        HistGradientBoostingClassifier(max_iter=5),
        RandomForestClassifier(n_estimators=5, n_jobs=2),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(PolynomialFeatures(), RandomForestClassifier(n_estimators=5)),
    ],
    ids=["boosted", "forest", "linear", "forest-of-more-columns"],
)
def test_estimators_score_from_their_skops_file(estimator: Any, tmp_path: Path) -> None:
    estimator.fit(X, Y)
    dump(estimator, tmp_path / "model.skops")
    np.testing.assert_allclose(opened(tmp_path, "skops", "model.skops").score(X), estimator.predict_proba(X)[:, 1])


def test_estimators_that_were_fitted_on_names_do_not_warn_at_every_call(tmp_path: Path) -> None:
    dump(LogisticRegression().fit(pd.DataFrame(X, columns=["a", "b", "c"]), Y), tmp_path / "model.skops")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(tmp_path, "skops", "model.skops").score(X)


def test_a_regression_in_skops_gives_its_value(tmp_path: Path) -> None:
    estimator = Ridge().fit(X, Y)
    dump(estimator, tmp_path / "model.skops")
    np.testing.assert_allclose(
        opened(tmp_path, "skops", "model.skops", task="regression").score(X), estimator.predict(X)
    )
    two = Ridge().fit(X, np.column_stack([Y, Y]))
    dump(two, tmp_path / "model.skops")
    with pytest.raises(DataError, match=r"Ridge returned shape \(300, 2\) for 300 rows; expected one number a row"):
        opened(tmp_path, "skops", "model.skops", task="regression").score(X)


class Evil:
    """Leaves a file behind when it is made from what was stored of it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (exec, (f"open({self.path!r}, 'w').close()",))


def test_a_classifier_is_no_regression(tmp_path: Path) -> None:
    dump(LogisticRegression().fit(X, np.arange(300) % 3), tmp_path / "model.skops")
    with pytest.raises(DataError, match=r"LogisticRegression knows 3 classes \(0, 1, 2\); expected two"):
        opened(tmp_path, "skops", "model.skops")
    with pytest.raises(DataError, match="LogisticRegression is a classifier; its predictions are no values"):
        opened(tmp_path, "skops", "model.skops", task="regression")


def test_classes_of_any_name_have_a_positive_one(tmp_path: Path) -> None:
    estimator = LogisticRegression().fit(X, np.where(Y > 0, "yes", "no"))
    dump(estimator, tmp_path / "model.skops")
    np.testing.assert_allclose(opened(tmp_path, "skops", "model.skops").score(X), estimator.predict_proba(X)[:, 1])
    dump(HistGradientBoostingClassifier(max_iter=3).fit(X, np.where(Y > 0, 1, 1)), tmp_path / "model.skops")
    np.testing.assert_allclose(opened(tmp_path, "skops", "model.skops").score(X), 1.0)


def test_a_skops_file_with_foreign_types_is_not_opened(tmp_path: Path) -> None:
    # given a pipeline that carries an object of a type that nobody knows
    estimator = Ridge().fit(X, Y)
    estimator.extra = Evil(str(tmp_path / "was-here"))
    dump(estimator, tmp_path / "model.skops")

    # then it is refused with what to add, and nothing has run
    with pytest.raises(DataError, match=r"not known to be safe; .* serving: \{ trust: \[.*\] \}"):
        opened(tmp_path, "skops", "model.skops", task="regression")
    assert not (tmp_path / "was-here").exists()


def test_trusted_types_are_opened(tmp_path: Path) -> None:
    dump(KNeighborsClassifier(p=3, algorithm="kd_tree").fit(X, Y), tmp_path / "model.skops")
    needed = ["sklearn.metrics._dist_metrics.MinkowskiDistance64"]
    with pytest.raises(DataError, match=r"trust: \[sklearn\.metrics\._dist_metrics\.MinkowskiDistance64\]"):
        opened(tmp_path, "skops", "model.skops")
    assert opened(tmp_path, "skops", "model.skops", trust=needed).score(X[:2]).shape == (2,)


def test_a_pickle_in_the_place_of_a_skops_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(pickle.dumps(Evil(str(tmp_path / "was-here"))))
    with pytest.raises(DataError, match="not a skops file"):
        opened(tmp_path, "skops", "model.skops")
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize("field", ["left_child", "right_child", "feature"])
def test_a_forest_that_leads_outside_of_itself_is_refused(field: str, tmp_path: Path) -> None:
    # given a forest whose first tree was changed to look far outside
    forest = RandomForestRegressor(n_estimators=2, max_depth=3, n_jobs=1).fit(X, Y)
    state = forest.estimators_[0].tree_.__getstate__()
    state["nodes"][field][0] = 10**6
    forest.estimators_[0].tree_.__setstate__(state)
    dump(forest, tmp_path / "model.skops")
    with pytest.raises(DataError, match="a decision tree has an index out of bounds"):
        opened(tmp_path, "skops", "model.skops", task="regression")


@pytest.mark.parametrize("hide", [lambda t: {"a": [t]}, lambda t: np.array([t, 1]), lambda t: partial(t.predict, 1)])
def test_a_tree_cannot_hide(hide: Callable[[Any], Any]) -> None:
    tree = DecisionTreeRegressor(max_depth=2).fit(X, Y).tree_
    check_trees(hide(tree), where="here")
    state = tree.__getstate__()
    state["nodes"]["left_child"][0] = 10**6
    tree.__setstate__(state)
    with pytest.raises(DataError, match="here: a decision tree has an index out of bounds"):
        check_trees(hide(tree), where="here")


@pytest.mark.parametrize("part", ["order", "leaf", "end"])
def test_neighbours_that_lead_outside_of_their_tree_are_refused(part: str, tmp_path: Path) -> None:
    # given a tree of neighbours whose indices were changed
    model = KNeighborsClassifier(algorithm="kd_tree", leaf_size=10).fit(X, Y)
    data, order, nodes, *rest = model._tree.__getstate__()
    if part == "order":
        order[0] = 10**6
    else:
        nodes["is_leaf" if part == "leaf" else "idx_end"][-1] = 0 if part == "leaf" else 10**6
    model._tree.__setstate__((data, order, nodes, *rest))
    dump(model, tmp_path / "model.skops")
    with pytest.raises(DataError, match="a tree of neighbours has an index out of bounds"):
        opened(tmp_path, "skops", "model.skops")


def test_a_spline_with_too_few_knots_is_refused(tmp_path: Path) -> None:
    steps = make_pipeline(SplineTransformer(), LogisticRegression()).fit(X, Y)
    spline = steps[0].bsplines_[0]
    spline._t = spline.t[:4]
    dump(steps, tmp_path / "model.skops")
    with pytest.raises(DataError, match="a spline has an index out of bounds"):
        opened(tmp_path, "skops", "model.skops")


def test_a_tree_that_claims_more_columns_than_its_forest_is_refused(tmp_path: Path) -> None:
    # given a forest of three columns whose trees look at the tenth
    wide = RNG.normal(size=(300, 10))
    forest = RandomForestRegressor(n_estimators=2, n_jobs=1).fit(wide, wide[:, 9])
    forest.n_features_in_ = 3
    dump(forest, tmp_path / "model.skops")
    with pytest.raises(DataError, match="a decision tree has an index out of bounds"):
        opened(tmp_path, "skops", "model.skops", task="regression")


def test_boosted_trees_that_walk_in_circles_are_refused(tmp_path: Path) -> None:
    model = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)
    model._predictors[0][0].nodes["left"][0] = 0
    dump(model, tmp_path / "model.skops")
    with pytest.raises(DataError, match="a decision tree has an index out of bounds"):
        opened(tmp_path, "skops", "model.skops")


def test_a_skops_file_keeps_its_schema_within_reason(tmp_path: Path) -> None:
    # given a skops file whose schema names a function of the system
    dump(Ridge().fit(X, Y), tmp_path / "model.skops")
    changed = tmp_path / "changed.skops"
    with zipfile.ZipFile(tmp_path / "model.skops") as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "schema.json":
                schema = json.loads(content)
                schema["__module__"], schema["__class__"] = "os", "system"
                content = json.dumps(schema).encode()
            new.writestr(name, content)
    with pytest.raises(DataError, match=r"trust: \[os\.system\]|not a skops file"):
        opened(tmp_path, "skops", "changed.skops", task="regression")


def test_opening_a_graph_imports_no_other_runtime() -> None:
    code = (
        "import sys, trimtab.bundle, trimtab.runtimes.onnx\n"
        "print(*(n for n in ('lightgbm', 'xgboost', 'sklearn', 'skops', 'mlflow', 'pandas', 'polars', 'pyarrow', "
        "'pydantic', 'sqlalchemy', 'model_signing') if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
