"""The metadata store of a simulated world: it is searched as every other store is."""

from __future__ import annotations

from pathlib import Path

from trimtab.app.backtest.memory_metadata import MemoryMetadata
from trimtab.stores.metadata.contract import Metadata
from trimtab.testing.metadata import SearchConformance


class TestMemory(SearchConformance):
    def open(self, folder: Path) -> Metadata:
        return MemoryMetadata()
