"""Records of feature definitions."""

from __future__ import annotations

from typing import Any

from trimtab.records.record import Record


class FeatureViewVersion(Record, frozen=True, kw_only=True):
    """One version of a feature definition; id is `view@hash`."""

    KIND = "feature_view_version"
    KEYS = ("view",)

    view: str
    hash: str
    entity: str
    keys: tuple[str, ...]
    source: str
    features: tuple[str, ...]
    spec: dict[str, Any]
    """The complete definition as plain values in canonical order."""
