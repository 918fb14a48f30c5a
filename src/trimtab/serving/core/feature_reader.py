"""The contract of what a feature server reads from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol


class Column(Protocol):
    """One column of an answer; values, statuses and times have one entry a row."""

    @property
    def name(self) -> str:
        """Name of the entity key or feature."""
        ...

    @property
    def values(self) -> list[Any]:
        """Values as JSON has them."""
        ...

    @property
    def statuses(self) -> list[str]:
        """PRESENT, NULL_VALUE or NOT_FOUND."""
        ...

    @property
    def times(self) -> list[datetime | None]:
        """Until when values are complete."""
        ...


class FeatureReader(Protocol):
    """Reads features by their names. Raises DataError for what is unknown or missing."""

    def features_of(self, service: str) -> Sequence[Any]:
        """Return the features of a service."""
        ...

    def named(self, names: Sequence[str]) -> Sequence[Any]:
        """Return the features with names such as "punctuality:late_mean_7d"."""
        ...

    def read(
        self, features: Sequence[Any], columns: Mapping[str, Sequence[Any]], *, at: int, full_names: bool
    ) -> Sequence[Column]:
        """Return one column for each entity key and feature, at a time in microseconds since the epoch."""
        ...
