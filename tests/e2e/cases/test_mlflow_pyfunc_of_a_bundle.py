"""MLflow takes a bundle from the registry by its alias, asks it by names of columns, and evaluates it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from e2e.cases.one_project import numbers, register, write_project
from trimtab.app.stages import pipeline
from trimtab.bundle.spec import read_spec
from trimtab.runtimes.opening import open_scorer
from trimtab.training.mlflow_client import load_mlflow

TRAINER = "from sklearn.linear_model import LogisticRegression\nreturn LogisticRegression().fit(data.X, data.y)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose model is champion; returns the bundle's folder."""
    project = write_project(tmp_path_factory.mktemp("project") / "case", numbers(), TRAINER)
    workspace, bundle = register(project)
    pipeline.deploy(workspace, bundle, cause="test", reason="test", by="test")
    return workspace.artifacts.open(bundle.path)


@pytest.fixture
def mlflow(folder: Path) -> Iterator[Any]:
    """MLflow with the project's registry."""
    module: Any = load_mlflow()

    before = module.get_tracking_uri()
    root = next(parent for parent in folder.parents if (parent / "mlflow.db").is_file())
    module.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
    yield module
    module.set_tracking_uri(before)


@pytest.fixture
def rows() -> pd.DataFrame:
    """Rows as pandas has them, float64, with the columns in another order and one more."""
    data = numbers()
    return pd.DataFrame({"c": data["c"], "other": "text", "y": data["y"], "a": data["a"], "b": data["b"]})


def test_the_champion_is_asked_by_the_names_of_its_columns(mlflow: Any, folder: Path, rows: pd.DataFrame) -> None:
    model = mlflow.pyfunc.load_model("models:/case.m@champion")
    assert [(column.name, column.type.name) for column in model.metadata.signature.inputs] == [
        ("a", "double"),
        ("b", "double"),
        ("c", "double"),
    ]
    found = model.predict(rows)
    spec = read_spec(folder)
    expected = open_scorer(folder, spec).score(rows[["a", "b", "c"]].to_numpy(dtype=np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    labels = model.predict(rows, params={"output": "label"})
    assert labels.tolist() == (expected >= spec.threshold).astype(int).tolist()


def test_wrong_names_and_values_that_are_not_taken_are_refused(mlflow: Any, rows: pd.DataFrame) -> None:
    model = mlflow.pyfunc.load_model("models:/case.m@champion")
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"missing inputs \['a'\]"):
        model.predict(rows.rename(columns={"a": "A"}))
    with pytest.raises(ValueError, match="column 'b', row 3: the model does not take nan"):
        model.predict(rows.assign(b=rows["b"].where(rows.index != 3)))


def test_mlflow_evaluates_it(mlflow: Any, rows: pd.DataFrame) -> None:
    pytest.importorskip("matplotlib")
    result = mlflow.models.evaluate(
        "models:/case.m@champion",
        rows.drop(columns="other"),
        targets="y",
        model_type="classifier",
        model_config={"output": "label"},
        evaluator_config={"log_explainer": False},
    )
    assert result.metrics["accuracy_score"] > 0.9


def test_requirements_are_those_of_the_model(folder: Path) -> None:
    names = {line.partition("==")[0] for line in (folder / "requirements.txt").read_text().splitlines()}
    assert names == {"mlflow", "numpy", "onnx", "onnxruntime", "pandas"}
    assert len((folder / "environment.txt").read_text().splitlines()) > 30
