"""Turns a feature view into the record of its version, and a record back into the view.

A bundle serves with the views that it was trained with, which definitions.py may have changed since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.clock import Clock
from trimtab.definitions.aggregations import Aggregation
from trimtab.definitions.sources import Source
from trimtab.definitions.views import Entity, FeatureView
from trimtab.records.features import FeatureViewVersion


def view_version(view: FeatureView, clock: Clock) -> FeatureViewVersion:
    """Return the record of a view as it is defined now.

    Args:
        view: the view.
        clock: gives `created_at`.

    Returns:
        The record; equal definitions have equal ids.
    """
    return FeatureViewVersion(
        id=view.version_id,
        created_at=clock.now(),
        view=view.name,
        hash=view.hash,
        entity=view.entity.name,
        keys=tuple(view.entity.keys),
        source=view.source.name,
        features=view.feature_names,
        spec=view.spec(),
    )


def view_of(record: FeatureViewVersion) -> FeatureView:
    """Return the view as it was defined when the record was written.

    Args:
        record: the record of a version.

    Returns:
        A view that computes what that version computed; its `version_id` is the record's id. Its source knows its
        columns, and not where rows come from.
    """
    return _view(record.spec)


def _view(spec: Mapping[str, Any]) -> FeatureView:
    by_known = spec.get("window_by", "timestamp") == "known_at"
    known_at = spec["known_at"] if by_known or spec["known_at"] != spec["timestamp"] else None
    source = Source(spec["source"], timestamp=spec["timestamp"], known_at=known_at, key=spec.get("key", ()))
    return FeatureView(
        name=spec["view"],
        entity=Entity(spec["entity"], keys=spec["keys"]),
        source=_view(spec["over"]) if "over" in spec else source,
        features=[Aggregation.of_spec(each) for each in spec["features"]],
        ttl=_text(spec["ttl"]),
        every=_text(spec["every"]),
        window_by="known_at" if by_known else "timestamp",
    )


def _text(micros: int | None) -> str | None:
    return None if micros is None else f"{micros}us"
