"""Checks that a scorer gives the scores of the fitted estimator: on real rows, and on probes derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.bundle.limits import answers
from trimtab.bundle.scorer import Scorer
from trimtab.bundle.typed_matrix import contiguous
from trimtab.definitions.models import Task
from trimtab.errors import StageError
from trimtab.tasks import RULES
from trimtab.training.probes import Probes
from trimtab.training.scores import native_scores

ROWS = 2000
TOLERANCE = 1e-5
"""Largest difference of a probability, or of another score in standard deviations, that counts as equal."""
NATIVE_TOLERANCE = 1e-3
"""The same for a native file on probes: it is the estimator itself, whose float32 sums depend on the other rows."""
MAX_SHARE_OVER = 0.001
"""Largest share of rows that may differ, because float32 rounding can move a value across a tree's threshold."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Differences between the scores of a scorer and of the estimator."""

    rows: int
    max_difference: float
    """Largest difference of all rows."""
    share_over: float
    """Share of rows that differ by more than TOLERANCE."""

    @property
    def ok(self) -> bool:
        """True if at most MAX_SHARE_OVER of the rows differ."""
        return self.share_over <= MAX_SHARE_OVER


def check_parity(
    estimator: Any,
    scorer: Scorer,
    X: np.ndarray[Any, Any],
    task: Task,
    *,
    what: str = "the ONNX graph",
    exact: bool = False,
) -> Parity:
    """Compare on up to ROWS rows of X, float32 (rows, features), half of them with missing values if there are any.

    what: name of the scorer, for the message. exact: no row may differ, since another form can serve. Raises StageError
    when more than MAX_SHARE_OVER of the rows differ.
    """
    parity = compare(estimator, scorer, pick(X), task)
    if not parity.ok or (exact and parity.share_over):
        allowed = "none" if exact else f"at most {MAX_SHARE_OVER:.1%}"
        raise StageError(
            f"{what} of {type(estimator).__name__} does not reproduce it: {parity.share_over:.2%} of "
            f"{parity.rows} real rows differ by more than {TOLERANCE:g} (largest difference "
            f"{parity.max_difference:.3g}); {allowed} may differ"
        )
    return parity


def compare(estimator: Any, scorer: Scorer, X: np.ndarray[Any, Any], task: Task) -> Parity:
    """Compare on all rows of X; NaN on one side only is an infinite difference."""
    expected, found = native_scores(estimator, X, task), scorer.score(X)
    if expected.shape != found.shape:
        raise StageError(f"it gives scores of shape {found.shape}; those of the estimator have {expected.shape}")
    scale = (float(np.nanstd(expected)) or 1.0) if RULES[task].confidence is None and len(X) else 1.0
    difference = np.abs(found - expected) / scale
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    difference = _of_rows(np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference)))
    return Parity(
        rows=len(X),
        max_difference=float(difference.max(initial=0.0)),
        share_over=float((difference > TOLERANCE).mean()) if len(X) else 0.0,
    )


def differing(
    probes: Probes, scorer: Scorer, *, task: Task, scale: float, tolerance: float = TOLERANCE
) -> np.ndarray[Any, Any]:
    """Return which probes get another score, bool (rows,). None of them may, because each represents many rows.

    scale: standard deviation of scores that are no probabilities; larger ones are compared relative to their size.
    """
    if not len(probes.rows):
        return np.zeros(0, dtype=bool)
    found = answers(scorer.score, probes.rows)
    if found.shape != probes.expected.shape:
        return np.ones(len(found), dtype=bool)
    allowed = tolerance * (np.maximum(scale, np.abs(probes.expected)) if RULES[task].confidence is None else 1.0)
    return _of_rows(np.isnan(found) | (np.abs(found - probes.expected) > allowed))


def _of_rows(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the greatest number of each row."""
    greatest: np.ndarray[Any, Any] = values.max(axis=1) if values.ndim == 2 else values
    return greatest


def describe_difference(probes: Probes, scorer: Scorer, wrong: np.ndarray[Any, Any], features: Sequence[str]) -> str:
    """Return the first probe of each kind that gets another score, for messages. wrong: from `differing`."""
    examples = []
    for kind in dict.fromkeys(probes.kinds[wrong].tolist()):
        row = int(np.flatnonzero(wrong & (probes.kinds == kind))[0])
        column = int(probes.columns[row])
        where = "" if column < 0 else f" in '{features[column]}'"
        found = answers(scorer.score, probes.rows[row : row + 1])[0]
        examples.append(f"{kind}{where}: {_shown(probes.expected[row])} became {_shown(found)}")
    return "; ".join(examples)


def _shown(score: Any) -> str:
    return f"{score:.4g}" if np.ndim(score) == 0 else f"[{', '.join(f'{each:.4g}' for each in score)}]"


def pick(X: np.ndarray[Any, Any], rows: int = ROWS) -> np.ndarray[Any, Any]:
    """Return up to `rows` rows of X, evenly spread, half of them with missing values if there are so many."""
    gaps = np.isnan(X).any(axis=1)
    holey, whole = np.flatnonzero(gaps), np.flatnonzero(~gaps)
    wanted = min(len(holey), max(rows // 2, rows - len(whole)))
    chosen = np.concatenate([_spread(holey, wanted), _spread(whole, rows - wanted)])
    return contiguous(X[np.sort(chosen)])


def _spread(indices: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    if len(indices) <= count:
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).astype(np.int64)]
