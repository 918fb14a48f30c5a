"""The store of spend in SQLite: the contract, and what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.errors import StoreError
from trimtab.stores.catalog import open_spend
from trimtab.stores.spend.accounts import SqliteSpend
from trimtab.stores.spend.contract import SpendStore
from trimtab.testing import SpendConformance


class TestSqlite(SpendConformance):
    def open(self, folder: Path) -> SpendStore:
        return SqliteSpend(folder / "spend.db")


def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "spend.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match=r"spend\.db: file is not a database"):
        open_spend(None, tmp_path)


def test_a_sqlite_metadata_store_has_its_spend_in_the_folder_of_the_environment(tmp_path: Path) -> None:
    open_spend("sqlite:///elsewhere.db", tmp_path).close()
    assert (tmp_path / "spend.db").exists()
