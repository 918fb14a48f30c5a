"""The LightGBM runtime: loads LightGBM's own text file, scores with one thread, computes TreeSHAP.

Values of pandas categories become codes by the file's own table. A value that is not in it counts as missing, as in
LightGBM.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from trimtab.bundle.categories import RowCodes, lightgbm_tables
from trimtab.bundle.outputs import one_a_row
from trimtab.bundle.scorer import Options, Scorer
from trimtab.bundle.spec import Task
from trimtab.errors import DataError
from trimtab.runtimes.opening import Opener
from trimtab.tasks import RULES

PROBABILITY = ("binary", "cross_entropy", "xentropy")
"""Objectives whose prediction is the probability of the positive class."""
CLASS_PROBABILITIES = ("multiclass", "softmax")
"""Objectives whose predictions are the probabilities of the classes."""
IDENTITY = ("regression", "regression_l2", "regression_l1", "l2", "l1", "huber", "fair", "quantile", "mape")
"""Objectives whose prediction is the sum of the leaves."""


class LightgbmScorer:
    """A booster. Raises DataError for a file that LightGBM cannot read or that does not fit the task."""

    in_process = True

    def __init__(self, path: Path, task: Task) -> None:
        try:
            self.booster = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: LightGBM cannot load it: {error}") from error
        self.task = task
        self.objective = _objective(self.booster)
        self._path = path
        self._codes = RowCodes(lightgbm_tables, self.booster)
        rules = RULES[task]
        if self.booster.num_model_per_iteration() != 1 and not rules.by_class:
            raise DataError(f"{path}: it gives {self.booster.num_model_per_iteration()} numbers a row; expected one")
        expected = CLASS_PROBABILITIES if rules.by_class else PROBABILITY if rules.confidence is not None else ()
        if expected and self.objective.split(" ")[0] not in expected:
            raise DataError(
                f"{path}: the objective of a {task} model is '{self.objective}', whose prediction is no probability; "
                f"expected {' or '.join(expected[:2])}"
            )

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of rows."""
        if not len(X):
            return RULES[self.task].no_scores
        X = self._codes.rows(X)
        return one_a_row(self.booster.predict(X, num_threads=1), len(X), task=self.task, what=str(self._path))

    def contributions(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return TreeSHAP values and the base, float64 (rows, features + 1), in log-odds for a binary model."""
        found = np.asarray(
            self.booster.predict(self._codes.rows(X), pred_contrib=True, num_threads=1), dtype=np.float64
        )
        return found * self._steepness

    @property
    def _steepness(self) -> float:
        """The factor that turns the sum of the leaves into log-odds: LightGBM's `sigmoid`."""
        told = [word for word in self.objective.split(" ") if word.startswith("sigmoid:")]
        return float(told[0].removeprefix("sigmoid:")) if told else 1.0

    def close(self) -> None:
        """Free the trees."""
        self.booster.free_dataset()


def _objective(booster: lightgbm.Booster) -> str:
    """Return the objective as it is in the file, such as "binary sigmoid:1"."""
    lines = booster.model_to_string(num_iteration=1).splitlines()
    return next((line.removeprefix("objective=") for line in lines if line.startswith("objective=")), "none")


def open_model(path: Path, task: Task, options: Options) -> Scorer:
    """Open the text file. Raises DataError."""
    return LightgbmScorer(path, task)


def open_trees(path: Path, task: Task, options: Options) -> LightgbmScorer | None:
    """Open the text file for explanations; None when the output is not a plain sum of leaves. Raises DataError."""
    scorer = LightgbmScorer(path, task)
    if RULES[task].by_class:
        return None
    expected = PROBABILITY if task == "binary" else IDENTITY
    words = scorer.objective.split(" ")
    return scorer if words[0] in expected and "sqrt" not in words else None


_: Opener = open_model
