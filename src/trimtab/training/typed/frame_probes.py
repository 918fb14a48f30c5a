"""Probes of a model that takes a frame: real rows with one value that is missing, unseen, infinite, empty or extreme.

As in probes.py, a probe that the estimator refuses becomes a limit. The form that serves must score the others as the
estimator does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from trimtab.bundle.limits import FLOAT32_MAX, answered, answers
from trimtab.bundle.spec import Limits
from trimtab.bundle.typed_matrix import TypedMatrix, joined
from trimtab.training.probes import REAL_ROWS, Probes

Array = np.ndarray[Any, Any]

EXTREMES: dict[str, tuple[Any, ...]] = {
    "integer": (0, -1, 2**53 + 1, 2**63 - 1, -(2**63)),
    "decimal": (Decimal(0), Decimal("-0.01"), Decimal(10) ** 20),
    "text": ("", " ", "Ünïcödé 漢字 😀", "a word " * 200),
    "date": (0, -1, 40_000),
    "timestamp": (0, -1, 4_000_000_000_000_000),
    "boolean": (0, 1),
}
"""Values of each type that are tried."""


def typed_probes(score: Callable[[Array], Array], X: TypedMatrix, features: Sequence[str]) -> Probes:
    """Make probes of real rows that the estimator accepts, and score them by the estimator."""
    real = _real_rows(X)
    made, kinds, columns = list[TypedMatrix](), list[str](), list[int]()
    for place in range(len(features)):
        for kind, rows in _changes(real, place):
            made.append(rows)
            kinds += [kind] * len(rows)
            columns += [place] * len(rows)
    rows = joined(made)
    places = np.array(columns)
    found = answers(score, rows)
    taken, named = answered(found), np.array(kinds)

    def refused(kind: str) -> list[str]:
        return [features[place] for place in np.unique(places[(named == kind) & ~taken]).tolist()]

    limits = Limits(
        no_null=tuple(refused("missing")),
        highest=dict.fromkeys(refused("infinite"), FLOAT32_MAX),
        lowest=dict.fromkeys(refused("minus infinite"), -FLOAT32_MAX),
        categories={name: _codes(X, name) for name in refused("unseen")},
    )
    plain = np.abs(np.asarray(X, dtype=np.float64))
    sizes = np.maximum(np.nanmax(np.where(np.isfinite(plain), plain, 1.0), axis=0, initial=1.0), 1.0)
    kinds_taken = np.where(named == "minus infinite", "infinite", named)[taken]
    return Probes(
        rows=rows[taken], expected=found[taken], kinds=kinds_taken, columns=places[taken], limits=limits, sizes=sizes
    )


def _codes(X: TypedMatrix, name: str) -> tuple[float, ...]:
    return tuple(map(float, range(len(X.schema.categories[name]))))


def _real_rows(X: TypedMatrix) -> TypedMatrix:
    """Return up to REAL_ROWS rows with the fewest missing values."""
    missing = np.isnan(X).sum(axis=1)
    whole = np.flatnonzero(missing == missing.min())
    chosen: TypedMatrix = X[whole[np.unique(np.linspace(0, len(whole) - 1, REAL_ROWS).astype(np.int64))]]
    return chosen


def _changes(real: TypedMatrix, place: int) -> list[tuple[str, TypedMatrix]]:
    """Return the changes of one feature, each on all real rows or on the first."""
    kind = real.schema.places.get(place)
    found = [("missing", _changed(real, place, np.nan, None))]
    if kind is None:
        found += [
            (name, _changed(real[:1], place, value))
            for name, value in (("infinite", np.inf), ("minus infinite", -np.inf))
        ]
        return [*found, ("another number", _changed(real[:1], place, -0.0)), ("huge", _changed(real[:1], place, 1e30))]
    if kind == "category":
        known = len(real.schema.categories[real.schema.features[place]])
        unseen = [("unseen", _changed(real, place, float(known), "(unseen)"))] if real.schema.unseen == "other" else []
        middle = [
            ("a category", _changed(real[:1], place, float(code)))
            for code in (0, known // 2, known - 1)
            if 0 <= code < known
        ]
        return [*found, *unseen, *middle]
    return found + [
        ("another value", _changed(real[:1], place, float(_number(kind, value)), value)) for value in EXTREMES[kind]
    ]


def _number(kind: str, value: Any) -> float:
    return len(value) if kind == "text" else value / 1e6 if kind == "timestamp" else float(value)


def _changed(rows: TypedMatrix, place: int, number: float, value: Any = None) -> TypedMatrix:
    changed = rows.copy()
    with np.errstate(over="ignore"):
        changed[:, place] = number
    if place in changed.exact and value is not None:
        exact = changed.exact[place].copy()
        exact[:] = value
        changed.exact[place] = exact
    return changed
