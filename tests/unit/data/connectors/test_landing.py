"""Micro-batches land in their table with their state, each once; what gives no row is in quarantine."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from trimtab.clock import ManualClock
from trimtab.data.batch import open_intake
from trimtab.data.connectors import landing as landing_module
from trimtab.data.connectors.landing import Landing
from trimtab.data.connectors.message_rows import Message
from trimtab.data.quarantine import RefusedRow, read_refused
from trimtab.definitions.sources import Source
from trimtab.errors import Conflict, DataError
from trimtab.policy.model import Checks
from trimtab.records.data import CheckReport, TableVersion
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
AT = "2026-01-01T00:00:00Z"


class Shop:
    """A project folder with the table `payments`."""

    def __init__(self, folder: Path, checks: dict[str, Any] | None = None) -> None:
        self.tables = DeltaTables(folder / "tables")
        self.metadata = SqlMetadata(f"sqlite:///{folder / 'metadata.db'}")
        self.folder = folder
        self.checks = Checks.model_validate(checks or {})

    def open(self) -> Landing:
        intake = open_intake(
            Source("payments", timestamp="at"),
            folder=self.folder,
            checks=self.checks,
            tables=self.tables,
            metadata=self.metadata,
            clock=ManualClock(NOW),
        )
        return Landing(intake)

    def ids(self) -> list[int]:
        return self.tables.scan("payments").collect()["id"].to_list()

    def refused(self) -> list[RefusedRow]:
        return list(read_refused("payments", tables=self.tables, metadata=self.metadata, limit=100).rows)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def message(number: int, **fields: Any) -> Message:
    return Message("payments[0]", number, json.dumps({"id": number, "at": AT, **fields}).encode())


def land(landing: Landing, messages: list[Message], since: str | None, state: str) -> Any:
    return landing.land(messages, since=since, state=state, label=f"to {state}")


def test_rows_land_with_their_state_and_their_place_in_the_table(shop: Shop) -> None:
    landing = shop.open()
    first = land(landing, [message(0), message(1)], None, "2")
    second = land(landing, [message(2)], "2", "3")
    assert (first.first, first.rows, second.first, second.frame["id"].to_list()) == (0, 2, 2, [2])
    assert (shop.ids(), shop.tables.state("payments"), second.version) == ([0, 1, 2], "3", 1)
    again = land(shop.open(), [message(3)], "3", "4")
    assert again.first == 3


def test_of_two_processes_that_land_the_same_messages_one_is_refused(shop: Shop) -> None:
    land(shop.open(), [message(0)], None, "1")
    one, other = shop.open(), shop.open()
    land(one, [message(1)], "1", "2")
    with pytest.raises(Conflict):
        land(other, [message(1), message(2)], "1", "3")
    assert (shop.ids(), shop.tables.state("payments")) == ([0, 1], "2")


def test_a_stream_goes_on_whatever_share_of_a_batch_fails(shop: Shop) -> None:
    landing = shop.open()
    land(landing, [message(0)], None, "1")
    bad = [message(1, at=None), Message("payments[0]", 2, b"{"), message(3, more=1)]
    landed = land(landing, [*bad, message(4)], "1", "5")
    assert (landed.rows, landed.refused, shop.ids()) == (1, 3, [0, 4])
    assert {(one.file, one.row): one.reason.split(":")[0] for one in shop.refused()} == {
        ("payments[0]", 1): "at",
        ("payments[0]", 2): "cannot be read as JSON",
        ("payments[0]", 3): "the table has no column 'more'. Valid",
    }
    assert land(landing, bad, "5", "8").rows == 0
    assert shop.tables.state("payments") == "8"


def test_a_check_of_the_whole_batch_refuses_its_rows_and_not_the_stream(tmp_path: Path) -> None:
    (tmp_path / "whole.py").write_text(
        "import pandera.polars as pa\n"
        "Rows = pa.DataFrameSchema({'id': pa.Column(int)}, "
        "checks=pa.Check(lambda data: data.lazyframe.select(ok=(__import__('polars').col('id').max() < 10))))\n"
    )
    shop = Shop(tmp_path, {"payments": "whole.Rows"})
    landing = shop.open()
    land(landing, [message(1)], None, "1")
    assert land(landing, [message(20), message(2)], "1", "3").refused == 2
    assert land(landing, [message(3)], "3", "4").rows == 1
    assert shop.ids() == [1, 3]


def test_a_batch_that_is_landed_again_with_more_messages_shows_its_refused_ones_once(shop: Shop) -> None:
    land(shop.open(), [message(0)], None, "1")
    killed = shop.open()
    killed._append = lambda *_, **__: 1 / 0  # type: ignore[method-assign, assignment]  # ends before the commit
    with pytest.raises(ZeroDivisionError):
        land(killed, [Message("payments[0]", 1, b"{")], "1", "2")
    land(shop.open(), [Message("payments[0]", 1, b"{"), Message("payments[0]", 2, b"["), message(3)], "1", "4")
    assert sorted(one.row for one in shop.refused()) == [1, 2]


def test_messages_before_the_first_row_land_with_it(shop: Shop) -> None:
    landing = shop.open()
    assert land(landing, [Message("payments[0]", 0, b"{")], None, "1") is None
    assert land(landing, [message(1)], None, "2").refused == 1
    assert (shop.ids(), [one.row for one in shop.refused()], landing.state()) == ([1], [0], "2")


def test_a_stream_without_any_readable_message_is_an_error(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing_module, "MOST_UNREADABLE", 3)
    with pytest.raises(DataError, match=r"none of the first 3 messages gives a row; the first, payments\[0\] offset 0"):
        land(shop.open(), [Message("payments[0]", n, b"avro") for n in range(3)], None, "3")


def test_micro_batches_leave_no_record_and_the_newest_version_gets_one_when_asked_for(shop: Shop) -> None:
    landing = shop.open()
    for n in range(5):
        land(landing, [message(n)], None if n == 0 else f"{n}", f"{n + 1}")
    assert not shop.metadata.find(TableVersion)
    assert not shop.metadata.find(CheckReport)
    made = landing.record("payments")
    assert made is not None
    assert (made.id, made.rows, made.added_rows, made.schema["id"]) == ("payments@4", 5, 5, "int64")
    assert landing.record("payments") == made == shop.open().record("payments")
    land(landing, [message(5)], "5", "6")
    again = shop.open().record("payments")
    assert again is not None
    assert (again.rows, again.added_rows) == (6, 1)
    assert again.content_hash != made.content_hash


def test_columns_that_come_later_are_known_to_the_next_batch(tmp_path: Path) -> None:
    shop = Shop(tmp_path, {"evolution": {"add_columns": "allow"}})
    landing = shop.open()
    land(landing, [message(0)], None, "1")
    land(landing, [message(1, channel="web", n=1)], "1", "2")
    land(landing, [message(2, channel="pos", n=1.5), message(3, channel=True)], "2", "4")
    rows = shop.tables.scan("payments").collect()
    assert rows["channel"].to_list() == [None, "web", "pos"]
    assert rows["n"].to_list() == [None, 1.0, 1.5]


def test_what_is_odd_of_rows_is_told_once(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    landing = shop.open()
    land(landing, [message(0, at="2026-01-01T00:00:00")], None, "1")
    land(landing, [message(1, at="2026-01-01T00:00:00"), message(2, at="2030-01-01T00:00:00Z")], "1", "3")
    land(landing, [message(3, at="2030-01-01T00:00:00Z")], "3", "4")
    assert [record.getMessage().partition(", ")[0] for record in caplog.records] == [
        "Source 'payments': at: 1 row without a time zone",
        "Source 'payments': at: 1 row in the future",
    ]


def test_checks_of_whole_batches_are_not_passed_over_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Shop(tmp_path, {"payments": {"volume": {"min": 10}}}).open()
    assert "checks.payments.volume is for files and pulls, not for streams" in caplog.text
