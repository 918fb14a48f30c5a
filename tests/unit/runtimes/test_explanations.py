"""Explanations of real bundles: by their trees where they have some, by asking them otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from trimtab.bundle.spec import Spec
from trimtab.definitions.models import Task
from trimtab.errors import DataError
from trimtab.runtimes.explanations import Explainer, open_explainer
from trimtab.runtimes.opening import open_scorer
from trimtab.testing.bundles import plain_spec
from trimtab.training.forms import choose

RNG = np.random.default_rng(0)
X = np.where(RNG.random((500, 4)) < 0.1, np.nan, RNG.normal(size=(500, 4))).astype(np.float32)
VALUE = np.nan_to_num(X[:, 0]) * 2 - np.nan_to_num(X[:, 1])
YES = (VALUE + RNG.normal(size=500) > 0).astype(float)


def pack(
    folder: Path, estimator: Any, task: Task, *, drop: str = "", background: bool = True
) -> tuple[Spec, Explainer]:
    """Write what training writes of an estimator, and open its explainer."""
    form = choose(estimator, X, task=task, features=tuple("abcd"))
    for name, content in form.files.items():
        if name != drop:
            (folder / name).write_bytes(content)
    if background:
        (folder / "reference").mkdir()
        np.save(folder / "reference" / "background.npy", X[:40], allow_pickle=False)
    spec = plain_spec("delay", list("abcd"), task=task, runtime=form.runtime, model_file=form.model_file)
    return spec, open_explainer(folder, spec, open_scorer(folder, spec))


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize(("library", "prefix"), [("lightgbm", "LGBM"), ("xgboost", "XGB")])
def test_boosted_trees_explain_themselves(library: str, prefix: str, task: Task, tmp_path: Path) -> None:
    # given a bundle that serves a graph beside the trees
    kind = getattr(pytest.importorskip(library), prefix + ("Classifier" if task == "binary" else "Regressor"))
    spec, explainer = pack(
        tmp_path, kind(n_estimators=20, n_jobs=1).fit(X, YES if task == "binary" else VALUE), task, background=False
    )
    assert spec.runtime == "onnx"
    found = explainer.explain(X[:50])
    scores = open_scorer(tmp_path, spec).score(X[:50])

    # then contributions and base add up to what the graph says, in log-odds for a probability
    assert (found.method, found.unit) == ("tree_shap", "log_odds" if task == "binary" else "value")
    output = np.log(scores / (1 - scores)) if task == "binary" else scores
    assert found.values.shape == (50, 4)
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), output, rtol=1e-4, atol=1e-4)
    assert np.abs(found.values).mean(axis=0).argmax() == 0
    assert explainer.explain(X[:0]).values.shape == (0, 4)


def test_a_steeper_sigmoid_is_in_the_log_odds(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    estimator = lightgbm.LGBMClassifier(n_estimators=10, sigmoid=2.0, n_jobs=1, verbose=-1).fit(X, YES)
    spec, explainer = pack(tmp_path, estimator, "binary")
    found, scores = explainer.explain(X[:20]), open_scorer(tmp_path, spec).score(X[:20])
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), np.log(scores / (1 - scores)), atol=1e-4)


def test_trees_behind_a_link_are_asked_instead(tmp_path: Path) -> None:
    # given a Poisson regression, whose leaves add up to a logarithm
    lightgbm = pytest.importorskip("lightgbm")
    estimator = lightgbm.LGBMRegressor(objective="poisson", n_estimators=10, n_jobs=1, verbose=-1).fit(X, np.exp(YES))
    spec, explainer = pack(tmp_path, estimator, "regression")
    found = explainer.explain(X[:5])
    assert (found.method, found.unit) == ("permutation", "value")
    np.testing.assert_allclose(
        found.base + found.values.sum(axis=1), open_scorer(tmp_path, spec).score(X[:5]), atol=1e-9
    )


def test_any_other_model_is_asked(tmp_path: Path) -> None:
    spec, explainer = pack(tmp_path, HistGradientBoostingClassifier(max_iter=20).fit(X, YES), "binary")
    assert explainer.method == "permutation"
    found, scorer = explainer.explain(X[:5]), open_scorer(tmp_path, spec)
    assert found.unit == "probability"
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), scorer.score(X[:5]), atol=1e-12)
    assert found.base == pytest.approx(scorer.score(X[:40]).mean())
    np.testing.assert_array_equal(explainer.explain(X[:5]).values, found.values)


def test_without_rows_to_compare_with_it_says_so(tmp_path: Path) -> None:
    _, explainer = pack(tmp_path, HistGradientBoostingClassifier(max_iter=5).fit(X, YES), "binary", background=False)
    with pytest.raises(DataError, match=r"no rows to compare with \(reference/background\.npy\)"):
        explainer.explain(X[:1])


def test_other_rows_than_the_model_takes_are_refused(tmp_path: Path) -> None:
    _, explainer = pack(tmp_path, HistGradientBoostingClassifier(max_iter=5).fit(X, YES), "binary")
    with pytest.raises(DataError, match=r"rows have shape \(2, 3\); expected \(rows, 4\)"):
        explainer.explain(X[:2, :3])


def test_a_background_with_objects_in_it_is_not_unpickled(tmp_path: Path) -> None:
    spec, _ = pack(tmp_path, HistGradientBoostingClassifier(max_iter=5).fit(X, YES), "binary")
    target = tmp_path / "reference" / "background.npy"
    np.save(target, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"background\.npy: not an array: Object arrays"):
        open_explainer(tmp_path, spec, open_scorer(tmp_path, spec))
    np.save(target, X[:5].astype(np.float64))
    with pytest.raises(DataError, match=r"background\.npy: float64 \(5, 4\); expected float32 \(rows, 4\)"):
        open_explainer(tmp_path, spec, open_scorer(tmp_path, spec))
