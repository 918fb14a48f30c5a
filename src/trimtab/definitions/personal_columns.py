"""Says which columns, features and entity keys hold personal data: the one rule of all that masks values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from trimtab.definitions.collection import Definitions
from trimtab.definitions.views import FeatureView

MASK = "***"
COUNTS = ("count", "distinct", "decayed_count", "since_last")
"""Kinds of aggregations that show no value of a column."""


def personal_columns(definitions: Definitions) -> frozenset[str]:
    """Return all names under which personal data stands: what pages, reports and gates show as MASK.

    They are the columns that a source declares as `pii`, also where they are entity keys or request columns; the
    features that views compute from them, views over views too; and what transforms compute from any of these. Counts
    of rows or of different values are none.
    """
    declared = frozenset(name for source in definitions.sources.values() for name in source.pii)
    features = {
        f"{view.name}__{name}" for view in definitions.views.values() for name in _personal(view, definitions, declared)
    }
    found, before = declared | features, frozenset[str]()
    while found != before:  # transforms may read one another's outputs
        before = found
        read = (each for each in definitions.transforms.values() if not found.isdisjoint(each.inputs))
        found |= {name for each in read for name in each.feature_names}
    return found


def _personal(view: FeatureView, definitions: Definitions, declared: frozenset[str]) -> frozenset[str]:
    """Return the short names of a view's features that show values of columns with personal data."""
    columns = {name for each in definitions.sources.values() if each.reads_same_rows(view.source) for name in each.pii}
    columns |= declared.intersection(view.entity.keys)
    if view.over is not None:
        columns |= _personal(view.over, definitions, declared)
    return frozenset(
        each.name
        for each in view.aggregations
        if any(leaf.kind not in COUNTS and leaf.column in columns for leaf in each.leaves)
    )


def mask_segment(name: str, pii: Collection[str]) -> str:
    """Return a segment, such as carrier=3, without its value if its column is in `pii`."""
    column, is_, _ = name.partition("=")
    return f"{column}{is_}{MASK}" if is_ and column in pii else name


def mask_number(column: str, place: int, value: Any, pii: Collection[str]) -> Any:
    """Return the name of a group of rows as it may be shown; groups of a column in `pii` stay apart by their number.

    place: of the group, from 0.
    """
    return f"{MASK} {place + 1}" if column in pii else value
