"""Pushed rows come from the spool into the table as messages of a stream."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from trimtab.clock import ManualClock
from trimtab.data.batch import Intake, open_intake
from trimtab.data.connectors.connector_catalog import open_connector
from trimtab.data.connectors.contract import Access
from trimtab.data.connectors.landing import Landing, land_batches
from trimtab.data.connectors.push import BATCH_ROWS, PushConnector
from trimtab.data.quarantine import read_refused
from trimtab.definitions.push_source import PushSource
from trimtab.policy.model import Checks
from trimtab.stores.catalog import spool_folder
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.spool import Pushed, SpoolWriter, segments
from trimtab.stores.tables.delta import DeltaTables

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = PushSource("clicks", schema={"id": "integer", "at": "time", "page": "text", "vip": "boolean"}, timestamp="at")


class Site:
    """The spool and the table of clicks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = spool_folder(folder, "clicks")
        self.tables, self.metadata = DeltaTables(folder / "tables"), SqlMetadata(folder / "metadata.db")
        self.writer = SpoolWriter(self.spool)

    def push(self, *ids: int, key: str | None = None, **changed: Any) -> None:
        rows = [{"id": n, "at": "2026-03-01T12:00:00+00:00", "page": "p", "vip": None, **changed} for n in ids]
        self.writer.append([Pushed(5_000_000, key, [msgspec.json.encode(row) for row in rows])])

    def connector(self) -> PushConnector:
        found = open_connector(SOURCE, Access(self.folder, self.folder))
        assert isinstance(found, PushConnector)
        return found

    def intake(self) -> Intake:
        return open_intake(
            SOURCE,
            folder=self.folder,
            checks=Checks.model_validate({}),
            tables=self.tables,
            metadata=self.metadata,
            clock=ManualClock(NOW),
        )

    def ingest(self) -> int:
        return sum(done.rows_added for done in land_batches(self.intake(), self.connector()))

    def ids(self) -> list[int]:
        return self.tables.scan("clicks").collect()["id"].to_list()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_rows_have_the_columns_and_types_of_the_schema(site: Site) -> None:
    site.push(1)
    assert site.ingest() == 1
    frame = site.tables.scan("clicks").collect()
    assert frame.schema == {
        "id": pl.Int64,
        "at": pl.Datetime("us", "UTC"),
        "page": pl.String,
        "vip": pl.Boolean,
    }
    assert frame["at"].to_list() == [datetime(2026, 3, 1, 12, tzinfo=UTC)]


def test_each_request_is_taken_once_and_then_forgotten(site: Site) -> None:
    site.push(1, 2, key="a")
    assert site.ingest() == 2
    site.push(1, 2, key="a")
    site.push(3)
    assert site.ingest() == 1
    site.writer.close()
    assert site.ingest() == 0
    assert site.ids() == [1, 2, 3]
    assert segments(site.spool) == []
    site.push(4)
    assert site.ingest() == 1


def test_a_long_spool_comes_in_several_batches(site: Site) -> None:
    ids = range(BATCH_ROWS + 5)
    for first in range(0, len(ids), 5_000):
        site.push(*ids[first : first + 5_000])
    batches = list(site.connector().pulls(None))
    assert [len(batch.messages) for batch in batches] == [BATCH_ROWS, 5]
    assert batches[0].label == "clicks: 20,000 pushed rows"
    assert batches[0].oldest_ms == 5_000


def test_a_stream_forgets_what_has_landed(site: Site) -> None:
    landing = Landing(site.intake(), metadata={})
    with site.connector().follow(None) as stream:
        site.push(1)
        batch = stream.take(wait_s=0)
        assert batch is not None
        landing.land(batch.messages, since=None, state=batch.state, label=batch.label)
        stream.landed()
        assert stream.caught_up
        assert stream.take(wait_s=0) is None
        site.push(2)
        site.writer.close()
        state = landing.state()
        again = stream.take(wait_s=0, until_end=True)
        assert again is not None
        landing.land(again.messages, since=state, state=again.state, label=again.label)
        stream.landed()
    assert site.ids() == [1, 2]
    assert segments(site.spool) == []


def test_a_reader_that_ends_before_its_rows_landed_loses_none(site: Site) -> None:
    site.push(1)
    with site.connector().follow(None) as stream:
        assert stream.take(wait_s=0) is not None  # and the process ends
    assert site.ingest() == 1


def test_a_row_that_fails_a_check_is_in_quarantine_with_its_request(site: Site) -> None:
    site.push(1)
    site.push(2, at=None)
    assert site.ingest() == 1
    (row,) = read_refused("clicks", tables=site.tables, metadata=site.metadata, limit=5).rows
    ((number, _),) = segments(site.spool)
    assert (row.file, row.values["id"]) == (f"clicks[{number}]", 2)


def test_says_how_much_waits(site: Site) -> None:
    assert site.connector().check() == "0 bytes in the spool"
    site.push(1)
    assert site.connector().check().split()[0].isdigit()
