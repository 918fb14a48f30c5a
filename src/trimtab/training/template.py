"""A migrated, empty MLflow database, made once per MLflow version and copied for each new project.

MLflow runs some fifty migrations on a new SQLite file, which takes 10 to 17 seconds; a copy takes none.
Called by client.py.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from importlib import import_module
from pathlib import Path

log = logging.getLogger(__name__)


def prepare(database: Path, cache: Path) -> None:
    """Put a migrated, empty database where there is none yet; one that is there stays as it is.

    cache: folder of the template, made again when it is missing or damaged. Where the cache cannot be
    written, nothing is done, and MLflow migrates the database itself.
    """
    if database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    template = cache.expanduser() / f"mlflow-{importlib.metadata.version('mlflow-skinny')}.db"
    try:
        if not is_sound(template):
            template.parent.mkdir(parents=True, exist_ok=True)
            _make(template)
        _copy(template, database)
    except OSError as error:
        log.warning("no template of the tracking database in %s (%s); migrating a new one", template.parent, error)


def is_sound(database: Path) -> bool:
    """Tell whether a file is a whole SQLite database with MLflow's tables."""
    if not database.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            whole = connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
            return bool(whole and connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,))
    except sqlite3.DatabaseError:
        return False


def _make(template: Path) -> None:
    # MLflow takes seconds to import
    stores = import_module("mlflow.store.tracking.sqlalchemy_store")
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        made = Path(folder) / "new.db"
        store = stores.SqlAlchemyStore(f"sqlite:///{made}", Path(folder).as_uri())
        store.engine.dispose()
        os.replace(made, template)


def _copy(template: Path, database: Path) -> None:
    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        copy = Path(folder) / "new.db"
        shutil.copyfile(template, copy)
        with closing(sqlite3.connect(copy)) as connection, connection:
            root = (database.parent / "mlartifacts").absolute().as_uri()
            connection.execute("UPDATE experiments SET artifact_location = ? || '/' || experiment_id", (root,))
        try:
            os.link(copy, database)  # unlike a rename, a link never replaces what another process made
        except FileExistsError:
            log.debug("%s was made by another process", database)
