"""Masks the values of columns with personal data in everything that is shown, logged or kept in a report."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trimtab.errors import DataError

if TYPE_CHECKING:
    from trimtab.definitions.collection import Definitions
    from trimtab.definitions.views import FeatureView

MASK = "***"
WHOLE_ROW = "*"
"""Column of a finding about whole rows, which may show any of their values."""


def mask(column: str, value: Any, pii: Collection[str]) -> Any:
    """Return a value as it may be shown: MASK for a column in `pii`, and for whole rows that have such a column.

    A missing value is shown as missing.
    """
    hidden = column in pii or (column == WHOLE_ROW and bool(pii))
    return MASK if hidden and value is not None else value


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


def mask_number(column: str, place: int, value: Any, pii: Collection[str]) -> Any:
    """Return the name of a group of rows as it may be shown; groups of a column in `pii` stay apart by their number.

    place: of the group, from 0.
    """
    return f"{MASK} {place + 1}" if column in pii else value


@contextmanager
def values_hidden(column: str, pii: Collection[str]) -> Iterator[None]:
    """Leave the value out of a DataError about a column in `pii`; where it was found, and its row, stay."""
    try:
        yield
    except DataError as error:
        if column not in pii:
            raise
        found = _PLACE.match(str(error))
        place = found[0] if found else f"column '{column}'"
        raise DataError(
            f"{place}: a value does not fit the type of the column; it is personal data, not shown"
        ) from None


_PLACE = re.compile(r".*?column '.*?'(: row \d+)?")
