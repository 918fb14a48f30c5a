"""A table that an ingest of any source fills, with stores of its own."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from trimtab.clock import ManualClock
from trimtab.data.batch import Intake, open_intake
from trimtab.data.connectors.connector_catalog import open_connector
from trimtab.data.connectors.contract import Access, Connector
from trimtab.data.connectors.micro_batches import StreamConnector
from trimtab.data.connectors.pulling import ingest_pulls
from trimtab.data.ingest import Ingested
from trimtab.definitions.sources import Source
from trimtab.features.corrections import current
from trimtab.policy.model import Checks
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.tables.delta import DeltaTables

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


class Pulled:
    """The table of a source, and what an ingest of it needs."""

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder, self.source = folder, source
        self.tables, self.metadata = DeltaTables(folder / "tables"), SqlMetadata(folder / "metadata.db")

    def intake(self, **checks: Any) -> Intake:
        return open_intake(
            self.source,
            folder=self.folder,
            checks=Checks.model_validate(checks),
            tables=self.tables,
            metadata=self.metadata,
            clock=ManualClock(NOW),
        )

    def connector(self) -> Connector:
        found = open_connector(self.source, Access(self.folder, self.folder / ".trimtab"))
        assert not isinstance(found, StreamConnector)
        return found

    def ingest(self, connector: Connector | None = None, **checks: Any) -> list[Ingested]:
        return list(ingest_pulls(self.intake(**checks), connector or self.connector()))

    def column(self, name: str) -> list[Any]:
        """Return a column of all rows, in the order of the table; empty without a table."""
        if self.tables.version(self.source.name) is None:
            return []
        return self.tables.scan(self.source.name).collect()[name].to_list()

    def now(self) -> list[dict[str, Any]]:
        """Return the rows that count in the end, by key."""
        rows = current(self.tables.scan(self.source.name), self.source, as_of=None).collect()
        return rows.sort(*self.source.key).to_dicts()
