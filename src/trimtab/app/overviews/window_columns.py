"""The columns of one window compared with the reference of its version: counts, how far they moved, which way."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from trimtab.app.overviews.wording import metric, share
from trimtab.definitions.personal_columns import MASK
from trimtab.monitoring.reference import Reference
from trimtab.records.monitoring import Profile, Signal, is_output
from trimtab.stats.correlations import ENTRY
from trimtab.stats.effects import shares_moved, stability_index
from trimtab.stats.profile import ColumnProfile
from trimtab.stats.schemes import ABOVE, BELOW, FIRST_BIN, MISSING, OTHER, Bins, CategoryBins, NumericBins

NAMED_P = 0.05
"""A column is named as changed when its p-value, corrected for the number of columns, is below."""


class WindowColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a window. What belongs to the reference is None where it has none for this column.

    p, holm: p-value of the window alone, and corrected for the number of columns; None where they are not in the
    records, which have those of the columns that carry most and of the one furthest from what is usual for it.
    """

    name: str
    kind: str
    rows: int
    missing: float
    missing_usual: float | None
    moved: float | None
    """Largest share of rows that moved across one threshold, or into or out of one category."""
    moved_usual: float | None
    """Half of the reference windows moved by less."""
    psi: float | None
    p: float | None
    holm: float | None
    changed: bool
    """Whether `holm` is below NAMED_P."""
    direction: str
    """Which way it moved, in words; empty when that is not known."""
    labels: tuple[str, ...]
    """Categories; empty of numbers."""
    edges: tuple[str, ...]
    """Edges of the bins of numbers, one more than there are bins; the outer ones are the .001 and .999 quantiles of the
    reference."""
    now: tuple[float, ...]
    """Share of the rows with a value, by bin or category."""
    reference: tuple[float, ...]


def window_columns(
    profile: Profile,
    reference: Reference | None,
    signals: Sequence[Signal],
    *,
    categories: Mapping[str, Sequence[str]],
    masked: Collection[str],
) -> tuple[WindowColumn, ...]:
    """Return the input columns of a window, those that moved most first.

    Args:
        profile: the counts of the window.
        reference: of the version; None when it cannot be read: then there is nothing to compare with.
        signals: of the window.
        categories: names of the categories of features whose values are codes.
        masked: columns with personal data, whose values are not shown.
    """
    own = {s.subject: s for s in signals if s.kind == "data"}
    found = []
    for name, counted in profile.columns.items():
        if name == ENTRY or is_output(name):
            continue
        column = ColumnProfile.from_dict(counted)
        bins = None if reference is None else reference.schemes.get(name)
        pool = None
        if reference is not None and bins is not None and bins.fingerprint == column.scheme:
            pool = _pooled([window[name] for window in reference.profiles])
        found.append(_column(name, column, pool, bins, own.get(name), categories.get(name, ()), hidden=name in masked))
    return tuple(sorted(found, key=lambda c: (-(c.moved or 0.0), c.name)))


def _pooled(profiles: Sequence[ColumnProfile]) -> ColumnProfile:
    """Return the counts and the sum of several windows as one."""
    counts = tuple(int(n) for n in np.array([p.counts for p in profiles]).sum(axis=0))
    rows, total = sum(p.n for p in profiles), math.fsum(p.total for p in profiles)
    return ColumnProfile(profiles[0].kind, profiles[0].scheme, counts, rows, total)


def _column(
    name: str,
    column: ColumnProfile,
    pool: ColumnProfile | None,
    bins: Bins | None,
    signal: Signal | None,
    categories: Sequence[str],
    *,
    hidden: bool,
) -> WindowColumn:
    effect: Mapping[str, float] = {} if signal is None else signal.effect
    moved = psi = None
    if pool is not None:
        window, usual = (np.array([each.counts], np.int64) for each in (column, pool))
        moved = float(shares_moved(window, usual, int(column.kind == "ordered"))[0])
        psi = float(stability_index(window, usual)[0])
    labels, edges, now, before = _histogram(column, pool, bins, categories)
    if hidden:
        labels, edges = tuple(MASK for _ in labels), tuple(MASK for _ in edges)
    holm = effect.get("holm")
    return WindowColumn(
        name=name,
        kind=column.kind,
        rows=column.n,
        missing=column.missing / column.n if column.n else 0.0,
        missing_usual=None if pool is None or not pool.n else pool.missing / pool.n,
        moved=effect.get("max_share_moved", moved),
        moved_usual=effect.get("max_share_moved_usual"),
        psi=effect.get("psi", psi),
        p=None if signal is None else signal.p,
        holm=holm,
        changed=holm is not None and holm < NAMED_P,
        direction=_direction(column, pool, labels, now, before, hidden=hidden),
        labels=labels,
        edges=edges,
        now=now,
        reference=before,
    )


Histogram = tuple[tuple[str, ...], tuple[str, ...], tuple[float, ...], tuple[float, ...]]


def _histogram(
    column: ColumnProfile, pool: ColumnProfile | None, bins: Bins | None, categories: Sequence[str]
) -> Histogram:
    """Return labels, edges, shares now and shares of the reference, without missing values."""
    if pool is None or bins is None:
        return (), (), (), ()
    if isinstance(bins, CategoryBins):
        places, labels = _categories(bins, categories, column, pool)
        return labels, (), _shares(column, places), _shares(pool, places)
    places, edges = _intervals(bins, column, pool)
    return (), edges, _shares(column, places), _shares(pool, places)


def _categories(
    bins: CategoryBins, names: Sequence[str], column: ColumnProfile, pool: ColumnProfile
) -> tuple[list[int], tuple[str, ...]]:
    places = list(range(FIRST_BIN, FIRST_BIN + len(bins.top)))
    labels = [_category(name, names) for name in bins.top]
    rest = {BELOW: "not seen before", OTHER: f"other ({len(bins.common)})", ABOVE: f"rare ({len(bins.rare)})"}
    for place, label in rest.items():
        if column.counts[place] or pool.counts[place]:
            places.append(place)
            labels.append("other" if place == OTHER and bins.open else label)
    return places, tuple(labels)


def _category(code: str, names: Sequence[str]) -> str:
    return names[int(code)] if names and code.isdigit() and int(code) < len(names) else code


def _intervals(bins: NumericBins, column: ColumnProfile, pool: ColumnProfile) -> tuple[list[int], tuple[str, ...]]:
    places = list(range(FIRST_BIN, FIRST_BIN + len(bins.edges) + 1))
    edges = [metric(edge) for edge in (bins.floor, *bins.edges, bins.ceiling)]
    if column.counts[BELOW] or pool.counts[BELOW]:
        places.insert(0, BELOW)
        edges.insert(0, "less")
    if column.counts[ABOVE] or pool.counts[ABOVE]:
        places.append(ABOVE)
        edges.append("more")
    return places, tuple(edges)


def _shares(column: ColumnProfile, places: Sequence[int]) -> tuple[float, ...]:
    valid = column.n - column.counts[MISSING]
    return tuple(column.counts[place] / valid if valid else 0.0 for place in places)


def _direction(
    column: ColumnProfile,
    pool: ColumnProfile | None,
    labels: Sequence[str],
    now: Sequence[float],
    before: Sequence[float],
    *,
    hidden: bool,
) -> str:
    if pool is None:
        return ""
    if column.kind == "ordered":
        if not (math.isfinite(column.mean) and math.isfinite(pool.mean)) or column.mean == pool.mean:
            return ""
        if hidden:
            return "higher" if column.mean > pool.mean else "lower"
        more = "higher" if column.mean > pool.mean else "lower"
        by = metric(abs(column.mean - pool.mean))
        return f"{more} by {by}: mean {metric(column.mean)}, usual {metric(pool.mean)}"
    place = max(range(len(now)), key=lambda n: abs(now[n] - before[n]), default=None)
    if place is None or now[place] == before[place]:
        return ""
    more = "more" if now[place] > before[place] else "less"
    return f"{more} {labels[place]}: {share(now[place])}, usual {share(before[place])}"
