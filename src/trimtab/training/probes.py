"""Makes probes, rows with values that training rows lack, and finds which of them an estimator refuses.

A probe is a real row with a change in one column: missing, infinite, huge, -0.0, an unseen category, a float32 next to
a tree's threshold. One more probe has all columns missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from trimtab.bundle.limits import FLOAT32_MAX, answered, answers
from trimtab.bundle.spec import Limits

Array = np.ndarray[Any, Any]
Score = Callable[[Array], Array]

REAL_ROWS = 3
"""Number of real rows from which probes are made."""
LADDER = (1e1, 1e2, 1e4, 1e6, 1e9, 1e12, 1e16, 1e20, 1e25, 1e30, 1e35)
"""Multiples of the largest value of a column that are tried, before the largest float32 and infinity."""
HALVINGS = 12
"""Bisection steps between the last accepted and the first refused number, by rank among all float32."""
FAR = 1e4
"""A graph may refuse numbers that its estimator accepts, from this multiple of the largest value seen on."""
MOST_THRESHOLDS = 2000
MOST_CATEGORIES = 1000
"""A column with more distinct values is not tried as categories."""
CODES_BEYOND = 100
"""This many whole numbers below and above those that were seen are tried as categories, too."""
MOST_CODE = 2**24
"""Whole numbers below this one are exact in float32."""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Probes with the scores of the estimator.

    rows: float32 (rows, features), all accepted by the estimator. expected: its scores, float64. kinds: the
    kind of change, one text for each row. columns: the changed column, int64 (rows,), -1 for all. limits: values that
    the estimator refuses.
    """

    rows: Array
    expected: Array
    kinds: Array
    columns: Array
    limits: Limits
    sizes: Array
    """Largest magnitude seen in each column, at least 1."""

    def narrowed(self, wrong: Array, features: Sequence[str], *, far: bool) -> Limits | None:
        """Return limits that exclude probes which a scorer scores differently; None if limits cannot exclude them.

        wrong: bool (rows,), the probes to exclude. far: exclude only numbers far beyond those seen, no missing values.
        """
        lowest, highest, no_null = dict(self.limits.lowest), dict(self.limits.highest), set(self.limits.no_null)
        for place in np.unique(self.columns[wrong]).tolist():
            own = self.columns == place
            kinds = set(self.kinds[own & wrong].tolist())
            if place < 0 or not kinds <= ({"huge", "infinite"} if far else {"huge", "infinite", "missing"}):
                return None
            if "missing" in kinds:
                no_null.add(features[place])
            numbers = np.isin(self.kinds, ["huge", "infinite"]) & own
            for sign, limits in ((1, highest), (-1, lowest)):
                values = sign * self.rows[:, max(place, 0)].astype(np.float64)
                bad = values[numbers & wrong & (values > 0)]
                if not len(bad):
                    continue
                good = values[numbers & ~wrong & (values < bad.min())]
                if (far and bad.min() < FAR * self.sizes[place]) or not len(good):
                    return None
                limits[features[place]] = sign * float(good.max())
        return Limits(
            no_null=tuple(name for name in features if name in no_null),
            lowest=lowest,
            highest=highest,
            categories=self.limits.categories,
        )


def make_probes(
    score: Score,
    X: Array,
    features: Sequence[str],
    thresholds: Iterable[tuple[int, float]] = (),
    categories: Mapping[int, Sequence[float]] | None = None,
) -> Probes:
    """Make probes and score them by an estimator.

    score: scores rows; raises an error or returns NaN for a refused row. X: real rows, float32 (rows, features), which
    the estimator accepts. thresholds: column and value of the splits of trees. categories: the categories of columns
    for which they are known; for other columns they are searched for.
    """
    prober = _Prober(score, np.asarray(X), features)
    with threadpool_limits(limits=1):  # for a few rows, threads cost more than they save
        prober.nulls()
        prober.categories(categories or {})
        prober.beyond()
        prober.others()
        prober.near(thresholds)
    return prober.probes()


class _Prober:
    def __init__(self, score: Score, X: Array, features: Sequence[str]) -> None:
        self._score = score
        self._features = features
        self._X = X
        with np.errstate(all="ignore"):
            finite = np.where(np.isfinite(X), X, np.nan)
            known = ~np.isnan(finite).all(axis=0) if len(X) else np.zeros(len(features), dtype=bool)
            self._low, self._high = np.zeros(len(features)), np.zeros(len(features))
            self._low[known] = np.nanmin(finite[:, known], axis=0)
            self._high[known] = np.nanmax(finite[:, known], axis=0)
        self._sizes = np.maximum(np.maximum(np.abs(self._low), np.abs(self._high)), 1.0)
        self._real = _whole_rows(X, len(features))
        self._seen = [np.unique(column[np.isfinite(column)]) for column in X.T]
        self._taken: list[tuple[Array, Array, str, Array]] = []
        self._no_null: set[int] = set()
        self._lowest: dict[int, float] = {}
        self._highest: dict[int, float] = {}
        self._categories: dict[int, Array] = {}

    def nulls(self) -> None:
        """Try a missing value in each column, and in all of them."""
        everywhere = np.arange(len(self._features))
        for real in self._real:
            columns = np.array([place for place in everywhere if place not in self._no_null], dtype=np.int64)
            taken = self._try("missing", real, columns, np.full(len(columns), np.nan))
            self._no_null |= set(columns[~taken].tolist())
        empty = np.where([place in self._no_null for place in everywhere], self._real[0], np.float32(np.nan))[None, :]
        if len(self._no_null) < len(everywhere):
            self._score_rows("all missing", empty.astype(np.float32), np.array([-1]))

    def categories(self, known: Mapping[int, Sequence[float]]) -> None:
        """Find columns of codes, where fractions between known values are refused, and which codes are accepted."""
        for place in range(len(self._features)):
            seen = self._seen[place]
            if place in known:
                self._take_categories(place, np.array(known[place], dtype=np.float32))
                continue
            if not 0 < len(seen) <= MOST_CATEGORIES:
                continue
            taken = self._try(
                "a fraction", self._real[0], np.full(3, place), seen[len(seen) // 2] + np.array([0, 0.5, 0.25])
            )
            if taken.tolist() != [True, False, False]:
                continue
            codes = seen
            if (seen == np.round(seen)).all() and np.abs(seen).max() < MOST_CODE:
                more = np.arange(seen[0] - CODES_BEYOND, seen[-1] + CODES_BEYOND + 1)
                codes = np.union1d(seen, more) if len(more) <= MOST_CATEGORIES else seen
            self._take_categories(place, codes.astype(np.float32))

    def beyond(self) -> None:
        """Try ever larger and smaller numbers, up to the largest float32 and infinity."""
        size = self._sizes
        for sign, limits, start in ((1, self._highest, self._high), (-1, self._lowest, self._low)):
            last = start.copy()
            for times in (*LADDER, FLOAT32_MAX, np.inf):
                places = [n for n in range(len(size)) if n not in limits and n not in self._categories]
                columns = np.array(places, dtype=np.int64)
                with np.errstate(over="ignore"):
                    values = size[columns] * times
                values = np.full(len(columns), np.inf) if times == np.inf else np.minimum(values, FLOAT32_MAX)
                if len(columns):
                    self._step(limits, last, columns, sign * values)

    def others(self) -> None:
        """Try -0.0, and numbers beyond and between those that were seen."""
        for place, values in enumerate(self._seen):
            low, high = self._lowest.get(place, -np.inf), self._highest.get(place, np.inf)
            if not len(values) or place in self._categories:
                continue
            middle = values[len(values) // 2]
            after = values[min(len(values) // 2 + 1, len(values) - 1)]
            tried = np.array([-0.0, values[0] - 1, values[-1] + 1, (middle + after) / 2, middle + 0.5, middle + 0.25])
            tried = tried[(tried >= low) & (tried <= high)].astype(np.float32)
            self._try("another number", self._real[0], np.full(len(tried), place), tried)

    def near(self, thresholds: Iterable[tuple[int, float]]) -> None:
        """Try thresholds of trees, and the float32 just above and below them."""
        wanted = sorted({(column, float(np.float32(value))) for column, value in thresholds if np.isfinite(value)})
        if len(wanted) > MOST_THRESHOLDS:
            wanted = [wanted[place] for place in np.linspace(0, len(wanted) - 1, MOST_THRESHOLDS).astype(int)]
        wanted = [
            (c, v)
            for c, v in wanted
            if self._lowest.get(c, -np.inf) < v < self._highest.get(c, np.inf) and c not in self._categories
        ]
        if not wanted:
            return
        columns = np.array([column for column, _ in wanted])
        values = np.array([value for _, value in wanted], dtype=np.float32)
        for number, real in enumerate(self._real):
            toward = np.float32([np.nan, np.inf, -np.inf][number % 3])
            with np.errstate(over="ignore"):
                tried = values if np.isnan(toward) else np.nextafter(values, toward)
            self._try("next to a threshold", real, columns, tried)

    def probes(self) -> Probes:
        """Return all probes that were accepted, and the limits found."""
        names = self._features
        rows = [rows for rows, _, _, _ in self._taken] or [np.empty((0, len(names)), dtype=np.float32)]
        return Probes(
            rows=np.concatenate(rows),
            expected=np.concatenate([expected for _, expected, _, _ in self._taken] or [np.empty(0)]),
            kinds=np.concatenate(
                [np.full(len(rows), kind) for rows, _, kind, _ in self._taken] or [np.empty(0, dtype=str)]
            ),
            columns=np.concatenate([columns for _, _, _, columns in self._taken] or [np.empty(0, dtype=np.int64)]),
            sizes=self._sizes,
            limits=Limits(
                no_null=tuple(name for place, name in enumerate(names) if place in self._no_null),
                lowest={names[place]: self._lowest[place] for place in sorted(self._lowest)},
                highest={names[place]: self._highest[place] for place in sorted(self._highest)},
                categories={
                    names[place]: tuple(self._categories[place].tolist()) for place in sorted(self._categories)
                },
            ),
        )

    def _try(self, kind: str, real: Array, columns: Array, values: Array) -> Array:
        """Score a real row with one changed value, once for each column; return which are accepted, bool."""
        rows = np.repeat(real[None, :], len(columns), axis=0)
        with np.errstate(over="ignore"):
            rows[np.arange(len(columns)), columns] = values
        return self._score_rows(kind, rows, columns)

    def _score_rows(self, kind: str, rows: Array, columns: Array) -> Array:
        found = answers(self._score, rows) if len(rows) else np.empty(0)
        taken = answered(found)
        if taken.any():
            self._taken.append((rows[taken], found[taken], kind, columns[taken]))
        return taken

    def _take_categories(self, place: int, codes: Array) -> None:
        self._categories[place] = codes[self._try("a category", self._real[0], np.full(len(codes), place), codes)]

    def _step(self, limits: dict[int, float], last: Array, columns: Array, values: Array) -> None:
        """Try one value for each column; where it is refused, search for the last number that is accepted."""
        taken = self._try("infinite" if np.isinf(values).any() else "huge", self._real[0], columns, values)
        last[columns[taken]] = values[taken]
        for place, value in zip(columns[~taken].tolist(), values[~taken].tolist(), strict=True):
            good, bad = _ordinal(last[place]), _ordinal(value)
            for _ in range(HALVINGS if np.isfinite(value) else 0):
                middle = (good + bad) // 2
                ok = self._try("huge", self._real[0], np.array([place]), np.array([_from_ordinal(middle)]))[0]
                good, bad = (middle, bad) if ok else (good, middle)
            limits[place] = _from_ordinal(good)


def _whole_rows(X: Array, features: int) -> Array:
    """Return REAL_ROWS real rows without missing values; if there are none, missing values are filled."""
    whole = X[np.isfinite(X).all(axis=1)]
    if not len(whole):
        whole = X.copy()
        for column in whole.T:
            known = column[np.isfinite(column)]
            column[~np.isfinite(column)] = known[len(known) // 2] if len(known) else 0.0
    if not len(whole):
        whole = np.zeros((1, features), dtype=np.float32)
    return whole[np.linspace(0, len(whole) - 1, REAL_ROWS).astype(np.int64)]


def _ordinal(value: float) -> int:
    """Return the rank of a float32 among all float32; 0.0 has rank 0."""
    bits = int(np.float32(value).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def _from_ordinal(place: int) -> float:
    value = np.int32(abs(place)).view(np.float32)
    return float(value if place >= 0 else -value)
