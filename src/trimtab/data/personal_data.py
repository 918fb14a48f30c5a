"""Masks the values of columns with personal data in everything that is shown, logged or kept in a report."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

MASK = "***"
WHOLE_ROW = "*"
"""Column of a finding about whole rows, which may show any of their values."""


def mask(column: str, value: Any, pii: Collection[str]) -> Any:
    """Return a value as it may be shown: MASK for a column in `pii`, and for whole rows that have such a column.

    A missing value is shown as missing.
    """
    hidden = column in pii or (column == WHOLE_ROW and bool(pii))
    return MASK if hidden and value is not None else value
