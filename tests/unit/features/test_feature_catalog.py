"""The record of a view's version."""

from __future__ import annotations

from datetime import UTC, datetime

import trimtab as tt
from trimtab.clock import ManualClock
from trimtab.definitions import FeatureView, count
from trimtab.features import view_version


def test_the_record_tells_the_whole_definition() -> None:
    source = tt.FileSource("events", "events.parquet", timestamp="t")
    view = FeatureView("v", tt.Entity("lane", keys=["a", "b"]), source, count("1d"))
    moment = datetime(2013, 1, 1, tzinfo=UTC)

    record = view_version(view, ManualClock(moment))

    assert (record.id, record.hash, record.created_at) == (view.version_id, view.hash, moment)
    assert (record.view, record.entity, record.keys, record.source) == ("v", "lane", ("a", "b"), "events")
    assert record.features == ("v__count_1d",)
    assert record.spec == view.spec()
