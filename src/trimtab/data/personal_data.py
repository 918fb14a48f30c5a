"""Masks the values of columns with personal data in everything that is shown, logged or kept in a report."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from trimtab.definitions.personal_columns import MASK
from trimtab.errors import DataError

WHOLE_ROW = "*"
"""Column of a finding about whole rows, which may show any of their values."""


def mask(column: str, value: Any, pii: Collection[str]) -> Any:
    """Return a value as it may be shown: MASK for a column in `pii`, and for whole rows that have such a column.

    A missing value is shown as missing.
    """
    hidden = column in pii or (column == WHOLE_ROW and bool(pii))
    return MASK if hidden and value is not None else value


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
