"""The profile of a window: mergeable counts of fixed size per column. Monitoring writes them; detectors read them.

Two profiles of one scheme merge by adding, over shards, replicas and minutes: 35 counts and five moments a column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import add
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.schemes import (
    ABOVE,
    BELOW,
    BINS,
    MISSING,
    SLOTS,
    Bins,
    CategoryBins,
    NumericBins,
    as_floats,
    as_list,
    category,
)

# Values are sorted to count below 33 thresholds, so many at a time: they stay in the processor's cache.
SORT_ROWS = 50_000


@dataclass(frozen=True)
class ColumnProfile:
    """Counts and moments of one column in one window. Moments are over the finite values of an ordered column."""

    kind: Literal["ordered", "category", "correlations"]
    scheme: str
    """Fingerprint of the scheme that was counted into."""
    counts: tuple[int, ...]
    """35 slots: missing, gross-below or unseen, 32 bins, gross-above or rare. Of correlations: their sums."""
    n: int
    """Rows, missing ones included."""
    total: float = 0.0
    squares: float = 0.0
    minimum: float = np.inf
    maximum: float = -np.inf

    @property
    def missing(self) -> int:
        """Rows without a value."""
        return self.counts[MISSING]

    @property
    def gross(self) -> int:
        """Rows beyond the gross limits; of a category column, rows whose category the reference does not have."""
        return self.counts[BELOW] + (self.counts[ABOVE] if self.kind == "ordered" else 0)

    @property
    def mean(self) -> float:
        """Mean of the values that are there; NaN when there are none or they are categories."""
        valid = self.n - self.missing
        return self.total / valid if valid and self.kind == "ordered" else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Return what strict JSON can hold."""
        empty = self.minimum > self.maximum
        return {
            "kind": self.kind,
            "scheme": self.scheme,
            "counts": list(self.counts),
            "n": self.n,
            "total": self.total,
            "squares": self.squares,
            "minimum": None if empty else self.minimum,
            "maximum": None if empty else self.maximum,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the profile that `to_dict` wrote."""
        low, high = data["minimum"], data["maximum"]
        return cls(
            kind=data["kind"],
            scheme=data["scheme"],
            counts=tuple(data["counts"]),
            n=data["n"],
            total=data["total"],
            squares=data["squares"],
            minimum=np.inf if low is None else low,
            maximum=-np.inf if high is None else high,
        )


WindowProfile = Mapping[str, ColumnProfile]
"""The profiles of all columns of one window, by column name."""


def profile(values: npt.ArrayLike | Sequence[object], bins: Bins) -> ColumnProfile:
    """Return the profile of one column of one window.

    Args:
        values: 1-D, [rows]; numbers for NumericBins; text, numbers or booleans for CategoryBins; NaN or
            None is missing.
        bins: the scheme of the column, made from the reference.

    Returns:
        Counts and moments; profiles of the same scheme can be merged.

    Raises:
        DataError: for values that are not numbers, and for more than one dimension.

    >>> bins = NumericBins.from_reference([1.0, 2.0, 3.0, 4.0])
    >>> found = profile([1.5, 2.5, float("nan"), 900.0], bins)
    >>> found.n, found.missing, found.gross
    (4, 1, 1)
    """
    if isinstance(bins, CategoryBins):
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            found, times = np.unique(values, return_counts=True)
            return profile_categories(dict(zip(found.tolist(), times.tolist(), strict=True)), bins)
        return profile_categories(Counter(as_list(values)), bins)
    x = as_floats(values)
    counted = _profile_sorted(np.sort(x[:SORT_ROWS]), bins)
    for start in range(SORT_ROWS, x.size, SORT_ROWS):
        counted = merge(counted, _profile_sorted(np.sort(x[start : start + SORT_ROWS]), bins))
    return counted


def profile_categories(rows: Mapping[Any, int], bins: CategoryBins) -> ColumnProfile:
    """Return the profile of a category column from its rows per value, such as a group-by gives."""
    counts = [0] * SLOTS
    slots, unknown = bins.slots, bins.unknown
    for value, times in rows.items():
        name = category(value)
        counts[MISSING if name is None else slots.get(name, unknown)] += times
    return ColumnProfile("category", bins.fingerprint, tuple(counts), sum(counts))


def profile_matrix(rows: npt.NDArray[Any], schemes: Sequence[Bins]) -> list[ColumnProfile]:
    """Return the profiles of all columns of a float matrix [n, d]; schemes are in the order of the columns.

    Category columns hold their categories as numbers. Raises DataError when the shapes do not fit.
    """
    if rows.ndim != 2 or rows.shape[1] != len(schemes):
        raise DataError(f"a matrix of shape {rows.shape} does not fit {len(schemes)} schemes: expected [rows, columns]")
    if rows.shape[0] > SORT_ROWS:
        return [profile(rows[:, place], bins) for place, bins in enumerate(schemes)]
    columns = np.sort(rows.T if rows.dtype in (np.float32, np.float64) else rows.T.astype(np.float64), axis=1)
    return [
        _profile_sorted(x, bins) if isinstance(bins, NumericBins) else profile(x, bins)
        for x, bins in zip(columns, schemes, strict=True)
    ]


def merge(a: ColumnProfile, b: ColumnProfile) -> ColumnProfile:
    """Return the profile of the rows of both; raises DataError when they were counted into different schemes."""
    if a.scheme != b.scheme:
        raise DataError(
            f"profiles of different schemes do not merge ({a.scheme} and {b.scheme}): "
            "profile both windows with the reference scheme of one model version"
        )
    return ColumnProfile(
        a.kind,
        a.scheme,
        tuple(map(add, a.counts, b.counts)),
        a.n + b.n,
        a.total + b.total,
        a.squares + b.squares,
        min(a.minimum, b.minimum),
        max(a.maximum, b.maximum),
    )


def merge_windows(a: WindowProfile, b: WindowProfile) -> dict[str, ColumnProfile]:
    """Return the profile of the rows of both windows; raises DataError when their columns differ."""
    if a.keys() != b.keys():
        odd = ", ".join(sorted(a.keys() ^ b.keys()))
        raise DataError(f"windows with different columns do not merge: only one of them has {odd}")
    return {name: merge(a[name], b[name]) for name in a}


def _profile_sorted(x: npt.NDArray[np.floating[Any]], bins: NumericBins) -> ColumnProfile:
    """Count a sorted column; NaN is at its end."""
    x = x.astype(np.float64, copy=False)
    n, valid = x.size, int(x.searchsorted(np.nan))
    below = x.searchsorted(bins.cuts)
    x = x[:valid]
    if valid and not (np.isfinite(x[0]) and np.isfinite(x[-1])):
        x = x[np.isfinite(x)]
    limits = (float(x[0]), float(x[-1])) if x.size else (np.inf, -np.inf)
    squares = float(np.einsum("i,i->", x, x))  # BLAS would start threads for it
    return _ordered(bins, n, valid, below, (float(x.sum()), squares, *limits))


def _ordered(
    bins: NumericBins, n: int, valid: int, below: npt.NDArray[Any], moments: tuple[float, float, float, float]
) -> ColumnProfile:
    """Lay out the slots: `below` holds, for each cut of the scheme, how many values lie under it."""
    cumulative: list[int] = below.tolist()
    inner = [high - low for low, high in pairwise(cumulative)]
    padding = [0] * (BINS - len(inner))
    counts = (n - valid, cumulative[0], *inner, *padding, valid - cumulative[-1])
    return ColumnProfile("ordered", bins.fingerprint, counts, n, *moments)
