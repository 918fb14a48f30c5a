"""MLflow folders of boosters with pandas categories: served by the values of their own table, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from e2e.cases.one_project import OneGateway
from trimtab.errors import DataError
from trimtab.runtimes.opening import open_scorer
from trimtab.runtimes.servable import describe
from trimtab.training.mlflow_client import load_mlflow

SHOPS = [10, 20, 30, 40, 55]
EFFECT = {10: -2, 20: 2, 30: -1, 40: 1, 55: 0}
ROWS = np.array([[20, 0], [10, 0], [55, 1.5]], dtype=np.float32)


def frame(*, texts: bool = False) -> tuple[pd.DataFrame, Any]:
    random = np.random.default_rng(0)
    cat, a = random.choice(SHOPS, 500), random.normal(size=500)
    y = ((a + np.vectorize(EFFECT.__getitem__)(cat)) > 0).astype(int)
    values = pd.Categorical([f"c{value}" for value in cat]) if texts else pd.Categorical(cat, categories=SHOPS)
    return pd.DataFrame({"cat": values, "a": a}), y


def save(flavour: str, model: Any, path: Path, **options: Any) -> Path:
    load_mlflow()
    from importlib import import_module

    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    signature = ModelSignature(Schema([ColSpec("long", "cat"), ColSpec("double", "a")]), Schema([ColSpec("double")]))
    import_module(f"mlflow.{flavour}").save_model(
        model, str(path), signature=signature, pip_requirements=["mlflow"], **options
    )
    return path


def test_a_booster_of_lightgbm_is_served_by_values(tmp_path: Path) -> None:
    # given the booster of a classifier that was trained on a category
    X, y = frame()
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(X, y)
    folder = save("lightgbm", model.booster_, tmp_path / "model")

    # then the folder answers values as LightGBM does of a DataFrame, and new ones as it does of missing ones
    spec = describe(folder)
    assert spec.task == "binary"
    table = pd.DataFrame({"cat": pd.Categorical([20, 10, 55], categories=SHOPS), "a": ROWS[:, 1].astype(float)})
    np.testing.assert_allclose(
        open_scorer(folder, spec).score(ROWS), np.asarray(model.predict_proba(table))[:, 1], atol=1e-6
    )
    gateway = OneGateway(folder, spec, tmp_path / "log")
    try:
        answer = gateway.ask({"cat": 20, "a": 0}, {"cat": 10, "a": 0}, {"cat": 99, "a": 0})
    finally:
        gateway.close()
    as_missing = np.array([[20, 0], [10, 0], [np.nan, 0]], dtype=np.float32)
    assert not isinstance(answer, str)
    assert answer == pytest.approx(open_scorer(folder, spec).score(as_missing).tolist())
    assert answer[0] > 0.7
    assert answer[1] < 0.3


@pytest.mark.parametrize("form", ["skops", "pickle"])
def test_a_classifier_of_lightgbm_in_another_form_is_served_by_values(tmp_path: Path, form: str) -> None:
    X, y = frame()
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(X, y)
    kind = {"skops": "skops", "pickle": "cloudpickle"}[form]
    options = {"skops_trusted_types": TRUSTED} if form == "skops" else {}
    folder = save("sklearn", model, tmp_path / "model", serialization_format=kind, **options)
    trust = ["pyfunc"]
    spec = describe(folder, trust=trust, task="binary")
    scorer = open_scorer(folder, spec, trust=trust)
    try:
        high, low, _ = scorer.score(ROWS)
    finally:
        scorer.close()
    assert high > 0.7
    assert low < 0.3


TRUSTED = ["collections.OrderedDict", "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier"]


def test_a_model_of_xgboost_is_served_by_values_and_refuses_new_ones(tmp_path: Path) -> None:
    X, y = frame()
    model = xgboost.XGBClassifier(n_estimators=20, enable_categorical=True, n_jobs=1).fit(X, y)
    folder = save("xgboost", model, tmp_path / "model")
    gateway = OneGateway(folder, describe(folder, task="binary"), tmp_path / "log")
    try:
        answer = gateway.ask({"cat": 20, "a": 0}, {"cat": 10, "a": 0})
        told = gateway.ask({"cat": 1, "a": 0})
    finally:
        gateway.close()
    assert not isinstance(answer, str)
    assert answer[0] > 0.7
    assert answer[1] < 0.3
    assert str(told).startswith("column 'cat', row 0: 1 is none of the values that model 'model' version 1 knows: 10,")


def test_categories_that_are_texts_are_refused(tmp_path: Path) -> None:
    X, y = frame(texts=True)
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(X, y)
    folder = save("lightgbm", model.booster_, tmp_path / "model")
    scorer = open_scorer(folder, describe(folder, task="binary"))
    with pytest.raises(DataError, match=r"categories of column 0 by values such as 'c10', and rows hold numbers only"):
        scorer.score(ROWS)
