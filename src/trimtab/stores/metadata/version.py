"""The schema revision of the metadata store. Importing it loads no database library."""

from __future__ import annotations

from pathlib import Path

VERSION_TABLE = "trimtab_schema"
"""Name of Alembic's version table. It is not the default name, because MLflow may use that in the same database."""

MIGRATIONS = Path(__file__).parent / "migrations"


def newest() -> str:
    """Return the newest schema revision that this code knows."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
