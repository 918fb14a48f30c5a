"""Estimators become ONNX graphs: the same bytes for the same estimator, in every process."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.checker
import onnx.compose
import onnx.helper
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trimtab.definitions.models import Task
from trimtab.errors import MissingExtra, StageError
from trimtab.runtimes.onnx import OnnxScorer
from trimtab.training.canonical import canonical_bytes
from trimtab.training.convert import convert
from trimtab.training.parity import compare

RNG = np.random.default_rng(0)
X = np.where(RNG.random((600, 4)) < 0.05, np.nan, RNG.normal(size=(600, 4))).astype(np.float32)
Y = (np.nan_to_num(X[:, 0]) + RNG.normal(size=600) > 0).astype(float)


@pytest.mark.parametrize(
    ("estimator", "task"),
    [
        (HistGradientBoostingClassifier(max_iter=10), "binary"),
        (HistGradientBoostingRegressor(max_iter=10), "regression"),
        (make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), "binary"),
        (make_pipeline(SimpleImputer(), KNeighborsClassifier()), "binary"),
    ],
    ids=["trees", "regression-trees", "linear-pipeline", "neighbours"],
)
def test_graphs_reproduce_the_estimator_and_themselves(estimator: Any, task: Task) -> None:
    estimator.fit(X, Y)
    graph = convert(estimator, task=task, features=4)
    assert compare(estimator, OnnxScorer(graph, task), X, task).share_over == 0.0
    assert convert(estimator, task=task, features=4) == graph


def test_names_and_the_order_of_sets_do_not_count() -> None:
    # given a graph with a loop inside, and the same one as another process might have written it
    estimator = make_pipeline(SimpleImputer(), KNeighborsClassifier()).fit(X, Y)
    graph = convert(estimator, task="binary", features=4)
    other = onnx.compose.add_prefix(
        onnx.load_from_string(graph), "other_", rename_inputs=False, rename_outputs=False, rename_value_infos=False
    )
    opsets = [(opset.domain, opset.version) for opset in reversed(other.opset_import)]
    del other.opset_import[:]
    other.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in opsets)
    other.producer_name, other.doc_string = "somebody", "something"

    # then both have one form, which still runs
    assert other.SerializeToString() != graph
    assert canonical_bytes(other) == graph
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)


def test_other_libraries_are_refused_by_name() -> None:
    class Guess:
        def predict(self, X: Any) -> Any:
            return X[:, 0]

    with pytest.raises(
        StageError, match=r"Guess cannot be converted to ONNX; supported: scikit-learn .* PyTorch modules"
    ):
        convert(Guess(), task="regression", features=4)


def test_an_estimator_without_converter_is_named() -> None:
    voting = make_pipeline(SimpleImputer(), VotingClassifier([("a", LogisticRegression())], voting="soft"))
    with pytest.raises(StageError, match="Pipeline cannot be converted to ONNX: flatten_transform"):
        convert(voting.fit(X, Y), task="binary", features=4)


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_boosting_libraries_convert_where_installed(library: str, task: Task) -> None:
    pytest.importorskip("onnxmltools")
    kind = {"lightgbm": "LGBM", "xgboost": "XGB"}[library] + {"binary": "Classifier", "regression": "Regressor"}[task]
    estimator = getattr(pytest.importorskip(library), kind)(n_estimators=10, n_jobs=1).fit(X, Y)
    graph = convert(estimator, task=task, features=4)
    assert compare(estimator, OnnxScorer(graph, task), X, task).share_over == 0.0
    assert convert(estimator, task=task, features=4) == graph


def test_without_its_converter_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # given an estimator of LightGBM, and no onnxmltools
    kind = type("LGBMClassifier", (), {"__module__": "lightgbm.sklearn"})
    monkeypatch.setattr("trimtab.training.convert.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'trimtab\[boosting\]'"):
        convert(kind(), task="binary", features=4)
