"""Which schema the book of records has. Read by both backends and the migrations; loads no database library."""

from __future__ import annotations

from pathlib import Path

VERSION_TABLE = "trimtab_schema"
"""Not Alembic's own name for it, because MLflow migrates itself in the same database under that one."""

MIGRATIONS = Path(__file__).parent / "migrations"


def newest() -> str:
    """Return the newest schema revision that this code knows."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
