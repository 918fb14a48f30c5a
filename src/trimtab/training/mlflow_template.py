"""Makes an empty, migrated MLflow database once for each MLflow version, and copies it for each new project.

MLflow runs some fifty migrations on a new SQLite file, which takes 10 to 17 seconds.
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

from trimtab.errors import StoreError

REMEDY = "Move it aside with: trimtab repair; a new one is made, with the versions of all bundles"

log = logging.getLogger(__name__)


def prepare(database: Path, cache: Path) -> None:
    """Make an empty, migrated database if the file does not exist; check an existing one without changing it.

    The file appears atomically. cache: folder of the template, which is made again if it is missing or damaged; if the
    folder is not writable, the template is made next to the database. Raises StoreError.
    """
    if database.exists():
        if wrong := wrong_with(database):
            raise StoreError(f"{database} is not a complete MLflow database: {wrong}. {REMEDY}")
        return
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        _copy(_template(cache, database.parent), database)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{database} cannot be made: {error}. Make room, then run the command again") from None


def _template(cache: Path, fallback: Path) -> Path:
    """Return an empty, migrated database: the one in the cache, or one made in the folder `fallback`."""
    name = f"mlflow-{importlib.metadata.version('mlflow-skinny')}.db"
    template = cache.expanduser() / name
    try:
        if not is_sound(template):
            template.parent.mkdir(parents=True, exist_ok=True)
            _make(template)
        return template
    except (OSError, sqlite3.Error) as error:
        log.warning("no template of the tracking database in %s (%s); migrating a new one", template.parent, error)
    made = fallback / f".{name}"
    _make(made)
    return made


def wrong_with(database: Path) -> str | None:
    """Return why a file is not a usable MLflow database, or None. Reads only a few rows of it."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            migrated = connection.execute("SELECT count(*) FROM alembic_version").fetchone()
            begun = connection.execute("SELECT count(*) FROM experiments").fetchone()
    except sqlite3.OperationalError as error:
        return None if "locked" in str(error) else f"its tables were not finished ({error})"
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if migrated == (1,) and begun != (0,) else "its tables were not finished"


def is_sound(database: Path) -> bool:
    """Return True if a file is an undamaged SQLite database with MLflow's tables. Reads all of it."""
    if not database.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            whole = connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
            return bool(whole and connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,))
    except sqlite3.DatabaseError:
        return False


def _make(template: Path) -> None:
    # imported here, because MLflow takes seconds to import
    stores = import_module("mlflow.store.tracking.sqlalchemy_store")
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        made = Path(folder) / "new.db"
        try:
            store = stores.SqlAlchemyStore(f"sqlite:///{made}", Path(folder).as_uri())
        except Exception as error:  # MLflow and SQLAlchemy raise errors of many kinds, on a full disk as well
            raise OSError(f"{template.parent}: {type(error).__name__}: {str(error).splitlines()[0]}") from error
        store.engine.dispose()
        if not is_sound(made):
            raise OSError(f"{template.parent}: the new database is not complete")
        os.replace(made, template)


def _copy(template: Path, database: Path) -> None:
    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        copy = Path(folder) / "new.db"
        shutil.copyfile(template, copy)
        with closing(sqlite3.connect(copy)) as connection, connection:
            root = (database.parent / "mlartifacts").absolute().as_uri()
            connection.execute("UPDATE experiments SET artifact_location = ? || '/' || experiment_id", (root,))
        try:
            os.link(copy, database)  # unlike a rename, a link never replaces the file of another process
        except FileExistsError:
            log.debug("%s was made by another process", database)
