"""Estimators become ONNX graphs: the same bytes for the same estimator, in every process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trimtab import settings
from trimtab.bundle import Scorer
from trimtab.definitions import Task
from trimtab.errors import MissingExtra, StageError
from trimtab.training.convert import convert
from trimtab.training.parity import compare

RNG = np.random.default_rng(0)
X = np.where(RNG.random((600, 4)) < 0.05, np.nan, RNG.normal(size=(600, 4))).astype(np.float32)
Y = (np.nan_to_num(X[:, 0]) + RNG.normal(size=600) > 0).astype(float)

CONVERT_IN_A_PROCESS = """
import hashlib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.ensemble import StackingClassifier
from sklearn.neighbors import KNeighborsClassifier
from trimtab.training.convert import convert
X = np.arange(40, dtype=np.float32).reshape(20, 2)
y = np.arange(20) % 3 == 0
for estimator in (KNeighborsClassifier(), StackingClassifier([("a", LogisticRegression())])):
    print(hashlib.sha256(convert(estimator.fit(X, y), task="binary", features=2)).hexdigest())
"""


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
    assert compare(estimator, Scorer(graph, task), X, task).share_over == 0.0
    assert convert(estimator, task=task, features=4) == graph


def test_the_bytes_do_not_depend_on_the_process() -> None:
    # given processes whose sets have other orders, and converters that number names as they go
    outputs = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CONVERT_IN_A_PROCESS],
            env=settings.child_environment(PYTHONHASHSEED=seed),
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "3")
    }
    assert len(outputs) == 1


def test_other_libraries_are_refused_by_name() -> None:
    class Guess:
        def predict(self, X: Any) -> Any:
            return X[:, 0]

    with pytest.raises(StageError, match=r"Guess cannot be converted to ONNX; supported: scikit-learn .* XGBoost"):
        convert(Guess(), task="regression", features=4)


def test_an_estimator_without_converter_is_named() -> None:
    voting = make_pipeline(SimpleImputer(), VotingClassifier([("a", LogisticRegression())], voting="soft"))
    with pytest.raises(StageError, match="Pipeline cannot be converted to ONNX: flatten_transform"):
        convert(voting.fit(X, Y), task="binary", features=4)


@pytest.mark.parametrize(("library", "kind"), [("lightgbm", "LGBMClassifier"), ("xgboost", "XGBClassifier")])
def test_boosting_libraries_convert_where_installed(library: str, kind: str) -> None:
    pytest.importorskip("onnxmltools")
    estimator = getattr(pytest.importorskip(library), kind)(n_estimators=10).fit(X, Y)
    graph = convert(estimator, task="binary", features=4)
    assert compare(estimator, Scorer(graph, "binary"), X, "binary").share_over == 0.0
    assert convert(estimator, task="binary", features=4) == graph


def test_without_its_converter_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # given an estimator of LightGBM, and no onnxmltools
    kind = type("LGBMClassifier", (), {"__module__": "lightgbm.sklearn"})
    monkeypatch.setattr("trimtab.training.convert.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'trimtab\[boosting\]'"):
        convert(kind(), task="binary", features=4)
