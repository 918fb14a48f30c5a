"""The usual two-sample tests and distances of one column, by name, for comparison with what this package does.

They treat rows as independent and say nothing about how many times one may look. Rows of one day are not independent:
on streams that do not drift the tests alarm far more often than their level says, and more with every row. The
measured rates stand in docs/drift.md. No verdict rests on them.

Sources: Kolmogorov-Smirnov, chi-square and Wasserstein from SciPy; the population stability index over deciles of the
reference as in credit scoring (Siddiqi 2006); the Jensen-Shannon distance with base 2 (Lin 1991).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    from scipy import stats
    from scipy.spatial import distance
else:  # they take a second to import, and few projects ask for these tests
    stats, distance = LazyLibrary("scipy.stats"), LazyLibrary("scipy.spatial.distance")

Values = npt.NDArray[np.float64]
Counts = Mapping[Any, int]

DECILES = 10
SMALLEST_SHARE = 1e-4
"""Share that a bin without rows counts as in the population stability index."""


class RowTest(NamedTuple):
    """What a test found in one column."""

    statistic: float
    p: float | None


@dataclass(frozen=True)
class OrderedTest:
    """A test of numbers; `run` takes the values of the reference and of the current rows, without NaN."""

    run: Callable[[Values, Values], RowTest]
    rule: str
    alarm: Callable[[RowTest], bool]


@dataclass(frozen=True)
class CategoryTest:
    """A test of categories; `run` takes the rows of each category in the reference and in the current rows."""

    run: Callable[[Counts, Counts], RowTest]
    rule: str
    alarm: Callable[[RowTest], bool]


def kolmogorov_smirnov(reference: Values, current: Values) -> RowTest:
    """Return the two-sample Kolmogorov-Smirnov statistic and its asymptotic p.

    >>> kolmogorov_smirnov(np.arange(100.0), np.arange(100.0) + 50).statistic
    0.5
    """
    found = stats.ks_2samp(reference, current, method="asymp")
    return RowTest(float(found.statistic), float(found.pvalue))


def chi_square(reference: Counts, current: Counts) -> RowTest:
    """Return the chi-square statistic of the table of both samples by category, and its p.

    >>> chi_square({"a": 50, "b": 50}, {"a": 50, "b": 50}).p
    1.0
    """
    table = _table(reference, current)
    if table.shape[1] < 2:
        return RowTest(0.0, 1.0)
    found = stats.chi2_contingency(table, correction=False)
    return RowTest(float(found.statistic), float(found.pvalue))


def stability_index(reference: Values, current: Values) -> RowTest:
    """Return the population stability index over the deciles of the reference."""
    return RowTest(_stability(*_deciles(reference, current)), None)


def stability_index_of_categories(reference: Counts, current: Counts) -> RowTest:
    """Return the population stability index over categories.

    >>> round(stability_index_of_categories({"a": 1, "b": 1}, {"a": 3, "b": 1}).statistic, 3)
    0.275
    """
    return RowTest(_stability(*_table(reference, current)), None)


def jensen_shannon(reference: Values, current: Values) -> RowTest:
    """Return the Jensen-Shannon distance (base 2, between 0 and 1) over the deciles of the reference."""
    return RowTest(float(distance.jensenshannon(*_deciles(reference, current), base=2)), None)


def jensen_shannon_of_categories(reference: Counts, current: Counts) -> RowTest:
    """Return the Jensen-Shannon distance (base 2, between 0 and 1) over categories.

    >>> jensen_shannon_of_categories({"a": 1}, {"b": 1}).statistic
    1.0
    """
    return RowTest(float(distance.jensenshannon(*_table(reference, current), base=2)), None)


def wasserstein(reference: Values, current: Values) -> RowTest:
    """Return the Wasserstein distance in standard deviations of the reference; of a constant one, in its own unit.

    >>> wasserstein(np.array([0.0, 2.0]), np.array([1.0, 3.0])).statistic
    1.0
    """
    found = float(stats.wasserstein_distance(reference, current))
    return RowTest(found / (float(reference.std()) or 1.0), None)


def _significant(found: RowTest) -> bool:
    return found.p is not None and found.p < 0.05


def _above(limit: float) -> Callable[[RowTest], bool]:
    return lambda found: found.statistic > limit


ORDERED_TESTS: dict[str, OrderedTest] = {
    "ks": OrderedTest(kolmogorov_smirnov, "p < 0.05", _significant),
    "psi": OrderedTest(stability_index, "> 0.25", _above(0.25)),
    "js": OrderedTest(jensen_shannon, "> 0.1", _above(0.1)),
    "wasserstein": OrderedTest(wasserstein, "> 0.1 sd", _above(0.1)),
}
"""Tests of numbers by name, each with the rule that its users follow most."""
CATEGORY_TESTS: dict[str, CategoryTest] = {
    "chi2": CategoryTest(chi_square, "p < 0.05", _significant),
    "psi": CategoryTest(stability_index_of_categories, "> 0.25", _above(0.25)),
    "js": CategoryTest(jensen_shannon_of_categories, "> 0.1", _above(0.1)),
}


def _table(reference: Counts, current: Counts) -> npt.NDArray[np.float64]:
    names = sorted(reference.keys() | current.keys(), key=str)
    return np.array([[counts.get(name, 0) for name in names] for counts in (reference, current)], np.float64)


def _deciles(reference: Values, current: Values) -> npt.NDArray[np.float64]:
    """Return the rows of both samples in each decile of the reference, [2, bins]; equal deciles are one bin."""
    edges = np.unique(np.quantile(reference, np.arange(1, DECILES) / DECILES))
    return np.array(
        [np.bincount(np.searchsorted(edges, x, "right"), minlength=edges.size + 1) for x in (reference, current)],
        np.float64,
    )


def _stability(reference: Values, current: Values) -> float:
    p, q = (np.maximum(counts / counts.sum(), SMALLEST_SHARE) for counts in (reference, current))
    return float(((q - p) * np.log(q / p)).sum())
