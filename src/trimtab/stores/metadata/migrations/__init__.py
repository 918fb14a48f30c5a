"""Migrates a metadata database to the newest schema when a store is opened.

A change of RECORDS or of a record's KEYS needs a new file in versions/, named NNNN_what.py with
`revision = "NNNN"`; a test compares the migrated schema with the one made from the records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.errors import StoreError
from trimtab.lazy_library import LazyLibrary
from trimtab.stores.metadata.version import MIGRATIONS, VERSION_TABLE, newest

if TYPE_CHECKING:
    import sqlalchemy as sa
else:
    sa = LazyLibrary("sqlalchemy")

ADVISORY_LOCK = 0x7472696D746162
"""Key of the PostgreSQL lock under which one process migrates ("trimtab" in ASCII)."""


def stamped(connection: sa.Connection) -> str | None:
    """Return the schema revision of a database, or None for an empty one."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return None if found is None else str(found)


def migrate(engine: sa.Engine) -> None:
    """Apply the missing migrations. Several processes may call it at once. Raises StoreError for a newer database."""
    if _is_current(engine):
        return
    if engine.dialect.name == "sqlite":
        with engine.execution_options(trimtab_read=True).connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # kept in the file from now on
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        if stamped(connection) != newest():
            _upgrade(connection)


def _is_current(engine: sa.Engine) -> bool:
    with engine.execution_options(trimtab_read=True).connect() as connection:
        found = stamped(connection)
    if found is not None and found > newest():
        raise StoreError(
            f"the metadata database has schema {found}, which is newer than this Trimtab knows ({newest()}). "
            "Upgrade with: pip install --upgrade trimtab"
        )
    return found == newest()


def _upgrade(connection: sa.Connection) -> None:
    # Imported here, because Alembic takes a third of a second to import and is needed once in a database's life.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
