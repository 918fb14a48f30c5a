"""Column schemes: where the bins of a column lie. Made once from the reference; profile.py counts into them.

Both schemes have the same 35 slots, so that profiles of all columns stack into one array:

    0 missing | 1 gross-below or unseen | 2..33 bins | 34 gross-above or rare
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Counted = Mapping[str, int]

BINS = 32
SLOTS = BINS + 3
MISSING, BELOW, FIRST_BIN, OTHER, ABOVE = 0, 1, 2, BINS + 1, BINS + 2
TOP_CATEGORIES = BINS - 1
# Gross = beyond [q.001, q.999], widened on each side by three times its width.
GROSS_TAIL = 0.001
GROSS_WIDENING = 3.0
# Above so many different categories a new one is ordinary (ids, tail numbers): nothing counts as unseen.
MAX_KNOWN = 1_000
# A constant column accepts rounding (float32 against float64) and nothing else.
CONSTANT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class NumericBins:
    """Bins of an ordered column: up to 31 inner edges at the quantiles of the reference, and the gross limits.

    A bin holds edge <= x < next edge. Edges lie halfway between neighbouring values of the reference, so that a
    column of few distinct values gives each its own bin, and float32 and float64 count alike.
    """

    edges: tuple[float, ...]
    low: float
    """Below it a value is gross."""
    high: float
    """Above it a value is gross."""
    floor: float
    """The reference's .001 quantile; `ceiling` is its .999 quantile."""
    ceiling: float
    sd: float
    """Standard deviation of the reference between the gross limits: the unit of effect sizes; 0 for a constant."""
    discrete: bool
    """Each bin is one value of the reference."""

    @classmethod
    def from_reference(cls, values: npt.ArrayLike) -> Self:
        """Return the bins for all reference values of one column (1-D, numbers; NaN or None is missing).

        Raises DataError when the values are not numbers. A column without any value gets the limits 0 and 0:
        whatever appears later is gross.
        """
        given = as_floats(values)
        x = np.sort(given[np.isfinite(given)]).astype(np.float64)
        if x.size == 0:
            return cls(edges=(), low=0.0, high=0.0, floor=0.0, ceiling=0.0, sd=0.0, discrete=True)
        floor, ceiling = (float(q) for q in np.quantile(x, (GROSS_TAIL, 1 - GROSS_TAIL)))
        low, high = _gross_limits(x, floor, ceiling)
        edges = tuple(float(edge) for edge in np.unique(np.clip(np.array(_edges(x)), low, high)))
        inner = x[(x >= low) & (x <= high)]
        discrete = np.unique(x).size <= BINS
        return cls(
            edges=edges, low=low, high=high, floor=floor, ceiling=ceiling, sd=float(inner.std()), discrete=discrete
        )

    @cached_property
    def cuts(self) -> Floats:
        """Thresholds c such that the counts of x < c give all slots: low, the edges, just above high."""
        return np.array([self.low, *self.edges, np.nextafter(self.high, np.inf)])

    @cached_property
    def fingerprint(self) -> str:
        """Short hash: profiles merge and compare only within one scheme."""
        return _fingerprint(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; `bins_from_dict` reads it back."""
        return {
            "kind": "ordered",
            "edges": list(self.edges),
            "low": self.low,
            "high": self.high,
            "floor": self.floor,
            "ceiling": self.ceiling,
            "sd": self.sd,
            "discrete": self.discrete,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the scheme that `to_dict` wrote."""
        return cls(
            edges=tuple(data["edges"]),
            low=data["low"],
            high=data["high"],
            floor=data["floor"],
            ceiling=data["ceiling"],
            sd=data["sd"],
            discrete=bool(data["discrete"]),
        )


@dataclass(frozen=True)
class CategoryBins:
    """Bins of a category column: the 31 most frequent categories of the reference and "other".

    `rare` are known categories that stand in one reference window alone: for that window they are what a new
    category is for a new one, so the detector can compare like with like. `open` vocabularies (more than 1,000
    categories) have no unseen values: all that is not frequent is "other".
    """

    top: tuple[str, ...]
    common: tuple[str, ...]
    """Known, not frequent, in more than one reference window."""
    rare: tuple[str, ...]
    open: bool

    @classmethod
    def from_reference(cls, values: npt.ArrayLike | Sequence[object], *, windows: npt.ArrayLike | None = None) -> Self:
        """Return the bins for all reference values of one column.

        Args:
            values: 1-D; text, numbers (codes) or booleans; None or NaN is missing.
            windows: the reference window of each value, same length. Left out, each row counts as a window.
        """
        rows = len(values) if isinstance(values, np.ndarray) else len(as_list(values))
        owners = np.arange(rows) if windows is None else np.asarray(windows)
        if len(owners) != rows:
            raise DataError(f"{rows} values but {len(owners)} window ids: expected one window id a value")
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            counts, seen_in = _code_counts(values, owners)
        else:
            counts, seen_in = _name_counts(values, owners)
        return cls.from_counts(counts, seen_in)

    @classmethod
    def from_counts(cls, counts: Counted, seen_in: Counted) -> Self:
        """Return the bins for a column that was counted: rows of each category, and in how many windows it is."""
        ranked = sorted(counts, key=lambda name: (-counts[name], name))
        top, rest = tuple(ranked[:TOP_CATEGORIES]), ranked[TOP_CATEGORIES:]
        if len(ranked) > MAX_KNOWN:
            return cls(top=top, common=(), rare=(), open=True)
        common = tuple(name for name in rest if seen_in[name] > 1)
        return cls(top=top, common=common, rare=tuple(name for name in rest if seen_in[name] == 1), open=False)

    @cached_property
    def slots(self) -> dict[str, int]:
        """The slot of each known category."""
        table = {name: FIRST_BIN + place for place, name in enumerate(self.top)}
        return table | dict.fromkeys(self.common, OTHER) | dict.fromkeys(self.rare, ABOVE)

    @property
    def unknown(self) -> int:
        """The slot of a category that the reference does not have."""
        return OTHER if self.open else BELOW

    @cached_property
    def fingerprint(self) -> str:
        """Short hash: profiles merge and compare only within one scheme."""
        return _fingerprint(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; `bins_from_dict` reads it back."""
        return {
            "kind": "category",
            "top": list(self.top),
            "common": list(self.common),
            "rare": list(self.rare),
            "open": self.open,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the scheme that `to_dict` wrote."""
        return cls(
            top=tuple(data["top"]), common=tuple(data["common"]), rare=tuple(data["rare"]), open=bool(data["open"])
        )


Bins = NumericBins | CategoryBins


def bins_from_dict(data: Mapping[str, Any]) -> Bins:
    """Return the scheme, of either kind, that `to_dict` wrote."""
    return NumericBins.from_dict(data) if data["kind"] == "ordered" else CategoryBins.from_dict(data)


def as_floats(values: npt.ArrayLike | Sequence[object]) -> npt.NDArray[np.floating[Any]]:
    """Return one column as a 1-D float array (float32 stays); None becomes NaN; raises DataError for text."""
    x = np.asarray(values)
    if x.dtype not in (np.float32, np.float64):
        try:
            x = x.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"an ordered column must hold numbers: {error}. Text belongs to CategoryBins") from None
    if x.ndim != 1:
        raise DataError(f"a column has one dimension, this one has shape {x.shape}")
    return x


def as_list(values: npt.ArrayLike | Sequence[object]) -> list[Any]:
    """Return one column as a list of Python values."""
    found: Any = values.tolist() if isinstance(values, np.ndarray | np.generic) else values
    return list(found)


def category(value: object) -> str | None:
    """Return the name of a category, None when missing: 3, 3.0 and "3" are the same category."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _name_counts(values: npt.ArrayLike | Sequence[object], owners: npt.NDArray[Any]) -> tuple[Counted, Counted]:
    """Return the rows of each category, and in how many windows it is."""
    names = [category(value) for value in as_list(values)]
    pairs = {(name, owner) for name, owner in zip(names, owners.tolist(), strict=True) if name is not None}
    return Counter(name for name in names if name is not None), Counter(name for name, _ in pairs)


def _code_counts(values: npt.NDArray[Any], owners: npt.NDArray[Any]) -> tuple[Counted, Counted]:
    """Return the same of a float array whose numbers are codes, without a Python object for each row."""
    valid = ~np.isnan(values)
    codes, place, rows = np.unique(values[valid], return_inverse=True, return_counts=True)
    _, window = np.unique(owners[valid], return_inverse=True)
    pairs = np.unique(place.astype(np.int64) * (int(window.max(initial=0)) + 1) + window)
    windows = np.bincount(pairs // (int(window.max(initial=0)) + 1), minlength=len(codes))
    names = [str(category(code)) for code in codes.tolist()]
    return dict(zip(names, rows.tolist(), strict=True)), dict(zip(names, windows.tolist(), strict=True))


def _gross_limits(x: Floats, floor: float, ceiling: float) -> tuple[float, float]:
    if ceiling == floor:  # nearly constant: the few other values of the reference are ordinary too
        floor, ceiling = float(x[0]), float(x[-1])
    margin = GROSS_WIDENING * (ceiling - floor) or CONSTANT_TOLERANCE * max(1.0, abs(floor))
    return float(np.nan_to_num(floor - margin)), float(np.nan_to_num(ceiling + margin))


def _edges(x: Floats) -> list[float]:
    """Edges before each distinct quantile; also after one that several quantiles share (a heavy tie)."""
    distinct = np.unique(x)
    if distinct.size <= BINS:
        return [_between(a, b) for a, b in pairwise(distinct)]
    quantiles, repeats = np.unique(x[np.arange(1, BINS) * x.size // BINS], return_counts=True)
    starts, ends = np.searchsorted(x, quantiles, "left"), np.searchsorted(x, quantiles, "right")
    before = [_between(x[i - 1], x[i]) for i in starts if i > 0]
    after = [_between(x[i - 1], x[i]) for i, times in zip(ends, repeats, strict=True) if times > 1 and i < x.size]
    return before + after


def _between(a: float, b: float) -> float:
    """A threshold above a and not above b."""
    middle = float(a / 2 + b / 2)
    return middle if a < middle <= b else float(b)


def _fingerprint(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]
