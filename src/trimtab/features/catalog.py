"""The record of a feature view's version: what the app writes before it computes features. Called by the app."""

from __future__ import annotations

from trimtab.clock import Clock
from trimtab.definitions import FeatureView
from trimtab.records import FeatureViewVersion


def view_version(view: FeatureView, clock: Clock) -> FeatureViewVersion:
    """Return the record of the view as it is defined now; equal definitions have equal ids."""
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
