"""Values that a model does not accept. Packaging finds them with the estimator; they are checked before scoring.

An estimator of scikit-learn may refuse a missing value, infinity, or a category that it has not seen. The graph or file
that serves in its place returns some number for all of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Limits, Spec
from trimtab.bundle.typed_matrix import contiguous

FLOAT32_MAX = float(np.finfo(np.float32).max)
HUGE = 1e18
"""From this magnitude on, products of two values leave float32."""

Kind = Literal["null", "high", "low", "category"]
Score = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


@runtime_checkable
class Categorical(Protocol):
    """A scorer with columns that accept only listed values."""

    def categories(self) -> dict[int, tuple[float, ...]]:
        """Return the accepted values by the place of the column."""
        ...


class Problem(NamedTuple):
    """A value that a model does not accept."""

    row: int
    feature: int
    kind: Kind


class InputCheck:
    """Checks rows of features, in order, against the limits."""

    def __init__(self, features: Sequence[str], limits: Limits) -> None:
        self.features = tuple(features)
        self.limits = limits
        self._low = np.array([limits.lowest.get(name, -np.inf) for name in features], dtype=np.float32)
        self._high = np.array([limits.highest.get(name, np.inf) for name in features], dtype=np.float32)
        self._takes_null = np.array([name not in limits.no_null for name in features])
        self._categories = [
            (place, np.array(limits.categories[name], dtype=np.float32))
            for place, name in enumerate(features)
            if name in limits.categories
        ]

        narrow = (self._low > -FLOAT32_MAX).any() or (self._high < FLOAT32_MAX).any()
        self._takes_finite = not narrow and not self._categories

    def passes(self, X: np.ndarray[Any, Any]) -> bool:
        """Return True if all values of float32 (rows, features) are accepted."""
        if self._takes_finite and np.isfinite(X).all():
            return True
        return not self.refused(X).any()

    def refused(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return True for each value that is not accepted, bool (rows, features)."""
        missing = np.isnan(X)
        found: np.ndarray[Any, Any] = np.where(missing, ~self._takes_null, (self._low > X) | (self._high < X))
        for place, values in self._categories:
            found[:, place] |= ~np.isin(X[:, place], values) & ~missing[:, place]
        return found

    def refused_rows(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return True for each row with a value that is not accepted, bool (rows,)."""
        return np.asarray(self.refused(X).any(axis=1))

    def problem(self, X: np.ndarray[Any, Any]) -> Problem | None:
        """Return the first value that is not accepted, by row, then by feature; None when there is none."""
        found = np.argwhere(self.refused(X))
        if not len(found):
            return None
        row, place = (int(number) for number in found[0])
        value = X[row, place]
        if np.isnan(value):
            return Problem(row, place, "null")
        if place in [column for column, _ in self._categories]:
            return Problem(row, place, "category")
        return Problem(row, place, "high" if value > self._high[place] else "low")


class CheckedScorer:
    """A scorer that returns NaN for rows that the gateway would refuse."""

    def __init__(self, scorer: Scorer, check: InputCheck) -> None:
        self.task, self.in_process = scorer.task, scorer.in_process
        self._scorer, self._check = scorer, check

    def score(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the scores of rows, NaN for refused rows."""
        refused = self._check.refused_rows(X)
        if not refused.any():
            return self._scorer.score(X)
        scores = self._scorer.score(contiguous(X[~refused]))
        found = np.full((len(X), *scores.shape[1:]), np.nan)
        found[~refused] = scores
        return found

    def close(self) -> None:
        """Close the model."""
        self._scorer.close()


def checked(scorer: Scorer, spec: Spec) -> Scorer:
    """Return a scorer that gives NaN for the rows that the gateway would refuse."""
    return CheckedScorer(scorer, InputCheck(spec.features, spec.limits)) if spec.limits else scorer


def unusual(X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return True for each value that is missing, infinite, or at least HUGE in magnitude, bool (rows, features)."""
    return np.asarray(~(np.abs(X) < HUGE))


def ask_scorer(scorer: Scorer, features: Sequence[str]) -> Limits:
    """Return the limits of a model, found by scoring rows of zeros with one column missing or infinite.

    For bundles whose limits were not found at packaging.
    """
    categories = scorer.categories() if isinstance(scorer, Categorical) else {}
    refused: dict[float, tuple[str, ...]] = {}
    for value in (np.nan, np.inf, -np.inf):
        rows = np.zeros((len(features), len(features)), dtype=np.float32)
        np.fill_diagonal(rows, value)
        numbers = answered(answers(scorer.score, rows))
        refused[value] = tuple(name for name, number in zip(features, numbers, strict=True) if not number)
    return Limits(
        no_null=refused[np.nan],
        highest=dict.fromkeys(refused[np.inf], FLOAT32_MAX),
        lowest=dict.fromkeys(refused[-np.inf], -FLOAT32_MAX),
        categories={features[place]: known for place, known in categories.items()},
    )


def answers(score: Score, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the scores of rows, float64; NaN where a number is not finite or `score` raises for the row.

    When `score` raises for all rows, their shape is (rows,), also of a multiclass model.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = score(X)
        except Exception:  # a border: a model's library may raise any exception
            if len(X) == 1:
                return np.array([np.nan])
            half = len(X) // 2
            return _joined(answers(score, X[:half]), answers(score, X[half:]))
    return np.where(np.isfinite(found), found, np.nan)


def answered(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return True for each row whose numbers are all finite, bool (rows,)."""
    found: np.ndarray[Any, Any] = np.isfinite(scores)
    return np.asarray(found.all(axis=1)) if found.ndim == 2 else found


def _joined(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return both parts as one; one in which all rows were refused gets the width of the other."""
    width = max(first.ndim, second.ndim)
    parts = [
        part if part.ndim == width else np.full((len(part), other.shape[1]), np.nan)
        for part, other in ((first, second), (second, first))
    ]
    return np.concatenate(parts)
