"""The SQL metadata store: the contract, its migrations and its errors."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from kit.migrations import MigrateOnce
from trimtab.errors import StoreError
from trimtab.records.serving import Revision
from trimtab.stores.metadata import migrations
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.metadata.schema import metadata
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.stores.metadata.version import MIGRATIONS, VERSION_TABLE, newest
from trimtab.testing import MetadataConformance
from trimtab.testing.metadata import revision


@pytest.fixture
def by_migrations(migrate_once: MigrateOnce, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the migrations for each fresh file."""
    monkeypatch.setattr(migrations, "_upgrade", migrate_once.upgrade)


class TestSqlite(MetadataConformance):
    def open(self, folder: Path) -> Metadata:
        return SqlMetadata(folder / "metadata.db")


@pytest.mark.usefixtures("by_migrations")
def test_the_migrated_schema_is_the_one_made_from_the_records(tmp_path: Path) -> None:
    SqlMetadata(tmp_path / "metadata.db").close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'metadata.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        difference = compare_metadata(context, metadata())
    engine.dispose()
    assert difference == [], "records.py changed: add a file to stores/metadata/migrations/versions"


def test_the_newest_revision_is_the_head_that_alembic_sees() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [newest()]


def test_a_migrated_store_opens_without_alembic(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    SqlMetadata(path).close()
    script = (
        "import sys; from pathlib import Path; from trimtab.stores.metadata.sql import SqlMetadata; "
        "SqlMetadata(Path(sys.argv[1])).close(); assert 'alembic' not in sys.modules, 'alembic was imported'"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def test_a_database_newer_than_the_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    SqlMetadata(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StoreError, match="9999, which is newer"):
        SqlMetadata(path)


def test_commits_are_on_disk_when_put_returns(tmp_path: Path) -> None:
    store = SqlMetadata(tmp_path / "metadata.db")
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    store.close()


def test_a_url_that_cannot_be_read_shows_a_right_one_and_no_password() -> None:
    with pytest.raises(StoreError, match="Expected for example sqlite"):
        SqlMetadata("nonsense")
    with pytest.raises(StoreError, match=r"oracel://me:\*\*\*@host") as caught:
        SqlMetadata("oracel://me:secret@host/db")
    assert "secret" not in str(caught.value)


def test_a_database_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_bytes(b"this is no database, it is a text of some length" * 100)
    with pytest.raises(StoreError, match="not a database"):
        SqlMetadata(tmp_path / "metadata.db")


@pytest.mark.usefixtures("by_migrations")
def test_a_path_may_hold_characters_that_mean_something_in_a_url(tmp_path: Path) -> None:
    path = tmp_path / "what? 100% #1" / "metadata.db"
    SqlMetadata(path).close()
    assert path.is_file()


def test_a_file_that_is_given_its_tables_has_those_of_the_migrations(
    tmp_path: Path, migrate_once: MigrateOnce, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content(name: str) -> list[str]:
        SqlMetadata(tmp_path / name).close()
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            return sorted(connection.iterdump())  # a copied table gets its indexes in no certain order

    first, second = content("first.db"), content("second.db")
    monkeypatch.setattr(migrations, "_upgrade", migrate_once.upgrade)
    assert first == second == content("migrated.db")


@pytest.mark.usefixtures("by_migrations")
def test_it_lives_beside_the_tables_of_others(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('theirs')")
        connection.execute("CREATE TABLE runs (id TEXT)")
    store = SqlMetadata(path)
    store.put(revision(1))
    assert store.count(Revision) == 1
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("theirs",)]
