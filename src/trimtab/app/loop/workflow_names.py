"""Names of the retraining workflows, and which of them ended without a result, read without the workflow engine.

A server of pages has no memory for the engine (workflows.py).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import StoreError
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import sqlalchemy as sa
else:  # a database server's projects alone need it
    sa = LazyLibrary("sqlalchemy")

WORKFLOW = "retrain"
DEAD = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "CANCELLED")
"""Ended without a result: nothing resumes them but a person."""
SQLITE = "sqlite:///"
SCHEMA = "dbos"
"""Of the engine's tables in a database server."""
ASK = "SELECT workflow_uuid, status FROM {} WHERE name = '" + WORKFLOW + "' AND status IN ('" + "', '".join(DEAD) + "')"


def workflow_id(decision: str) -> str:
    """Return the id of the workflow that a decision starts."""
    return f"{WORKFLOW}/{decision}"


def dead_decisions(url: str) -> dict[str, str]:
    """Return the decisions whose workflows ended without a result, each with the command that shows why.

    Raises StoreError when the database at `url` cannot be read.
    """
    return {
        id_.removeprefix(f"{WORKFLOW}/"): f"{status.lower().replace('_', ' ')}; trimtab workflows shows more"
        for id_, status in _read(url)
    }


def _read(url: str) -> list[tuple[str, str]]:
    if not url.startswith(SQLITE):
        engine = sa.create_engine(url)
        try:
            if not sa.inspect(engine).has_table("workflow_status", schema=SCHEMA):
                return []
            with engine.connect() as connection:
                return [
                    (row[0], row[1]) for row in connection.execute(sa.text(ASK.format(f"{SCHEMA}.workflow_status")))
                ]
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(f"the database of the retraining workflows cannot be read: {error}") from error
        finally:
            engine.dispose()
    path = Path(url.removeprefix(SQLITE))
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True)) as connection:
            return list(connection.execute(ASK.format("workflow_status")))
    except sqlite3.Error as error:
        if "no such table" in str(error):  # another process is making them
            return []
        raise StoreError(f"the database of the retraining workflows cannot be read: {error} ({path})") from error
