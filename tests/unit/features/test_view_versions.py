"""The record of a view's version."""

from __future__ import annotations

from datetime import UTC, datetime

import trimtab as tt
from trimtab.clock import ManualClock
from trimtab.definitions.aggregations import count, last, mean
from trimtab.definitions.sources import FileSource
from trimtab.definitions.views import FeatureView
from trimtab.features.view_versions import view_of, view_version


def test_the_record_tells_the_whole_definition() -> None:
    source = tt.FileSource("events", "events.parquet", timestamp="t")
    view = FeatureView("v", tt.Entity("lane", keys=["a", "b"]), source, count("1d"))
    moment = datetime(2013, 1, 1, tzinfo=UTC)

    record = view_version(view, ManualClock(moment))

    assert (record.id, record.hash, record.created_at) == (view.version_id, view.hash, moment)
    assert (record.view, record.entity, record.keys, record.source) == ("v", "lane", ("a", "b"), "events")
    assert record.features == ("v__count_1d",)
    assert record.spec == view.spec()


def test_a_view_comes_back_from_its_record() -> None:
    lane, plain = tt.Entity("lane", keys=["a", "b"]), FileSource("events", "events.parquet", timestamp="t")
    late = FileSource("events", "events.parquet", timestamp="t", known_at="k")
    same = FileSource("events", "events.parquet", timestamp="t", known_at="t")
    views = [
        FeatureView("v", lane, plain, [count("1d", "7d"), mean("x", "90m"), last("x", "y")]),
        FeatureView("v", lane, late, [last("x", window="36h")], ttl="3d", every="5m"),
        FeatureView("v", lane, late, count("1h"), window_by="known_at"),
        FeatureView("v", lane, same, count("1h"), window_by="known_at"),
    ]
    for view in views:
        found = view_of(view_version(view, ManualClock()))
        assert (found.version_id, found.spec(), found.feature_names) == (
            view.version_id,
            view.spec(),
            view.feature_names,
        )
