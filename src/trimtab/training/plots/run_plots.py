"""Makes the plots of a run from its holdout: what a data scientist looks at first, for every task.

binary       roc, precision_recall, calibration, confusion, importance
multiclass   roc and precision_recall (one class against the rest), calibration, confusion, importance
regression   predicted, residuals, importance
anomaly      scores; with labels of both kinds roc, precision_recall, confusion; importance

Importance is the rise of the mean loss when a feature's values are shuffled between rows; without labels, the mean
change of the score. Source: A. Fisher, C. Rudin, F. Dominici, All Models are Wrong, but Many are Useful, JMLR 20, 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.bundle.scorer import Scorer
from trimtab.bundle.typed_matrix import TypedMatrix
from trimtab.metric_catalog import Task
from trimtab.tasks import RULES
from trimtab.training.plots.charts import Line, bar_chart, line_chart, matrix_chart

Array = np.ndarray[Any, Any]

ROWS, REPEATS = 1000, 3
"""Rows, evenly spread, and shuffles of each feature for the importance."""
MOST_FEATURES = 30
"""Bars of the importance."""
POINTS = 300
"""Points of a curve, and of a scatter plot three times as many."""
CLASSES = 8
"""Classes of a plot, the most frequent ones; a confusion matrix takes 12."""
BINS = 10
MATRIX = 12
OTHERS = "others"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Rows of the holdout with the scores of a model.

    X: float32 (rows, features). y: float64 (rows,), NaN where the label is not known. scores: as of the task.
    """

    task: Task
    features: Sequence[str]
    X: Array
    y: Array
    scores: Array
    threshold: float
    classes: Sequence[str] = ()


def draw(rows: Judged, scorer: Scorer, seed: int) -> dict[str, str]:
    """Return the plots of a model as SVG, by name without ending. seed: of the shuffles."""
    known = np.isfinite(rows.scores).reshape(len(rows.y), -1).all(axis=1)
    labelled = known & np.isfinite(rows.y) & (rows.y >= 0 if rows.task == "multiclass" else True)
    y, scores = rows.y[labelled], rows.scores[labelled]
    found = DRAWN[rows.task](rows, y, scores) if len(y) else {}
    if rows.task == "anomaly":
        found["scores"] = _score_histogram(rows, rows.y[known], rows.scores[known])
    found["importance"] = _importance_chart(rows, scorer, seed, bool(labelled.any()))
    return found


def _of_flags(rows: Judged, y: Array, scores: Array) -> dict[str, str]:
    """Return the plots of labels 0 and 1; none when there is only one of them."""
    if y.min() == y.max():
        return {}
    names = list(rows.classes) or ["0", "1"]
    decided = (scores >= rows.threshold).astype(int)
    found = {
        "roc": _roc([("model", y, scores)]),
        "precision_recall": _precision_recall([("model", y, scores)]),
        "confusion": _confusion(names, y.astype(int), decided, f"threshold {rows.threshold:g}"),
    }
    if RULES[rows.task].confidence is not None:
        found["calibration"] = _calibration("probability of 1", y, scores)
    return found


def _of_classes(rows: Judged, y: Array, scores: Array) -> dict[str, str]:
    names = list(rows.classes) or [str(place) for place in range(scores.shape[1])]
    counts = np.bincount(y.astype(int), minlength=len(names))
    shown = [int(place) for place in np.argsort(-counts, kind="stable")[:CLASSES] if 0 < counts[place] < len(y)]
    against = [(names[place], (y == place).astype(float), scores[:, place]) for place in shown]
    best, highest = scores.argmax(axis=1), scores.max(axis=1)
    return {
        "roc": _roc(against),
        "precision_recall": _precision_recall(against),
        "confusion": _confusion(*_frequent(names, counts, y.astype(int), best), "most probable class"),
        "calibration": _calibration("probability of the predicted class", (best == y).astype(float), highest),
    }


def _of_numbers(rows: Judged, y: Array, scores: Array) -> dict[str, str]:
    chosen = _spread(len(y), 3 * POINTS)
    true, predicted = y[chosen].tolist(), scores[chosen].tolist()
    ends = [min(true + predicted), max(true + predicted)]
    errors = (y[chosen] - scores[chosen]).tolist()
    across = [min(predicted), max(predicted)]
    return {
        "predicted": line_chart(
            "Predicted and true values",
            "predicted",
            "true",
            [
                Line(name="", x=predicted, y=true, points=True),
                Line(name="equal", x=ends, y=ends, dashed=True),
            ],
        ),
        "residuals": line_chart(
            "Residuals",
            "predicted",
            "true - predicted",
            [
                Line(name="", x=predicted, y=errors, points=True),
                Line(name="no error", x=across, y=[0.0, 0.0], dashed=True),
            ],
        ),
    }


DRAWN: Mapping[Task, Callable[[Judged, Array, Array], dict[str, str]]] = {
    "binary": _of_flags,
    "multiclass": _of_classes,
    "regression": _of_numbers,
    "anomaly": _of_flags,
}


def _roc(curves: Sequence[tuple[str, Array, Array]]) -> str:
    # imported here, because scikit-learn takes seconds and a training may do without it
    from sklearn.metrics import roc_auc_score, roc_curve

    lines = []
    for name, y, scores in curves:
        false, true, _ = roc_curve(y, scores)
        lines.append(_curve(f"{name} (area {roc_auc_score(y, scores):.3f})", false, true))
    chance = Line(name="chance", x=[0, 1], y=[0, 1], dashed=True)
    return line_chart("ROC curve", "false positive rate", "true positive rate", [*lines, chance], square=True)


def _precision_recall(curves: Sequence[tuple[str, Array, Array]]) -> str:
    # imported here, as above
    from sklearn.metrics import average_precision_score, precision_recall_curve

    lines = []
    for name, y, scores in curves:
        precision, recall, _ = precision_recall_curve(y, scores)
        mean = average_precision_score(y, scores)
        lines.append(_curve(f"{name} (average precision {mean:.3f}, share {y.mean():.3f})", recall, precision))
    return line_chart("Precision and recall", "recall", "precision", lines, square=True)


def _calibration(what: str, y: Array, scores: Array) -> str:
    # imported here, as above
    from sklearn.calibration import calibration_curve

    share, mean = calibration_curve(y, np.clip(scores, 0.0, 1.0), n_bins=BINS, strategy="quantile")
    lines = [
        _curve(f"model, {BINS} bins of like size", mean, share),
        Line(name="calibrated", x=[0, 1], y=[0, 1], dashed=True),
    ]
    return line_chart("Calibration", what, "share that came true", lines, square=True)


def _confusion(names: Sequence[str], true: Array, decided: Array, rule: str) -> str:
    # imported here, as above
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(true, decided, labels=range(len(names)))
    return matrix_chart(f"Confusion matrix ({rule})", names, counts.tolist())


def _frequent(names: list[str], counts: Array, true: Array, decided: Array) -> tuple[list[str], Array, Array]:
    """Return names and classes with the rare ones joined, when there are more than MATRIX."""
    if len(names) <= MATRIX:
        return names, true, decided
    kept = np.sort(np.argsort(-counts, kind="stable")[: MATRIX - 1])
    place = np.full(len(names), len(kept))
    place[kept] = np.arange(len(kept))
    return [*(names[each] for each in kept), OTHERS], place[true], place[decided]


def _score_histogram(rows: Judged, y: Array, scores: Array) -> str:
    """Draw the distribution of anomaly scores; of labelled anomalies a line of its own."""
    edges = np.histogram_bin_edges(scores, bins=40)
    groups = [("all rows", np.ones(len(y), bool))]
    if (y == 1).any():
        groups = [("label 0 or none", y != 1), ("label 1", y == 1)]
    lines, top = list[Line](), 0.0
    for name, chosen in groups:
        counts = np.histogram(scores[chosen], bins=edges)[0] / max(int(chosen.sum()), 1)
        x, heights = np.repeat(edges, 2)[1:-1], np.repeat(counts, 2)
        lines.append(Line(name=f"{name} ({int(chosen.sum()):,})", x=x.tolist(), y=heights.tolist()))
        top = max(top, float(counts.max()))
    limit = Line(name=f"threshold {rows.threshold:.4g}", x=[rows.threshold] * 2, y=[0.0, top], dashed=True)
    return line_chart("Anomaly scores", "score; more is more anomalous", "share of rows", [*lines, limit])


def _importance_chart(rows: Judged, scorer: Scorer, seed: int, labelled: bool) -> str:
    found = importance(rows, scorer, seed)
    order = sorted(found, key=lambda name: -found[name][0])[:MOST_FEATURES]
    what = "rise of the mean loss" if labelled else "mean change of the score"
    more = f"; {len(order)} of {len(found)} features" if len(found) > len(order) else ""
    return bar_chart("Permutation importance", f"{what}{more}", [(name, *found[name]) for name in order])


def importance(rows: Judged, scorer: Scorer, seed: int) -> dict[str, tuple[float, float]]:
    """Return the permutation importance of each feature, and its standard deviation over REPEATS shuffles."""
    labelled = np.isfinite(rows.y)
    pool = np.flatnonzero(labelled) if labelled.any() else np.arange(len(rows.y))
    chosen = pool[_spread(len(pool), ROWS)]
    X, y = rows.X[chosen], rows.y[chosen]
    before, rules = scorer.score(X), RULES[rows.task]

    def harm(scores: Array) -> float:
        if labelled.any():
            values = rules.loss(y, scores, rows.threshold) - rules.loss(y, before, rows.threshold)
        else:
            values = np.abs(scores - before)
        return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0

    random, found = np.random.default_rng(seed), dict[str, tuple[float, float]]()
    for place, name in enumerate(rows.features):
        values = [harm(scorer.score(_shuffled(X, place, random.permutation(len(y))))) for _ in range(REPEATS)]
        found[name] = (float(np.mean(values)), float(np.std(values)))
    return found


def _shuffled(X: Array, place: int, order: Array) -> Array:
    """Return rows in which one feature has the values of other rows, its exact ones as well."""
    plain = np.asarray(X).copy()
    plain[:, place] = plain[order, place]
    if not isinstance(X, TypedMatrix):
        return plain
    exact = {each: values[order] if each == place else values for each, values in X.exact.items()}
    return TypedMatrix.made(X.schema, plain, exact)


def _curve(name: str, x: Array, y: Array) -> Line:
    chosen = _spread(len(x), POINTS)
    return Line(name=name, x=x[chosen].tolist(), y=y[chosen].tolist())


def _spread(count: int, wanted: int) -> Array:
    """Return up to `wanted` places below `count`, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64))
