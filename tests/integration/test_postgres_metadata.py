"""The metadata store in a real PostgreSQL: the contract, its migrations, and the order of what is committed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.migrations import BACK_TO_0008
from kit.postgres import Postgres, a_postgres
from trimtab.records.control import Decision
from trimtab.records.kinds import RECORDS
from trimtab.records.monitoring import Signal
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import Between, Metadata
from trimtab.stores.metadata.rows import table_name
from trimtab.stores.metadata.sql import WRITER_LOCK, SqlMetadata
from trimtab.testing import MetadataConformance
from trimtab.testing.metadata import NOON, decision, revision, signal


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with a_postgres() as found:
        SqlMetadata(_url(found)).close()
        yield found


def _url(server: Postgres) -> str:
    return server.url.replace("postgresql://", "postgresql+psycopg://")


class TestPostgres(MetadataConformance):
    @pytest.fixture(autouse=True)
    def _emptied(self, server: Postgres) -> None:
        server.do(f"TRUNCATE {', '.join(map(table_name, RECORDS.values()))} RESTART IDENTITY")
        self._server = server

    def open(self, folder: Path) -> Metadata:
        return SqlMetadata(_url(self._server))

    def test_a_record_is_seen_in_the_order_of_its_position(self, store: Metadata) -> None:
        """A writer waits for the one before it, so that a position that was read stays a promise."""
        first, written = self._server.connect(), threading.Event()

        def write() -> None:
            store.put(revision(2))
            written.set()

        with first:
            first.execute(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")  # another process is writing
            first.execute("SELECT nextval(pg_get_serial_sequence('trimtab_revision', 'seq'))")
            thread = threading.Thread(target=write)
            thread.start()
            assert not written.wait(0.3)
            assert store.positions()["revision"] == 0
        thread.join()
        assert store.positions()["revision"] == 2
        assert store.count(Revision) == 1

    def test_records_of_an_older_database_are_found_by_the_keys_that_came_later(self, store: Metadata) -> None:
        store.put(signal(NOON), signal(NOON, subject="o'hare"), decision(1, "severe", "high", "retrain"))
        for statement in BACK_TO_0008:
            self._server.do(statement)
        opened = self.open(Path())
        assert [one.number for one in opened.find(Decision, band="severe", impact="high", cell="retrain")] == [1]
        assert opened.count(Signal, subject="o'hare", start=Between(NOON)) == 1
        opened.put(decision(2, "severe", "high", "review"))
        assert opened.verify().breaks == ()
        opened.close()
