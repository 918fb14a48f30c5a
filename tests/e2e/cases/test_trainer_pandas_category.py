"""Trainers that make a column a pandas category: its values are served, not codes, or the training is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from e2e.cases.one_project import OneGateway, opened, write_project
from trimtab.app.project.workspace import open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.errors import StageError
from trimtab.training.mlflow_client import load_mlflow

EFFECT = {10: -2, 20: 2, 30: -1, 40: 1, 55: 0}
FRAME = """
import pandas as pd
frame = pd.DataFrame(data.X, columns=list(data.feature_names))
frame["shop"] = frame["shop"].astype(int).astype("category")
"""
LIGHTGBM = "from lightgbm import LGBMClassifier\nmodel = LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1)\n"
XGBOOST = (
    "from xgboost import XGBClassifier\nmodel = XGBClassifier(n_estimators=20, enable_categorical=True, n_jobs=1)\n"
)
FIT = "return model.fit(frame, data.y)"


def shops(rows: int = 600) -> dict[str, Any]:
    random = np.random.default_rng(0)
    shop, a = random.choice(list(EFFECT), rows), random.normal(size=rows).round(3)
    y = (a + np.vectorize(EFFECT.get)(shop) + 0.3 * random.normal(size=rows)) > 0
    return {"shop": shop, "a": a, "y": y.astype(float)}


@pytest.mark.parametrize("model", [LIGHTGBM, XGBOOST], ids=["lightgbm", "xgboost"])
def test_values_of_a_category_are_served_as_values(tmp_path: Path, model: str) -> None:
    folder, spec, scorer = opened(write_project(tmp_path / "project", shops(), FRAME + model + FIT))
    data = shops()
    rows = np.column_stack([data["shop"], data["a"]]).astype(np.float32)
    assert roc_auc_score(data["y"], scorer.score(rows)) > 0.95
    high, low = scorer.score(np.array([[20, 0], [10, 0]], dtype=np.float32))
    assert high > 0.8
    assert low < 0.2

    # and MLflow gives the same of the bundle
    mlflow: Any = load_mlflow()
    found = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame(rows[:50], columns=["shop", "a"]))
    np.testing.assert_allclose(found, scorer.score(rows[:50]), atol=1e-6)

    # and a category that is new to it is missing to LightGBM, and refused for XGBoost
    gateway = OneGateway(folder, spec, tmp_path / "log")
    try:
        answer = gateway.ask({"shop": 20, "a": 0}, {"shop": 99, "a": 0})
        if model is XGBOOST:
            assert answer == "column 'shop', row 1: 99 is none of the values that model 'm' version 1 knows: " + (
                "10, 20, 30, 40, 55"
            )
        else:
            assert not isinstance(answer, str)
            assert answer[1] == pytest.approx(scorer.score(np.array([[np.nan, 0]], dtype=np.float32))[0])
    finally:
        gateway.close()


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (
            FRAME + 'frame["shop"] = frame["shop"].map("s{}".format).astype("category")\n' + LIGHTGBM + FIT,
            r"LGBMClassifier cannot be served: .*categories of column 0 by values such as 's10'.*numbers only",
        ),
        (
            FRAME + 'frame["shop"] = frame["shop"].map("s{}".format).astype("category")\n' + XGBOOST + FIT,
            r"XGBClassifier cannot be served: .*categories of column 0 by values such as 's10'.*numbers only",
        ),
        (
            FRAME
            + LIGHTGBM
            + 'model = __import__("sklearn.calibration").calibration.CalibratedClassifierCV(model)\n'
            + FIT,
            r"CalibratedClassifierCV holds a LightGBM model that was fitted on pandas categories.*OrdinalEncoder",
        ),
        (
            FRAME + LIGHTGBM + 'return model.fit(frame[["a", "shop"]], data.y)',
            r"LGBMClassifier was fitted on the columns in the order a, shop; the model's features come as shop, a",
        ),
    ],
    ids=["texts", "texts-xgboost", "inside", "order"],
)
def test_what_cannot_be_told_is_refused_with_the_reason(tmp_path: Path, trainer: str, message: str) -> None:
    workspace = open_workspace(write_project(tmp_path / "project", shops(), trainer))
    ingesting.ingest(workspace)
    dataset = pipeline.snapshot(workspace, "m", as_of=workspace.now())
    with pytest.raises(StageError, match=message):
        pipeline.train(workspace, "m", dataset)
