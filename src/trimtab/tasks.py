"""What the labels and scores of each task are, and how decisions, losses, confidences and mistakes follow from them.

task        label                        scores                                    decision
binary      0 or 1                       probability of 1, (rows,)                 1 from the threshold on
multiclass  index of the class           probabilities, (rows, classes)            the most probable class
regression  a number                     the predicted value, (rows,)              the score itself
anomaly     0 or 1; 1 is an anomaly      how anomalous, more is more so, (rows,)   1 from the threshold on
chat        0 or 1; 1 is a bad turn      always 0, (rows,)                         0: every turn is meant well

Labels and decisions are float64 (rows,). The names of classes are in `Spec.classes`, in the order of the columns. A
label that is none of the known classes has the index UNKNOWN_CLASS: each prediction of such a row is a mistake.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from trimtab.errors import DataError
from trimtab.lazy_library import LazyLibrary
from trimtab.metric_catalog import Mistake, Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    Floats = npt.NDArray[np.float64]
else:
    np, pl = LazyLibrary("numpy"), LazyLibrary("polars")

ANOMALY_SCORE = "anomaly_score"
"""Output of an ONNX graph with the scores of an anomaly model."""
UNKNOWN_CLASS = -1.0
"""Label of a row whose true class the model does not know."""
SMALLEST = sys.float_info.epsilon
"""Probabilities are kept this far from 0 and 1 in a log loss, so that one certain mistake does not cost infinity."""


@dataclass(frozen=True)
class Rules:
    """What holds for one task. Arrays have no NaN; y and decisions are (rows,), scores as in the table above.

    A threshold is one number, or one for each row, (rows,), where the rows are of several versions.
    """

    label: Literal["zero_one", "class", "number"]
    output: Literal["probability", "probabilities", "value", "anomaly_score", "nothing"]
    decide: Callable[[Floats, float | Floats], Floats]
    """Scores and threshold -> the decision of each row, in the values of a label; NaN of a row without scores of
    classes."""
    loss: Callable[[Floats, Floats, float | Floats], Floats]
    """Labels, scores and threshold -> what is wrong with each row: log loss; squared error of a regression; of an
    anomaly score, which is no probability, 1 for a wrong decision."""
    squared: Callable[[Floats, Floats, float | Floats], Floats]
    """Labels, scores and threshold -> the squared loss of each row: Brier's; squared error; as `loss` for an anomaly
    score."""
    mistakes: Callable[[Floats, Floats, float | Floats], dict[Mistake, Floats]]
    """Labels, scores and threshold -> each kind of mistake that can have a price: 0 or 1, or the size of the error."""
    confidence: Callable[[Floats], Floats] | None = None
    """Scores -> the probability of the decision at a threshold of 0.5; None where scores are no probabilities."""
    needs_labels: bool = True
    """Whether training needs labels."""

    @property
    def by_class(self) -> bool:
        """Whether it has named classes, and one score for each."""
        return self.output == "probabilities"

    @property
    def decides(self) -> bool:
        """Whether its answer has a decision in addition to the score."""
        return self.output != "value"

    @property
    def has_threshold(self) -> bool:
        """Whether a threshold turns its score into a decision."""
        return self.label == "zero_one"

    @property
    def expected(self) -> str:
        """What a label is, in words for messages."""
        return {"zero_one": "0 or 1", "class": "one of the classes", "number": "a number"}[self.label]

    @property
    def graph_output(self) -> str | None:
        """The name of the output of an ONNX graph that holds the scores; None: the first output."""
        named = {"probability": "probabilities", "probabilities": "probabilities", "anomaly_score": ANOMALY_SCORE}
        return named.get(self.output)

    def threshold_beside(self, own: float, other: float) -> float:
        """Return the threshold of another version that is compared with one: its own.

        The level of a quantile says which loss compares them, so it is the same for both.
        """
        return other if self.has_threshold else own

    @property
    def no_scores(self) -> Floats:
        """The scores of no rows."""
        return np.empty((0, 2)) if self.by_class else np.empty(0)

    def main_score(self, scores: Floats) -> Floats:
        """Return one number a row, (rows,): of several classes the probability of the predicted one."""
        return scores.max(axis=1) if self.by_class else scores

    def wrong_labels(self, y: Floats, classes: int = 0) -> Floats:
        """Return the distinct labels that do not fit the task. classes: how many the model has, if it has classes."""
        if self.label == "number":
            infinite: Floats = np.unique(y[np.isinf(y)])
            return infinite
        known = np.arange(float(classes)) if self.by_class else np.array([0.0, 1.0])
        found: Floats = np.setdiff1d(y[~np.isnan(y)], known)
        return found


def numbers_of_classes(classes: Sequence[str]) -> dict[str, float]:
    """Return the number of each text that is a label of a binary model with named classes.

    The texts are the names, and "0" and "1" too where no class is so named: the label 1 is the first one of the classes
    ("1", "2"), and the second one of ("no", "yes").
    """
    named = {name: float(number) for number, name in enumerate(classes)}
    return named if {"0", "1"} & named.keys() else {"0": 0.0, "1": 1.0, **named}


def true_probability(y: Floats, scores: Floats) -> Floats:
    """Return the probability of each row's true class, (rows,); 0 where the class is not known.

    y: index of the class (rows,). scores: (rows, classes).
    """
    known = (y >= 0) & (y < scores.shape[1])
    place = np.where(known, y, 0).astype(np.int64)
    return np.where(known, scores[np.arange(len(y)), place], 0.0)


def class_log_loss(y: Floats, scores: Floats) -> Floats:
    """Return -log of the probability of the true class, in nats, (rows,)."""
    return -np.log(np.clip(true_probability(y, scores), SMALLEST, 1.0))


def class_brier(y: Floats, scores: Floats) -> Floats:
    """Return half the squared distance between probabilities and the true class, (rows,): from 0 to 1.

    With two classes this is the squared error of the probability of one, as of a binary model.
    Source: G. W. Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78 (1950).
    """
    true = true_probability(y, scores)
    found: Floats = ((scores**2).sum(axis=1) - 2 * true + 1) / 2
    return found


def class_names(column: pl.Series, *, where: str) -> pl.Series:
    """Return labels as names of classes, String: texts as they are, whole numbers in digits, booleans as true or false.

    So training sets and outcomes have the same names. where: of the column, for the message. Raises DataError for
    numbers that are not whole, and for other values.
    """
    dtype = column.dtype
    if dtype in (pl.Null, pl.Boolean) or isinstance(dtype, pl.String | pl.Categorical | pl.Enum) or dtype.is_integer():
        return column.cast(pl.String)
    if dtype.is_numeric():
        numbers = column.cast(pl.Float64).fill_nan(None)
        broken = numbers.filter((numbers != numbers.round()) | numbers.is_infinite())
        if not len(broken):
            return numbers.cast(pl.Int64).cast(pl.String)  # pandas writes whole numbers as floats if some are missing
        found = f"{broken[0]:g}"
    else:
        found = str(dtype)
    raise DataError(f"{where}: column '{column.name}' has {found}; labels of classes are texts or whole numbers")


def _flag_log_loss(y: Floats, scores: Floats, threshold: float | Floats) -> Floats:
    p = np.clip(scores, SMALLEST, 1 - SMALLEST)
    return -np.where(y > 0, np.log(p), np.log1p(-p))


def _flag(scores: Floats, threshold: float | Floats) -> Floats:
    decided: Floats = (scores >= threshold).astype(np.float64)
    return decided


def _wrong_flag(y: Floats, scores: Floats, threshold: float | Floats) -> Floats:
    wrong: Floats = (_flag(scores, threshold) != y).astype(np.float64)
    return wrong


def _flag_mistakes(y: Floats, scores: Floats, threshold: float | Floats) -> dict[Mistake, Floats]:
    yes = scores >= threshold
    return {
        "false_negative": ((y > 0.5) & ~yes).astype(np.float64),
        "false_positive": ((y <= 0.5) & yes).astype(np.float64),
    }


def _best_class(scores: Floats, threshold: float | Floats) -> Floats:
    best: Floats = np.where(np.isnan(scores).any(axis=1), np.nan, scores.argmax(axis=1))
    return best


def _class_mistakes(y: Floats, scores: Floats, threshold: float | Floats) -> dict[Mistake, Floats]:
    return {"misclassification": (_best_class(scores, threshold) != y).astype(np.float64)}


def _squared_error(y: Floats, scores: Floats, threshold: float | Floats) -> Floats:
    found: Floats = (scores - y) ** 2
    return found


def _errors(y: Floats, scores: Floats, threshold: float | Floats) -> dict[Mistake, Floats]:
    error = scores - y
    return {
        "absolute_error": np.abs(error),
        "over_prediction": np.maximum(error, 0.0),
        "under_prediction": np.maximum(-error, 0.0),
    }


def _value(scores: Floats, threshold: float | Floats) -> Floats:
    return scores


RULES: Mapping[Task, Rules] = MappingProxyType(
    {
        "binary": Rules(
            label="zero_one",
            output="probability",
            decide=_flag,
            loss=_flag_log_loss,
            squared=_squared_error,
            mistakes=_flag_mistakes,
            confidence=lambda scores: np.maximum(scores, 1.0 - scores),
        ),
        "multiclass": Rules(
            label="class",
            output="probabilities",
            decide=_best_class,
            loss=lambda y, scores, threshold: class_log_loss(y, scores),
            squared=lambda y, scores, threshold: class_brier(y, scores),
            mistakes=_class_mistakes,
            confidence=lambda scores: scores.max(axis=1),
        ),
        "regression": Rules(
            label="number",
            output="value",
            decide=_value,
            loss=_squared_error,
            squared=_squared_error,
            mistakes=_errors,
        ),
        "anomaly": Rules(
            label="zero_one",
            output="anomaly_score",
            decide=_flag,
            loss=_wrong_flag,
            squared=_wrong_flag,
            mistakes=_flag_mistakes,
            needs_labels=False,
        ),
        "chat": Rules(
            label="zero_one",
            output="nothing",
            decide=lambda scores, threshold: np.zeros(len(scores)),
            loss=lambda y, scores, threshold: y,
            squared=lambda y, scores, threshold: y,
            mistakes=lambda y, scores, threshold: {"bad_turn": y},
            needs_labels=False,
        ),
    }
)
"""The rules of each task."""
