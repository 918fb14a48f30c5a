"""Metrics of labels and scores, computed. Their facts (direction, task, defaults) are in `metric_catalog.METRICS`.

Functions take y as a 1-D array, scores, and a threshold. Scores are 1-D, or (rows, classes) of a multiclass model,
whose labels are indices of classes. A window in which a metric is not defined (one class only, no row) gives NaN,
never an exception. They equal scikit-learn's where those are defined, and are quick, because an interval evaluates one
for each day.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError, UsageError, nearest
from trimtab.lazy_library import LazyLibrary
from trimtab.metric_catalog import METRICS
from trimtab.stats.schemes import Floats
from trimtab.tasks import RULES, class_brier, class_log_loss

if TYPE_CHECKING:
    from scipy import special
else:
    special = LazyLibrary("scipy.special")

THRESHOLD = 0.5

Array = npt.NDArray[Any]
MetricFunction = Callable[[Array, Array, float | Floats], float]


class Formula(NamedTuple):
    """How one metric is computed."""

    function: MetricFunction
    """Labels, scores and threshold -> the metric."""
    no_skill: Callable[[Floats], float] | None = None
    """Labels -> what a model without skill reaches on them; None for a metric of several classes alone."""


def metric_value(name: str, y: npt.ArrayLike, scores: npt.ArrayLike, *, threshold: float | Floats = THRESHOLD) -> float:
    """Return a metric by name.

    Args:
        name: a key of FORMULAS, such as roc_auc or rmse.
        y: labels 0 or 1 (binary, anomaly), values (regression) or indices of classes (multiclass), [rows].
        scores: probabilities of 1 (binary), anomaly scores or predictions (regression), [rows]; probabilities of each
            class (multiclass), [rows, classes].
        threshold: a row counts as predicted 1 from this score on; read by accuracy, precision, recall and f1. One for
            all rows, or one a row, [rows], where they are of several versions. Of mean_pinball_loss the level of the
            quantile.

    Returns:
        The metric; NaN where the rows do not define it.

    Raises:
        UsageError: for an unknown name.
        DataError: for arrays of different lengths or too many dimensions, and for NaN in them.

    >>> metric_value("brier", [0, 1, 1], [0.1, 0.8, 0.7])
    0.04666...
    >>> metric_value("f1_macro", [0, 1, 2], [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.5, 0.2, 0.3]])
    0.5555...
    >>> metric_value("rmse", [10.0, 20.0], [13.0, 16.0])
    3.535...
    """
    if name not in FORMULAS:
        raise UsageError(f"unknown metric '{name}'.{nearest(name, FORMULAS)}")
    label, score = np.asarray(y, np.float64).ravel(), np.asarray(scores, np.float64)
    if not label.size and not score.size:
        return math.nan
    by_class = METRICS[name].tasks == ("multiclass",) or (score.ndim == 2 and "multiclass" in METRICS[name].tasks)
    score = score if by_class else score.ravel()
    if len(label) != len(score):
        raise DataError(f"{label.size} labels but {len(score)} scores: expected one score a label")
    if by_class and score.ndim != 2:
        raise DataError(f"{name} needs the probability of each class, [rows, classes]; got {score.ndim} dimension")
    if np.isnan(label).any() or np.isnan(score).any():
        raise DataError(f"{name} needs every label and score: leave rows without a label out")
    return FORMULAS[name].function(label, score, threshold)


def no_skill(name: str, y: npt.ArrayLike, *, classes: int = 0, threshold: float = THRESHOLD) -> float:
    """Return what the best constant score reaches on labels [rows], or a coin (roc_auc, precision).

    log_loss, brier, rmse, mean_poisson_deviance: the constant is the mean of y. mae: its median. mean_pinball_loss: its
    quantile at the threshold. mape: the median of labels that weigh
    1 / |label| each. accuracy, balanced_accuracy, f1: the better answer. r2: 0. classes: of a multiclass model, whose
    constant are the shares of its classes; 0 for other models.
    NaN for recall, which a model that always says yes brings to 1, and without rows.

    >>> no_skill("mae", [1.0, 2.0, 9.0])
    2.666...
    >>> no_skill("accuracy", [0, 1, 1, 2], classes=3)
    0.5
    """
    label, formula = np.asarray(y, np.float64), FORMULAS[name]
    if not label.size:
        return math.nan
    if classes:
        shares = np.array([(label == place).mean() for place in range(classes)])
        return formula.function(label, np.tile(shares, (label.size, 1)), THRESHOLD)
    if name == "mean_pinball_loss":
        return formula.function(label, np.full(label.size, np.quantile(label, threshold)), threshold)
    return formula.no_skill(label) if formula.no_skill is not None else math.nan


def roc_auc(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Area under the ROC curve: the chance that a random 1 scores above a random 0, ties counting half."""
    hits, rows = _by_score(y, score)
    positives = hits.sum()
    misses = rows - hits
    negatives = misses.sum()
    if positives == 0 or negatives == 0:
        return math.nan
    above = hits.cumsum() - hits / 2
    return float((misses * above).sum() / (positives * negatives))


def average_precision(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Sum of the precision at each distinct score, weighted by the recall it adds."""
    hits, rows = _by_score(y, score)
    positives = hits.sum()
    return float((hits * hits.cumsum() / rows.cumsum()).sum() / positives) if positives else math.nan


def log_loss(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean negative log likelihood, in nats."""
    return _mean(_log_losses(y, score, threshold))


def brier(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean squared difference of probability and label; of several classes half the sum over them."""
    return _mean(_brier_scores(y, score, threshold))


def accuracy(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Share of rows on the right side of the threshold, or of the right class."""
    return _mean(_right(y, score, threshold))


def bad_rate(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Share of turns of a prompt that are labelled bad; the score says nothing."""
    return _mean(y)


def balanced_accuracy(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean share of right decisions, over the classes that have rows."""
    if score.ndim == 2:
        of = _ByClass.of(y, score)
        return _mean((of.right / np.maximum(of.true, 1))[of.true > 0])
    found = [_mean((score >= threshold)[rows] == side) for side in (False, True) if (rows := (y > 0) == side).any()]
    return _mean(np.array(found))


def f1_macro(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean of F1 over the classes that have rows or predictions."""
    of = _ByClass.of(y, score)
    return _mean(of.f1[of.seen])


def f1_weighted(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean of F1 over classes, weighted by their rows."""
    of = _ByClass.of(y, score)
    return _share((of.f1 * of.true).sum(), of.true.sum())


def precision_macro(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean of the precision over the classes that have rows or predictions; 0 for a class that is never predicted."""
    of = _ByClass.of(y, score)
    return _mean(of.precision[of.seen])


def precision_weighted(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean of the precision over classes, weighted by their rows; 0 for a class that is never predicted."""
    of = _ByClass.of(y, score)
    return _share((of.precision * of.true).sum(), of.true.sum())


def recall_macro(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean of the recall over the classes that have rows or predictions; 0 for a class without rows."""
    of = _ByClass.of(y, score)
    return _mean((of.right / np.maximum(of.true, 1))[of.seen])


def roc_auc_ovr(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean of the area under the ROC curve of each class against the rest; NaN where a class has no row."""
    return _mean(_areas(y, score))


def roc_auc_ovr_weighted(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean of the area under the ROC curve of each class against the rest, weighted by the rows of the class."""
    true = _ByClass.of(y, score).true
    return _share((_areas(y, score) * true[:-1]).sum(), true[:-1].sum())


class _ByClass(NamedTuple):
    """Rows of each class: that are of it, that are predicted to be, and both; float64 [classes + 1].

    The last place holds rows of a class that the scores do not have.
    """

    true: Floats
    predicted: Floats
    right: Floats

    @classmethod
    def of(cls, y: Array, score: Array) -> _ByClass:
        classes = score.shape[1]
        true = np.where((y >= 0) & (y < classes), y, classes).astype(np.int64)
        said = np.nan_to_num(RULES["multiclass"].decide(score, THRESHOLD), nan=-1).astype(np.int64)
        said = np.where(said < 0, classes, said)  # a row without scores is predicted to be of no class
        known = true < classes
        counts = (np.bincount(rows, minlength=classes + 1) for rows in (true, said, true[(true == said) & known]))
        return cls(*(count.astype(np.float64) for count in counts))

    @property
    def seen(self) -> Array:
        """Classes that have rows or predictions."""
        found: Array = (self.true > 0) | (self.predicted > 0)
        return found

    @property
    def f1(self) -> Floats:
        found: Floats = 2 * self.right / np.maximum(self.true + self.predicted, 1)
        return found

    @property
    def precision(self) -> Floats:
        found: Floats = self.right / np.maximum(self.predicted, 1)
        return found


def _areas(y: Array, score: Array) -> Floats:
    """Return the area under the ROC curve of each class against the rest, [classes]; NaN for a class without rows."""
    return np.array([roc_auc(y == place, score[:, place]) for place in range(score.shape[1])])


def precision(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Share of 1 among those predicted 1; NaN when none is."""
    predicted = score >= threshold
    return _share(np.count_nonzero(predicted & (y > 0)), np.count_nonzero(predicted))


def recall(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Share predicted 1 among those that are 1; NaN when none is."""
    positive = y > 0
    return _share(np.count_nonzero(positive & (score >= threshold)), np.count_nonzero(positive))


def f1(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Harmonic mean of precision and recall; NaN when nothing is 1 and nothing is predicted 1."""
    positive, predicted = y > 0, score >= threshold
    both = np.count_nonzero(positive) + np.count_nonzero(predicted)
    return _share(2 * np.count_nonzero(positive & predicted), both)


def rmse(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Root of the mean squared error, in the unit of y."""
    return math.sqrt(_mean(_squared(y, score, threshold)))


def mae(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean absolute error, in the unit of y."""
    return _mean(_absolute(y, score, threshold))


def mape(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean of absolute error / |label|, as a share: 0.1 is 10 %.

    A label of 0 is divided by float64's epsilon (2.2e-16) instead, as scikit-learn does: one wrong prediction of such a
    label makes the metric huge. Choose mae or rmse where labels can be 0.
    """
    return _mean(_relative(y, score, threshold))


def r2(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Share of the variance of y that is explained; NaN when y does not vary."""
    spread = float(((y - y.mean()) ** 2).sum()) if y.size else 0.0
    return 1 - float(_squared(y, score, threshold).sum()) / spread if spread > 0 else math.nan


def mean_pinball_loss(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean loss of a predicted quantile, whose level is the threshold: level * (y - score) below y, else the rest."""
    return _mean(_pinball(y, score, threshold))


def mean_poisson_deviance(y: Array, score: Array, threshold: float | Floats = THRESHOLD) -> float:
    """Mean deviance of predicted counts from a Poisson distribution; NaN for a prediction of 0 or less."""
    if (score <= 0).any() or (y < 0).any():
        return math.nan
    return _mean(_deviances(y, score, threshold))


def _by_score(y: Array, score: Array) -> tuple[Floats, Floats]:
    """Return, for each distinct score from high to low, its rows that are 1 and all its rows."""
    order = np.argsort(-score)
    ranked = score[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if ranked.size else np.zeros(0, np.int64)
    hits = np.cumsum(y[order] > 0)[last]
    return np.diff(hits, prepend=0).astype(np.float64), np.diff(last + 1, prepend=0).astype(np.float64)


def row_values(name: str, y: Array, score: Array, threshold: float | Floats) -> Floats | None:
    """Return what each row contributes to a metric, [rows]: their mean is the metric, of rmse its square.

    None for a metric that is no mean over rows, such as roc_auc.
    """
    function = _ROWS.get(name)
    return None if function is None else function(y, score, threshold)


def placements(y: Array, score: Array) -> tuple[Floats, Floats]:
    """Return the share of zeros that each one scores above, and the share of ones above each zero, ties counting half.

    The mean of both is the area under the ROC curve.
    """
    ones, zeros = np.sort(score[y > 0]), np.sort(score[y <= 0])
    return _above(ones, zeros), 1 - _above(zeros, ones)


def _above(values: Array, others: Array) -> Floats:
    """Return the share of others below each value, ties counting half; others in rising order."""
    below = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    shares: Floats = below / (2 * len(others))
    return shares


def _log_losses(y: Array, score: Array, threshold: float | Floats) -> Floats:
    return class_log_loss(y, score) if score.ndim == 2 else RULES["binary"].loss(y, score, threshold)


def _brier_scores(y: Array, score: Array, threshold: float | Floats) -> Floats:
    return class_brier(y, score) if score.ndim == 2 else _squared(y, score, threshold)


def _right(y: Array, score: Array, threshold: float | Floats) -> Floats:
    right: Array = (
        RULES["multiclass"].decide(score, threshold) == y if score.ndim == 2 else (score >= threshold) == (y > 0)
    )
    return right.astype(np.float64)


def _labels(y: Array, score: Array, threshold: float | Floats) -> Floats:
    return y.astype(np.float64)


def _squared(y: Array, score: Array, threshold: float | Floats) -> Floats:
    squares: Floats = (score - y) ** 2
    return squares


def _absolute(y: Array, score: Array, threshold: float | Floats) -> Floats:
    errors: Floats = np.abs(score - y)
    return errors


def _relative(y: Array, score: Array, threshold: float | Floats) -> Floats:
    return _absolute(y, score, threshold) * _one_by(y)


def _pinball(y: Array, score: Array, threshold: float | Floats) -> Floats:
    error = y - score
    losses: Floats = np.maximum(threshold * error, (threshold - 1) * error)
    return losses


def _deviances(y: Array, score: Array, threshold: float | Floats) -> Floats:
    found: Floats = 2 * (special.xlogy(y, y / score) - y + score)
    return found


def _one_by(y: Array) -> Floats:
    sizes: Floats = 1 / np.maximum(np.abs(y), np.finfo(np.float64).eps)
    return sizes


def _mape_constant(y: Floats) -> float:
    """Return the constant with the lowest mape: the median of labels that weigh 1 / |label| each."""
    order = np.argsort(y)
    weights = _one_by(y)[order].cumsum()
    return float(y[order][np.searchsorted(weights, weights[-1] / 2)])


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else math.nan


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else math.nan


def _constant(function: MetricFunction, constant: Callable[[Floats], Any]) -> Formula:
    """Return the formula of a metric whose best constant score is a function of the labels."""
    return Formula(function, lambda y: function(y, np.full(y.size, float(constant(y))), THRESHOLD))


_ROWS: Mapping[str, Callable[[Array, Array, float | Floats], Floats]] = {
    "log_loss": _log_losses,
    "brier": _brier_scores,
    "accuracy": _right,
    "bad_rate": _labels,
    "rmse": _squared,
    "mae": _absolute,
    "mape": _relative,
    "mean_pinball_loss": _pinball,
    "mean_poisson_deviance": _deviances,
}

FORMULAS: Mapping[str, Formula] = {
    "roc_auc": Formula(roc_auc, lambda y: 0.5),
    "average_precision": Formula(average_precision, _mean),
    "accuracy": Formula(accuracy, lambda y: max(_mean(y), 1 - _mean(y))),
    "precision": Formula(precision, _mean),
    "recall": Formula(recall, lambda y: math.nan),
    "f1": Formula(f1, lambda y: _share(2 * y.sum(), y.size + y.sum()) if y.any() else math.nan),
    "log_loss": _constant(log_loss, np.mean),
    "brier": _constant(brier, np.mean),
    "balanced_accuracy": Formula(balanced_accuracy, lambda y: 1 / np.unique(y > 0).size),
    "f1_macro": Formula(f1_macro),
    "f1_weighted": Formula(f1_weighted),
    "precision_macro": Formula(precision_macro),
    "precision_weighted": Formula(precision_weighted),
    "recall_macro": Formula(recall_macro),
    "roc_auc_ovr": Formula(roc_auc_ovr),
    "roc_auc_ovr_weighted": Formula(roc_auc_ovr_weighted),
    "rmse": _constant(rmse, np.mean),
    "mae": _constant(mae, np.median),
    "mape": _constant(mape, _mape_constant),
    "r2": Formula(r2, lambda y: 0.0),
    "mean_pinball_loss": _constant(mean_pinball_loss, np.median),
    "bad_rate": Formula(bad_rate, _mean),
    "mean_poisson_deviance": _constant(mean_poisson_deviance, np.mean),
}
"""The metrics of `metric_catalog.METRICS`, by name; a test holds the two together."""
