"""The program of a process that runs one MLflow model: `python -m trimtab.runtimes.pyfunc_worker FOLDER`.

Its hello is the model's task; empty when the model names none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.bundle.categories import category_tables
from trimtab.bundle.mlmodel import MlModel, read_mlmodel, told_task
from trimtab.bundle.outputs import check_estimator, estimator_scores, is_detector, one_a_row
from trimtab.bundle.spec import Task
from trimtab.bundle.typed_matrix import TypedMatrix, model_input
from trimtab.errors import DataError
from trimtab.runtimes.answering import Predict, answer_rows
from trimtab.tasks import RULES

DTYPES = {"double": "f8", "float": "f4", "integer": "i4", "long": "i8", "boolean": "bool"}
"""NumPy's names of MLflow's column types."""


def main(folder: Path) -> None:
    """Serve the model of a folder over standard input and output."""
    answer_rows(lambda _: _with_hello(load(folder)))


def _with_hello(loaded: tuple[Predict, Task | None]) -> tuple[Predict, str]:
    predict, task = loaded
    return predict, task or ""


def load(folder: Path) -> tuple[Predict, Task | None]:
    """Load the model; return the function that scores rows, and the model's task or None."""
    described = read_mlmodel(folder)
    # importing it takes seconds, and only this process needs it
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(folder))
    table = model_input if _is_typed(described) else _table(described)
    task = told_task(described)
    estimator = _estimator(model)
    categories = None if estimator is None else category_tables(estimator)
    if categories is not None:
        table = categories.codes
    if estimator is not None:
        task = task or _task_of(estimator)
        if RULES[task].decides:
            check_estimator(estimator, task)
            return lambda X: estimator_scores(estimator, table(X), task), task
    what = "the model"
    if categories is not None:
        return lambda X: one_a_row(estimator.predict(table(X)), len(X), task=task or "regression", what=what), task
    return lambda X: one_a_row(model.predict(table(X)), len(X), task=task or "regression", what=what), task


def _is_typed(described: MlModel) -> bool:
    """Return True for a bundle of Trimtab with typed features."""
    own = described.metadata.get("trimtab")
    return isinstance(own, dict) and "typed" in own


def _estimator(model: Any) -> Any:
    """Return the scikit-learn estimator inside of a model, or None."""
    if model.loader_module not in ("mlflow.sklearn", "mlflow.lightgbm", "mlflow.xgboost"):
        return None
    inner = model.get_raw_model()
    return inner if hasattr(inner, "get_params") else None


def _task_of(estimator: Any) -> Task:
    """Return the task of an estimator: binary or multiclass with probabilities, anomaly of an outlier detector."""
    if hasattr(estimator, "predict_proba"):
        return "multiclass" if len(estimator.classes_) > 2 else "binary"
    return "anomaly" if is_detector(estimator) else "regression"


def _table(described: MlModel) -> Callable[[np.ndarray[Any, Any]], Any]:
    """Return the function that turns rows of float32 into the table of the signature."""
    # installed with MLflow
    import pandas as pd

    if described.inputs and described.inputs[0].type == "tensor":
        dtype = (described.inputs[0].tensor or {}).get("dtype", "float32")
        return lambda X: X.astype(dtype)
    names = [column.name if column.name is not None else place for place, column in enumerate(described.inputs)]
    dtypes = [np.dtype(DTYPES.get(column.type, "f8")) for column in described.inputs]

    def typed(X: TypedMatrix) -> Any:
        frame = X.frame()
        for place, (column, dtype) in enumerate(zip(described.inputs, dtypes, strict=True)):
            if column.type == "datetime":
                frame[column.name] = frame[column.name].astype("datetime64[ns]")
            elif column.type != "string":
                if dtype.kind in "ib" and frame[column.name].isna().any():
                    raise missing(place)
                frame[column.name] = frame[column.name].astype(dtype)
        return frame

    def missing(place: int) -> DataError:
        column = described.inputs[place]
        return DataError(f"column '{column.name}' is missing in a row; the signature says {column.type}")

    def table(X: np.ndarray[Any, Any]) -> Any:
        if isinstance(X, TypedMatrix):
            return typed(X)
        if X.shape[1] != len(names):
            raise DataError(f"rows have {X.shape[1]} columns; the signature has {len(names)}")
        columns = {}
        for place, (name, dtype) in enumerate(zip(names, dtypes, strict=True)):
            values = X[:, place]
            if dtype.kind in "ib" and np.isnan(values).any():
                raise missing(place)
            columns[name] = values.astype(dtype)
        return pd.DataFrame(columns)

    return table


if __name__ == "__main__":
    main(Path(sys.argv[1]))
