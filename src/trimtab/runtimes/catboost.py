"""The CatBoost runtime: loads CatBoost's own binary file (cbm), scores with one thread, computes TreeSHAP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost
import numpy as np

from trimtab.bundle.outputs import one_a_row
from trimtab.bundle.scorer import Options, Scorer
from trimtab.bundle.spec import Task
from trimtab.bundle.typed_matrix import model_input
from trimtab.errors import DataError
from trimtab.runtimes.opening import Opener
from trimtab.tasks import RULES

PROBABILITY = ("Logloss", "CrossEntropy")
"""Loss functions whose model gives the probability of the positive class."""
CLASS_PROBABILITIES = ("MultiClass",)
"""Loss functions whose model gives the probabilities of the classes."""
IDENTITY = ("RMSE", "MAE", "Quantile", "MAPE", "Huber", "LogCosh", "Expectile")
"""Loss functions whose prediction is the sum of the leaves."""

LOG = ("Poisson", "Tweedie")
"""Loss functions whose prediction is the exponential of the sum of the leaves."""


class CatboostScorer:
    """A model of trees. Raises DataError for a file that CatBoost cannot read or that does not fit the task."""

    in_process = True

    def __init__(self, path: Path, task: Task) -> None:
        self.model = catboost.CatBoost()
        try:
            self.model.load_model(str(path), format="cbm")
            self.objective = _objective(self.model)
        except (catboost.CatBoostError, KeyError, ValueError) as error:
            raise DataError(f"{path}: CatBoost cannot load it: {error}") from error
        self.task = task
        self._path = path
        rules = RULES[task]
        expected = CLASS_PROBABILITIES if rules.by_class else PROBABILITY if rules.confidence is not None else ()
        if expected and self.objective not in expected:
            raise DataError(
                f"{path}: the loss function of a {task} model is '{self.objective}', whose prediction is no "
                f"probability; expected {' or '.join(expected)}"
            )

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of rows."""
        rules = RULES[self.task]
        if not len(X):
            return rules.no_scores
        kind = (
            "Probability" if rules.confidence is not None else "Exponent" if self.objective in LOG else "RawFormulaVal"
        )
        found = self.model.predict(model_input(X), prediction_type=kind, thread_count=1)
        return one_a_row(found, len(X), task=self.task, what=str(self._path))

    def contributions(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return TreeSHAP values and the base, float64 (rows, features + 1), in log-odds for a binary model."""
        found = self.model.get_feature_importance(
            catboost.Pool(model_input(X), thread_count=1), type="ShapValues", thread_count=1
        )
        return np.asarray(found, dtype=np.float64)

    def close(self) -> None:
        """No-op: the model holds memory only."""


def _objective(model: catboost.CatBoost) -> str:
    """Return the name of the loss function, without its parameters."""
    return str(model.get_all_params()["loss_function"]).partition(":")[0]


def open_model(path: Path, task: Task, options: Options) -> Scorer:
    """Open the file. Raises DataError."""
    return CatboostScorer(path, task)


def open_trees(path: Path, task: Task, options: Options) -> CatboostScorer | None:
    """Open the file for explanations; None when the output is not a plain sum of leaves. Raises DataError."""
    if RULES[task].by_class:
        return None
    scorer = CatboostScorer(path, task)
    return scorer if scorer.objective in (PROBABILITY if task == "binary" else IDENTITY) else None


_: Opener = open_model
