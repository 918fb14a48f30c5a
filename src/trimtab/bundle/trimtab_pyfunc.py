"""Loads a Trimtab bundle for MLflow. Each bundle holds a copy, so that MLflow needs neither Trimtab nor the project.

`mlflow.pyfunc.load_model(uri).predict(frame)` takes the model's features by name and returns the gateway's numbers: the
probability of a binary model, a column of probabilities for each class of a multiclass model, the value of a
regression, or an anomaly score. With `params={"output": "label"}`, or `model_config={"output": "label"}` where MLflow
evaluates a classifier, it returns the decision: 0 or 1 by the model's threshold, or the name of a class. It refuses the
values that the gateway refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
Score = Callable[[Array], Array]
OUTPUTS = {
    "binary": ("probability", "label"),
    "multiclass": ("probability", "label"),
    "anomaly": ("anomaly_score", "label"),
}
"""Outputs of each task that has a decision."""


class BundleModel:
    """A bundle's model. folder: the MLflow model, with its description in the metadata of MLmodel.

    output: one of OUTPUTS of the model's task, the output when `params` names none; None: the first of them.
    """

    def __init__(self, folder: Path, output: str | None = None) -> None:
        described = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        self._about: dict[str, Any] = described["metadata"]["trimtab"]
        self._features: list[str] = self._about["features"]
        self._task: str = self._about["task"]
        self._classes: list[str] = self._about.get("classes", [])
        self._outputs = OUTPUTS.get(self._task, ("prediction",))
        self._output = output or self._outputs[0]
        self._typed, typed = None, self._about.get("typed")
        if typed:
            # a copy of typed_matrix.py, which bundles with typed features alone have
            import trimtab_typed  # type: ignore[import-not-found]  # it lies beside this file in the bundle

            self._typed = trimtab_typed
            self._schema = self._typed.Schema(tuple(self._features), **typed)
        types = described["flavors"].get("sklearn", {}).get("skops_trusted_types", [])
        self._score = _opened(folder / self._about["file"], self._about["runtime"], self._task, types)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Return one number a row of a DataFrame that has the features as columns, float64 (rows,).

        Probabilities of several classes are a DataFrame with a column a class; labels are int64, or texts. Raises
        ValueError, which names missing columns, or a value that the model does not accept.
        """
        output = (params or {}).get("output") or self._output
        if output not in self._outputs:
            raise ValueError(f"output is {output!r}; expected {' or '.join(map(repr, self._outputs))}")
        # imported here, because it takes a while to import, and packaging copies this file alone
        import pandas as pd

        if not isinstance(model_input, pd.DataFrame):
            raise ValueError(f"expected a DataFrame with the columns {', '.join(self._features)}")
        missing = [name for name in self._features if name not in model_input.columns]
        if missing:
            raise ValueError(f"columns are missing: {', '.join(missing)}; expected {', '.join(self._features)}")
        X = self._rows(model_input)
        self._check(X)
        several = self._task == "multiclass"
        if len(X):
            scores = _shaped(self._score(self._coded(X)), len(X), self._task)
        else:
            scores = np.empty((0, len(self._classes))) if several else np.empty(0)
        if output == "label":
            return self._labels(scores)
        return pd.DataFrame(scores, columns=self._classes) if several else scores

    def _labels(self, scores: Array) -> Array:
        flagged = scores.argmax(axis=1) if scores.ndim == 2 else (scores >= self._about["threshold"]).astype(np.int64)
        return np.array(self._classes, dtype=object)[flagged] if self._classes else np.asarray(flagged)

    def _rows(self, frame: pd.DataFrame) -> Array:
        if self._typed is not None:
            return self._typed.from_frame(self._schema, frame)  # type: ignore[no-any-return]  # the bundle's own module
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(frame[self._features].to_numpy(dtype=np.float64, na_value=np.nan), np.float32)

    def _check(self, X: Array) -> None:
        limits = self._about["limits"]
        for place, name in enumerate(self._features):
            column = X[:, place]
            missing = np.isnan(column)
            bad = missing if name in limits["no_null"] else np.zeros(len(X), dtype=bool)
            bad = bad | (column > np.float32(limits["highest"].get(name, np.inf)))
            bad = bad | (column < np.float32(limits["lowest"].get(name, -np.inf)))
            if name in limits["categories"]:
                bad = bad | (~missing & ~np.isin(column, np.array(limits["categories"][name], dtype=np.float32)))
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                raise ValueError(f"column '{name}', row {row}: the model does not take {column[row]}")

    def _coded(self, X: Array) -> Array:
        """Return rows in which codes of pandas categories replace their values."""
        for name, values in self._about["categories"].items():
            place, table = self._features.index(name), np.array(values, dtype=np.float32)
            column = X[:, place].copy()
            X[:, place] = np.nan
            for code, value in enumerate(table):
                X[column == value, place] = code
        return X


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> BundleModel:
    """Return the model of a folder. MLflow looks for a function of this name."""
    return BundleModel(Path(path), **(model_config or {}))


def _is_frame(X: Any) -> bool:
    """Return True for typed rows of a model that takes a frame."""
    return getattr(getattr(X, "schema", None), "form", "") == "frame"


def _numbers(X: Any) -> Array:
    """Return rows as a booster takes them."""
    return np.asarray(X.numbers() if _is_frame(X) else X)


def _shaped(found: Array, rows: int, task: str) -> Array:
    """Return scores as float64 (rows,), or (rows, classes) of several classes."""
    if task == "multiclass":
        return found.reshape(rows, -1)
    if task == "binary" and found.ndim == 2 and found.shape[1] == 2:
        return found[:, 1]
    return found.reshape(rows)


def _opened(path: Path, runtime: str, task: str, types: list[str]) -> Score:
    openers: dict[str, Callable[..., Score]] = {
        "onnx": _onnx,
        "lightgbm": _lightgbm,
        "xgboost": _xgboost,
        "catboost": _catboost,
        "skops": _skops,
        "torchscript": _torchscript,
        "project": _project,
    }
    return openers[runtime](path, task, types)


def _onnx(path: Path, task: str, types: list[str]) -> Score:
    # a bundle needs only one of these libraries, and its requirements.txt names only that one
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    there = [output.name for output in session.get_outputs()]
    wanted = {"binary": "probabilities", "multiclass": "probabilities", "anomaly": "anomaly_score"}.get(task)
    output = wanted if wanted in there else there[0]

    def score(X: Any) -> Array:
        columns = X.columns() if _is_frame(X) else {session.get_inputs()[0].name: np.asarray(X)}
        return np.asarray(session.run([output], columns)[0], dtype=np.float64)

    return score


def _lightgbm(path: Path, task: str, types: list[str]) -> Score:
    import lightgbm

    booster = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
    return lambda X: np.asarray(booster.predict(_numbers(X)), dtype=np.float64)


def _xgboost(path: Path, task: str, types: list[str]) -> Score:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(str(path))
    best = booster.attr("best_iteration")
    rounds = (0, 0) if best is None else (0, int(best) + 1)
    return lambda X: np.asarray(
        booster.inplace_predict(_numbers(X), iteration_range=rounds, validate_features=False), dtype=np.float64
    )


def _catboost(path: Path, task: str, types: list[str]) -> Score:
    import catboost

    model = catboost.CatBoost()
    model.load_model(str(path), format="cbm")
    objective = str(model.get_all_params()["loss_function"]).partition(":")[0]
    kind = "Exponent" if objective in ("Poisson", "Tweedie") else "RawFormulaVal"
    kind = "Probability" if task in ("binary", "multiclass") else kind
    return lambda X: np.asarray(model.predict(_given(X), prediction_type=kind), dtype=np.float64)


def _torchscript(path: Path, task: str, types: list[str]) -> Score:
    import torch

    module = torch.jit.load(str(path), map_location="cpu").eval()

    def score(X: Array) -> Array:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(np.asarray(X))).numpy(), dtype=np.float64)

    return score


def _project(path: Path, task: str, types: list[str]) -> Score:
    import pickle

    return _estimator(pickle.loads(path.read_bytes()), task)


def _skops(path: Path, task: str, types: list[str]) -> Score:
    from skops.io import load

    return _estimator(load(path, trusted=types), task)


def _estimator(model: Any, task: str) -> Score:
    if task == "anomaly" and (hasattr(model, "score_samples") or hasattr(model, "decision_function")):
        score = model.score_samples if hasattr(model, "score_samples") else model.decision_function
        return lambda X: -np.asarray(score(_given(X)), dtype=np.float64)
    if task not in ("binary", "multiclass") or not hasattr(model, "predict_proba"):
        return lambda X: np.asarray(model.predict(_given(X)), dtype=np.float64)
    if task == "multiclass":
        return lambda X: np.asarray(model.predict_proba(_given(X)), dtype=np.float64)
    classes = [float(label) for label in model.classes_]
    if 1.0 not in classes:
        return lambda X: np.zeros(len(X))
    return lambda X: np.asarray(model.predict_proba(_given(X))[:, classes.index(1.0)], dtype=np.float64)


def _given(X: Any) -> Any:
    """Return rows as an estimator takes them."""
    return X.frame() if _is_frame(X) else np.asarray(X)
