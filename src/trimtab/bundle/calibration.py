"""Conformal prediction intervals of a regression: a table in bundle.json, computed from the holdout at packaging.

Split conformal prediction: with n residuals |y - score| of rows that the model has not seen, the k-th smallest,
k = ceil((n + 1) * coverage), is the half width of an interval around the score of a further row that holds its true
value with at least that probability, when the rows are exchangeable. With k > n no finite interval can promise it.
Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005; Lei, G'Sell, Rinaldo, Tibshirani, Wasserman,
"Distribution-Free Predictive Inference for Regression", JASA 113 (2018), 1094-1111, section 2.2.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.errors import DataError

if TYPE_CHECKING:
    import numpy as np  # the supervisor reads calibrations without loading NumPy

COVERAGES: tuple[float, ...] = (*(n / 100 for n in range(50, 100)), 0.995, 0.999)
"""Tabulated coverages. A coverage between two of them gets the wider interval."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Half widths of intervals around a regression's score, rising with the coverage."""

    rows: int
    """Number of residuals."""
    coverages: tuple[float, ...]
    """Rising; only those that `rows` residuals can guarantee."""
    half_widths: tuple[float, ...]
    """One a coverage, in the unit of the label, never falling."""

    def __post_init__(self) -> None:
        if len(self.coverages) != len(self.half_widths):
            raise ValueError(f"{len(self.coverages)} coverages have {len(self.half_widths)} half widths")
        rising = all(a < b for a, b in zip(self.coverages, self.coverages[1:], strict=False))
        growing = all(a <= b for a, b in zip((0.0, *self.half_widths), self.half_widths, strict=False))
        if not (rising and growing):
            raise ValueError("coverages must rise and half widths must not fall")

    def half_width(self, coverage: float) -> float:
        """Return the half width of an interval around the score; infinite when `rows` residuals cannot guarantee it.

        coverage: share of true values inside such intervals, such as 0.9. Raises DataError outside of (0, 1).
        """
        if not 0 < coverage < 1:
            raise DataError(f"coverage is {coverage:g}; expected a share between 0 and 1, such as 0.9")
        at = bisect_left(self.coverages, coverage)
        return self.half_widths[at] if at < len(self.half_widths) else math.inf


def calibrate(y: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> Calibration:
    """Return the table for labels and scores of rows that the model was not fitted on, each of shape (rows,).

    Rows without a label (NaN) are left out. Raises DataError for a score that is not finite.
    """
    known = y == y  # a missing label (NaN) is not equal to itself
    residuals = abs(y[known] - scores[known]).astype("float64")
    residuals.sort()
    if len(residuals) and not math.isfinite(residuals[-1]):
        raise DataError("a score or a label of the holdout is not finite; intervals cannot be calibrated on it")
    n = len(residuals)
    promised = [(coverage, k) for coverage in COVERAGES if (k := rank(coverage, n)) <= n]
    return Calibration(
        rows=n,
        coverages=tuple(coverage for coverage, _ in promised),
        half_widths=tuple(float(residuals[k - 1]) for _, k in promised),
    )


def rank(coverage: float, n: int) -> int:
    """Return ceil((n + 1) * coverage), computed exactly with the decimal form of `coverage`."""
    return math.ceil(Fraction(repr(coverage)) * (n + 1))
