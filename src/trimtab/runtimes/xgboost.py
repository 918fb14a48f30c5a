"""The XGBoost runtime: loads XGBoost's own file, scores with one thread, computes TreeSHAP.

Values of pandas categories become codes by the file's own table. A value that is not in it is refused, because
XGBoost would score some of them as a neighbouring category.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xgboost

from trimtab.bundle.categories import RowCodes, xgboost_tables
from trimtab.bundle.outputs import one_a_row
from trimtab.bundle.scorer import Options, Scorer
from trimtab.bundle.spec import Task
from trimtab.errors import DataError
from trimtab.runtimes.opening import Opener
from trimtab.tasks import RULES

PROBABILITY = ("binary:logistic", "reg:logistic")
"""Objectives whose prediction is the probability of the positive class."""
CLASS_PROBABILITIES = ("multi:softprob",)
"""Objectives whose predictions are the probabilities of the classes."""
IDENTITY = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror")
"""Objectives whose prediction is the sum of the leaves."""


class XgboostScorer:
    """A booster. Raises DataError for a file that XGBoost cannot read or that does not fit the task."""

    in_process = True

    def __init__(self, path: Path, task: Task) -> None:
        self.booster = xgboost.Booster()
        try:
            self.booster.load_model(str(path))
            config = msgspec.json.decode(self.booster.save_config())
        except (xgboost.core.XGBoostError, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DataError(f"{path}: XGBoost cannot load it: {reason}") from error
        self.booster.set_param({"nthread": 1})
        self.task = task
        self.objective = str(config["learner"]["objective"]["name"])
        self.linear = config["learner"]["gradient_booster"]["name"] == "gblinear"
        self._path = path
        shape = config["learner"]["learner_model_param"]
        numbers = max(int(shape.get("num_class", 0)), int(shape.get("num_target", 1)))
        rules = RULES[task]
        if numbers > 1 and not rules.by_class:
            raise DataError(f"{path}: it gives {numbers} numbers a row; expected one")
        expected = CLASS_PROBABILITIES if rules.by_class else PROBABILITY if rules.confidence is not None else ()
        if expected and self.objective not in expected:
            raise DataError(
                f"{path}: the objective of a {task} model is '{self.objective}', whose prediction is no probability; "
                f"expected {expected[0]}"
            )
        self._codes = RowCodes(xgboost_tables, self.booster)
        best = self.booster.attr("best_iteration")
        self.iterations = (0, int(best) + 1) if best is not None and not self.linear else (0, 0)
        """Range of rounds that are used: up to the best one after early stopping; (0, 0) for all."""

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of rows."""
        if not len(X):
            return RULES[self.task].no_scores
        X = self._codes.rows(X)
        if self.linear:  # which cannot predict in place
            out = self.booster.predict(xgboost.DMatrix(X, nthread=1), validate_features=False)
        else:
            out = self.booster.inplace_predict(X, iteration_range=self.iterations, validate_features=False)
        return one_a_row(out, len(X), task=self.task, what=str(self._path))

    def contributions(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return TreeSHAP values and the base, float64 (rows, features + 1), in log-odds for a binary model."""
        rows = xgboost.DMatrix(
            self._codes.rows(X),
            nthread=1,
            feature_types=self.booster.feature_types,
            enable_categorical=True,
        )
        found = self.booster.predict(rows, pred_contribs=True, iteration_range=self.iterations, validate_features=False)
        return np.asarray(found, dtype=np.float64)

    def categories(self) -> dict[int, tuple[float, ...]]:
        """Return the accepted values of columns of pandas categories, by the place of the column."""
        tables = {} if self._codes.tables is None else self._codes.tables.values
        return {place: tuple(values.tolist()) for place, values in tables.items()}

    def close(self) -> None:
        """No-op: the model holds memory only."""


def open_model(path: Path, task: Task, options: Options) -> Scorer:
    """Open the file. Raises DataError."""
    return XgboostScorer(path, task)


def open_trees(path: Path, task: Task, options: Options) -> XgboostScorer | None:
    """Open the file for explanations; None when the output is not a plain sum of leaves. Raises DataError."""
    if RULES[task].by_class:
        return None
    scorer = XgboostScorer(path, task)
    return scorer if scorer.objective in (PROBABILITY if task == "binary" else IDENTITY) else None


_: Opener = open_model
