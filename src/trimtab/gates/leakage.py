"""The leakage gate: inputs that contain the outcome, and implausibly good scores.

One feature alone should not explain the label. One that does is often the label under another name, is computed from
it, or becomes known only after the request. What is right nevertheless must be acknowledged in the policy.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trimtab.bundle.typed_matrix import typed_places
from trimtab.gates.inputs import Array, GateInputs
from trimtab.lazy_library import LazyLibrary
from trimtab.metric_catalog import BY_TASK, Task
from trimtab.policy.gates import Leakage
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict
from trimtab.stats.metrics import metric_value
from trimtab.tasks import RULES

if TYPE_CHECKING:
    from scipy import stats
    from sklearn import tree
    from sklearn.feature_extraction import text as word_counts
else:
    stats = LazyLibrary("scipy.stats")
    tree, word_counts = LazyLibrary("sklearn.tree"), LazyLibrary("sklearn.feature_extraction.text")

MAX_ROWS = 20_000
"""Rows beyond this are thinned out evenly: what explains all labels explains those."""
BLOCKS = 10
"""Stretches of time; a tree is fitted on every second one and judged on the others, and the other way round."""
MIN_ROWS = 20
MIN_CLASS_ROWS = 10
"""With fewer rows, or fewer of a class, chance could separate them."""
LEAVES = 64
WORDS = 200
"""Most frequent words of a text that are looked at."""
SHOWN = 5


def judge_leakage(inputs: GateInputs, policy: Leakage) -> tuple[GateResult, ...]:
    """Judge each feature alone, then the model's score; rows are in order of time."""
    metric = BY_TASK[inputs.task].leakage
    alone, found, judged = explained_by_feature(inputs.X, inputs.y, inputs.feature_names, inputs.task)
    if isinstance(judged, str):
        return (_result(f"{alone} of one feature", "pass", 0.0, policy.single_feature, judged, {}),)
    best = dict(sorted(found.items(), key=lambda item: -item[1])[:SHOWN])
    suspects = [n for n, value in found.items() if value > policy.single_feature and n not in policy.acknowledged]
    known = [n for n, value in found.items() if value > policy.single_feature and n in policy.acknowledged]
    details = {"features": best, "acknowledged": known, "rows": judged}
    single = _single(alone, found, suspects, policy, details)
    return (single, _score(inputs, metric, known, policy))


def explained_by_feature(
    X: Array, y: Array, names: Sequence[str], task: Task
) -> tuple[str, dict[str, float], int | str]:
    """Return the metric, how well each feature alone predicts the label by it, and the rows that were looked at.

    X: (rows, features); y: (rows,); in order of time. With too few rows no feature is judged, and the reason stands in
    place of their number.
    """
    rows = np.unique(np.linspace(0, len(y) - 1, min(len(y), MAX_ROWS)).astype(np.int64))
    metric = BY_TASK[task].leakage
    alone = metric if RULES[task].decides else f"{metric} or squared correlation"
    rows, y = _judged_classes(rows, y[rows], task)
    if reason := _too_few(y, task):
        return alone, {}, reason
    X = X[rows]
    found = {name: explained(np.asarray(X)[:, j], y, task, texts=_texts(X, j)) for j, name in enumerate(names)}
    return alone, found, len(rows)


def _judged_classes(rows: Array, y: Array, task: Task) -> tuple[Array, Array]:
    """Return the rows of classes that have MIN_CLASS_ROWS of a multiclass model, and their labels, numbered from 0."""
    if not RULES[task].by_class:
        return rows, y
    _, place, counts = np.unique(y, return_inverse=True, return_counts=True)
    large = counts >= MIN_CLASS_ROWS
    kept = large[place.ravel()]
    number = np.cumsum(large) - 1
    return rows[kept], number[place.ravel()][kept].astype(np.float64)


def _texts(X: Array, place: int) -> Array | None:
    """Return the exact values of a category or a text, objects (rows,); None for other features."""
    if typed_places(X).get(place) not in ("category", "text"):
        return None
    found: Array = X.exact[place]  # type: ignore[attr-defined]  # a TypedMatrix, as it has types
    return found


def explained(x: Array, y: Array, task: Task, *, texts: Array | None = None) -> float:
    """Return how well one feature predicts the label on rows not fitted on: ROC-AUC, or R2 of a regression.

    x: float32 (rows,), NaN is a value of its own; y: float64 (rows,); both in order of time. For a regression the
    greatest of R2 and the squared correlations of values and of ranks: a tree of few rows cannot follow a curve.
    texts: the exact values of a category or a text, (rows,): the tree also gets the mean label of each among the rows
    that it is fitted on, and which of the most frequent words it has.
    """
    limit = np.finfo(np.float32).max
    values = np.clip(x.astype(np.float32), -limit, limit).reshape(-1, 1)  # infinities order as they should
    distinct = len(np.unique(values[~np.isnan(values)])) + bool(np.isnan(values).any())
    if texts is None and distinct < 2:
        return 0.5 if RULES[task].decides else 0.0
    odd = np.arange(len(y)) * BLOCKS // len(y) % 2 == 1
    classes = int(y.max()) + 1 if RULES[task].by_class else 0
    predicted = np.empty((len(y), classes)) if classes else np.empty(len(y))
    for fitted in (odd, ~odd):
        columns = values if texts is None else np.column_stack([values, *_of_texts(texts, y, fitted)])
        predicted[~fitted] = _tree(columns[fitted], y[fitted], columns[~fitted], task, classes)
    if RULES[task].decides:
        return metric_value(BY_TASK[task].leakage, y, predicted)
    return max(metric_value("r2", y, predicted), _related(values[:, 0], y) if distinct > 1 else 0.0, 0.0)


def _of_texts(texts: Array, y: Array, fitted: Array) -> tuple[Array, ...]:
    """Return the mean label of each text among the fitted rows, (rows,), and which words it has, (rows, words)."""
    named = pl.Series("text", [None if text is None else str(text) for text in texts], dtype=pl.String)
    frame = pl.DataFrame({"text": named.fill_null(""), "label": y, "fitted": fitted})
    means = frame.filter("fitted").group_by("text").agg(pl.col("label").mean())
    mean = frame.select("text").join(means, on="text", how="left", maintain_order="left")["label"]
    words = word_counts.CountVectorizer(binary=True, max_features=WORDS, token_pattern=r"(?u)\w+")
    try:
        words.fit(frame.filter("fitted")["text"].to_list())
    except ValueError:  # no row has a word
        return (mean.fill_null(float("nan")).to_numpy(),)
    return mean.fill_null(float("nan")).to_numpy(), words.transform(frame["text"].to_list()).toarray()


def _tree(X: Array, y: Array, asked: Array, task: Task, classes: int) -> Array:
    if RULES[task].decides:
        classifier = tree.DecisionTreeClassifier(max_leaf_nodes=LEAVES, min_samples_leaf=2, random_state=0).fit(X, y)
        probabilities = np.zeros((len(asked), classes or 2))
        probabilities[:, classifier.classes_.astype(np.int64)] = classifier.predict_proba(asked)
        return probabilities if classes else probabilities[:, 1]
    predicted: Array = tree.DecisionTreeRegressor(max_leaf_nodes=LEAVES, random_state=0).fit(X, y).predict(asked)
    return predicted


def _related(x: Array, y: Array) -> float:
    """Return the greater of the squared linear and the squared rank correlation; 0 with missing values."""
    if np.isnan(x).any():
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        found = [stats.pearsonr(x.astype(np.float64), y).statistic, stats.spearmanr(x, y).statistic]
    return float(max(np.nan_to_num(found) ** 2))


def _too_few(y: Array, task: Task) -> str:
    if len(y) < MIN_ROWS:
        return f"not judged: {len(y)} labelled rows in the holdout are too few, {MIN_ROWS} are needed"
    if RULES[task].has_threshold and (least := int(min(y.sum(), len(y) - y.sum()))) < MIN_CLASS_ROWS:
        return f"not judged: {least} rows of one class in the holdout are too few, {MIN_CLASS_ROWS} are needed"
    if y.min() == y.max():
        return f"not judged: all labels of the holdout are {y[0]:g}"
    return ""


def _single(
    metric: str, found: dict[str, float], suspects: list[str], policy: Leakage, details: dict[str, object]
) -> GateResult:
    name = max(suspects or found, key=lambda each: found[each])
    text = f"the strongest single feature is '{name}': {metric} {found[name]:.4f}, limit {policy.single_feature:g}"
    if suspects:
        listed = ", ".join(sorted(suspects, key=lambda each: -found[each]))
        text = (
            f"'{name}' alone explains the label: {metric} {found[name]:.4f}, limit {policy.single_feature:g}. Such a "
            "feature often is the outcome, is computed from it, or is known only after the request: remove it, or take "
            "its value as of the request. If it is right, write into trimtab.yaml: gates.leakage.acknowledged: "
            f"[{listed}]"
        )
    verdict: Verdict = "fail" if suspects else "pass"
    return _result(f"{metric} of one feature", verdict, found[name], policy.single_feature, text, details)


def _score(inputs: GateInputs, metric: str, known: list[str], policy: Leakage) -> GateResult:
    """Judge the model's own score; an acknowledged feature that explains the label explains the score, too."""
    finite = np.isfinite(inputs.main_scores)
    value = metric_value(metric, inputs.y[finite], inputs.scores[finite])
    text = f"{metric} {value:.4f} on the holdout is below {policy.max_score:g}, from where a score is too good"
    verdict: Verdict = "pass"
    if not np.isfinite(value):
        value, text = 0.0, f"not judged: {int(finite.sum())} rows with a score do not define {metric}"
    elif value > policy.max_score and known:
        text = f"{metric} {value:.4f} on the holdout, by features that are acknowledged: {', '.join(known)}"
    elif value > policy.max_score:
        verdict = "fail"
        text = (
            f"{metric} {value:.4f} on the holdout is too good to be true, limit {policy.max_score:g}: features "
            "together may give the outcome away, or rows of the holdout are among the training rows. If it is right, "
            "write into trimtab.yaml: gates.leakage.max_score: 1"
        )
    return _result(metric, verdict, value, policy.max_score, text, {"rows": int(finite.sum())})


def _result(
    metric: str, verdict: Verdict, value: float, limit: float, reason: str, details: dict[str, object]
) -> GateResult:
    return GateResult(
        gate=Leakage.GATE,
        metric=metric,
        verdict=verdict,
        value=value,
        low=None,
        high=None,
        threshold=limit,
        reason=reason,
        details=details,
    )
