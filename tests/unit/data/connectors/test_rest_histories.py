"""Random histories of a REST source: rows and versions of them, faults, deaths; each row reaches the table once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.hostile_api import PAGE, HostileApi, hostile_api
from trimtab.clock import ManualClock
from trimtab.data.batch import Intake, open_intake
from trimtab.data.connectors.connector_catalog import open_connector
from trimtab.data.connectors.contract import Access
from trimtab.data.connectors.pulling import ingest_pulls
from trimtab.data.connectors.rest import RestConnector
from trimtab.definitions.rest_source import RESTSource
from trimtab.errors import DataError, StoreError
from trimtab.policy.model import Checks
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables

START = datetime(2026, 1, 1, tzinfo=UTC)
STYLES: dict[str, Any] = {
    "link": "header_link",
    "cursor": {"type": "cursor", "cursor_path": "next_cursor", "cursor_param": "after"},
    "page": {"type": "page_number", "total_path": "pages"},
    "offset": {"type": "offset", "limit": PAGE, "total_path": "total"},
}


class Died(BaseException):
    """The process ends here."""


class Shop:
    """The API of a shop, and the table of its orders."""

    def __init__(self, api: HostileApi, folder: Path, **arguments: Any) -> None:
        self.api, self.folder = api, folder
        self.source = RESTSource("orders", api.url, timestamp="updated_at", **arguments)
        self.tables, self.metadata = DeltaTables(folder / "tables"), SqlMetadata(folder / "metadata.db")
        self.clock = ManualClock(START + timedelta(days=400))

    def intake(self, **checks: Any) -> Intake:
        return open_intake(
            self.source,
            folder=self.folder,
            checks=Checks.model_validate(checks),
            tables=self.tables,
            metadata=self.metadata,
            clock=self.clock,
        )

    def ingest(self, *, pulls: int | None = None, **checks: Any) -> int:
        """Ingest, and die after some pulls. Returns how many rows came."""
        self.api.forget()  # a server that gives the last page of an earlier ingest cannot be found out
        connector, added = RestConnector(self.source, Access(self.folder, self.folder), self.clock), 0
        for number, done in enumerate(ingest_pulls(self.intake(**checks), connector), start=1):
            added += done.rows_added
            if number == pulls:
                raise Died
        return added

    def rows(self) -> list[tuple[int, int]]:
        if self.tables.version("orders") is None:
            return []
        return sorted(self.tables.scan("orders").select("id", "step").collect().rows())


def row(id_: int, step: int) -> dict[str, Any]:
    at = START + timedelta(minutes=step)
    return {"id": id_, "step": step, "updated_at": at.isoformat(), "inner": {"x": step / 2}}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with hostile_api([row(n, n) for n in range(25)]) as api:
        incremental = {"cursor_path": "updated_at", "start_param": "since"}
        yield Shop(api, tmp_path, path="link", paginator="header_link", incremental=incremental, batch_rows=10)


def test_new_rows_and_new_versions_of_rows_are_added(shop: Shop) -> None:
    assert shop.ingest() == 25
    assert shop.ingest() == 0
    shop.api.rows += [row(100, 30), row(3, 31)]
    assert shop.ingest() == 2
    assert shop.rows() == sorted([*((n, n) for n in range(25)), (100, 30), (3, 31)])


def test_an_ingest_without_news_adds_no_version(shop: Shop) -> None:
    shop.ingest()
    before = shop.tables.version("orders")
    shop.ingest()
    assert shop.tables.version("orders") == before


def test_the_start_moves_although_the_last_pull_has_nothing_new(shop: Shop) -> None:
    shop.ingest()
    shop.api.since = lambda one, since: True  # the server ignores `since`, and gives the newest rows first
    shop.api.rows.insert(0, row(100, 30))
    assert shop.ingest() == 1
    assert '"cursor":"2026-01-01T00:30:00+00:00"' in (shop.tables.state("orders") or "")


def test_a_column_that_begins_midway_needs_the_policy(shop: Shop) -> None:
    for one in shop.api.rows[12:]:
        one["coupon"] = "SALE"
    with pytest.raises(DataError, match=r"RESTSource 'orders': .*(?s:.*)\+ coupon: string is new"):
        shop.ingest()
    shop.ingest(evolution={"add_columns": "allow"})
    assert len(shop.rows()) == 25


def test_a_column_that_ends_midway_is_null(shop: Shop) -> None:
    for one in shop.api.rows[12:]:
        del one["inner"]
    assert shop.ingest() == 25


def test_a_type_that_changes_midway_is_refused_with_its_page(shop: Shop) -> None:
    for one in shop.api.rows[20:]:
        one["step"] = "many"
    with pytest.raises(DataError, match=r"orders.*(?s:.*)~ step: int64 in the table, string in the batch"):
        shop.ingest()
    shop.api.rows[20:] = [row(n, n) for n in range(20, 25)]
    assert len(shop.rows()) + shop.ingest() == 25


def test_the_catalog_opens_a_rest_source(shop: Shop) -> None:
    connector = open_connector(shop.source, Access(shop.folder, shop.folder))
    assert isinstance(connector, RestConnector)


FAULTS = ("ok", "ok", "ok", "429", "500", "cut", "truncated", "html", "hang up", "gzip", "bad gzip", "repeat", "404")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 15)),
        st.tuples(st.just("update"), st.integers(0, 30)),
        st.tuples(st.just("ingest"), st.lists(st.sampled_from(FAULTS), max_size=8)),
        st.tuples(st.just("die"), st.integers(1, 3)),
    ),
    max_size=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    style=st.sampled_from(sorted(STYLES)),
    order=st.sampled_from(["as it comes", "newest first", "ids"]),
    steps=STEPS,
    incremental=st.booleans(),
    has_key=st.booleans(),
    batch_rows=st.sampled_from([1, 10, 25]),
)
def test_a_random_history_gives_each_version_of_a_row_once(
    style: str, order: str, steps: list[tuple[str, Any]], incremental: bool, has_key: bool, batch_rows: int
) -> None:
    with hostile_api([]) as api, TemporaryDirectory() as folder:
        arguments: dict[str, Any] = {"path": style, "paginator": STYLES[style], "batch_rows": batch_rows}
        if incremental:
            arguments["incremental"] = {"cursor_path": "updated_at", "start_param": "since", "lag": "1m"}
        if has_key:
            arguments["key"] = ["id"]
        orders: dict[str, Any] = {
            "as it comes": list,
            "newest first": lambda rows: sorted(rows, key=lambda one: -one["step"]),
            "ids": lambda rows: sorted(rows, key=lambda one: one["id"]),
        }
        api.order = orders[order]
        shop, step = Shop(api, Path(folder), **arguments), 0
        expected: set[tuple[int, int]] = set()
        for what, how in steps:
            api.faults = how if what == "ingest" else []
            if what == "add":
                for _ in range(how):
                    api.rows.append(row(step, step))
                    step += 1
            elif what == "update" and api.rows:
                found = api.rows.pop(how % len(api.rows))
                api.rows.append(row(found["id"], step))
                step += 1
            elif what == "die":
                with suppress(Died):
                    shop.ingest(pulls=how)
            else:
                with suppress(DataError, StoreError):
                    shop.ingest()
                    expected |= {(one["id"], one["step"]) for one in api.rows}
            assert len(set(shop.rows())) == len(shop.rows())
            assert expected <= set(shop.rows())
        api.faults = []
        shop.ingest()
        assert expected | {(one["id"], one["step"]) for one in api.rows} <= set(shop.rows())
        assert len(set(shop.rows())) == len(shop.rows())
