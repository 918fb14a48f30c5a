"""What the tests of bundles share: MLflow models of every flavour, saved by MLflow itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from trimtab.training.mlflow_client import load_mlflow

RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(200, 3)), columns=["a", "b", "c"])
Y = (X.a + RNG.normal(size=200) > 0).astype(float)
PYFUNC = """
import os, sys, time
import mlflow

class Steered(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        print("this goes to standard error")
        order = float(model_input["a"].iloc[0])
        if order == 666:
            os._exit(3)
        if order == 777:
            time.sleep(60)
        if order == 888:
            raise ValueError("no such thing")
        if order == 999:
            return model_input[["a", "b"]]
        return model_input["a"] + 2 * model_input["b"]

mlflow.models.set_model(Steered())
"""

Save = Callable[[str], Path]


@pytest.fixture(scope="session")
def mlflow_model(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Save an MLflow model by name, once a session; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("mlflow")

    def save(name: str) -> Path:
        if not (folder / name).exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _SAVERS[name](str(folder / name))
        return folder / name

    return save


def _options(outputs: Any = Y) -> dict[str, Any]:
    load_mlflow()
    from mlflow.models import infer_signature

    return {"signature": infer_signature(X, outputs), "pip_requirements": ["mlflow"]}


def _sklearn(estimator: Any, form: str) -> Callable[[str], None]:
    def save(path: str) -> None:
        options = _options()
        import mlflow.sklearn

        mlflow.sklearn.save_model(estimator.fit(X, Y), path, serialization_format=form, **options)

    return save


def _lightgbm(path: str) -> None:
    lightgbm, options = pytest.importorskip("lightgbm"), _options()
    import mlflow.lightgbm

    estimator = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(X, Y)
    mlflow.lightgbm.save_model(estimator.booster_, path, **options)


def _lightgbm_estimator(path: str) -> None:
    lightgbm, options = pytest.importorskip("lightgbm"), _options()
    import mlflow.lightgbm

    mlflow.lightgbm.save_model(lightgbm.LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1).fit(X, Y), path, **options)


def _xgboost(path: str) -> None:
    xgboost, options = pytest.importorskip("xgboost"), _options()
    import mlflow.xgboost

    mlflow.xgboost.save_model(xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(X, Y), path, **options)


def _onnx(path: str) -> None:
    options = _options()
    import mlflow.onnx
    import onnx

    from trimtab.testing.bundles import lookup_graph

    graph = onnx.load_from_string(lookup_graph([0.25, 0.75], 3))
    mlflow.onnx.save_model(graph, path, **options)


def _pyfunc(path: str) -> None:
    options = _options()
    import mlflow.pyfunc

    code = Path(path).with_suffix(".py")
    code.write_text(PYFUNC)
    mlflow.pyfunc.save_model(path, python_model=str(code), **options)


_SAVERS: dict[str, Callable[[str], None]] = {
    "onnx": _onnx,
    "lightgbm": _lightgbm,
    "lightgbm-estimator": _lightgbm_estimator,
    "xgboost": _xgboost,
    "skops": _sklearn(LogisticRegression(), "skops"),
    "skops-regression": _sklearn(Ridge(), "skops"),
    "pickle": _sklearn(LogisticRegression(), "cloudpickle"),
    "pyfunc": _pyfunc,
}
