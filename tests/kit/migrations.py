"""Migrate one SQLite file a process: each later one that is fresh gets the tables of the first by their statements.

The migrations take a hundred milliseconds, the statements some five, and hundreds of tests open a store of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from trimtab.stores.metadata.migrations import stamped
from trimtab.stores.metadata.version import VERSION_TABLE, newest

TABLES = "SELECT sql FROM sqlite_master WHERE tbl_name LIKE 'trimtab_%' AND sql IS NOT NULL ORDER BY rowid"


class MigrateOnce:
    """What takes the place of `migrations._upgrade` during the tests."""

    def __init__(self, upgrade: Callable[[sa.Connection], None]) -> None:
        self.upgrade = upgrade
        """The migrations themselves."""
        self._statements: list[str] = []

    def __call__(self, connection: sa.Connection) -> None:
        """Bring a database up to date."""
        if connection.dialect.name != "sqlite" or stamped(connection) is not None:
            self.upgrade(connection)
        elif self._statements:
            for statement in self._statements:
                connection.exec_driver_sql(statement)
        else:
            self.upgrade(connection)
            made = [str(sql) for (sql,) in connection.exec_driver_sql(TABLES)]
            self._statements = [*made, f"INSERT INTO {VERSION_TABLE} VALUES ('{newest()}')"]


BACK_TO_0008 = (
    *(f"DROP INDEX ix_trimtab_decision_{keys}" for keys in ("band", "impact", "cell", "held_by")),
    "DROP INDEX ix_trimtab_decision_model_band_impact_action",
    "DROP INDEX ix_trimtab_window_model_stage_start",
    *(f"DROP INDEX ix_trimtab_signal_{keys}" for keys in ("subject", "model_subject_start")),
    *(f"ALTER TABLE trimtab_decision DROP COLUMN {key}" for key in ("band", "impact", "cell", "held_by")),
    "ALTER TABLE trimtab_signal DROP COLUMN subject",
    "DROP TABLE trimtab_comparison",
    f"UPDATE {VERSION_TABLE} SET version_num = '0008'",
)
"""Make a database what it was before its columns for the pages, in SQLite and PostgreSQL."""
