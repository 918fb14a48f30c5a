"""Opens a project's stores: the scheme of a URL selects the backend from one table a kind of store.

None opens the embedded backend under the project's own folder ROOT (PROJECT/.trimtab). A path without a scheme
is a folder on a local disk. Relative paths start at the project folder. Only the selected backend is imported.
"""

from __future__ import annotations

import hashlib
import re
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from trimtab.definitions.secrets import reveal_in_url
from trimtab.errors import StoreError, nearest
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.online.contract import Online
from trimtab.stores.predictions.contract import Predictions
from trimtab.stores.spend.contract import SpendStore
from trimtab.stores.tables.contract import Tables

EMBEDDED_METADATA = {"file": "trimtab.stores.metadata.embedded:SqliteMetadata"}
METADATA = {
    "sqlite": "trimtab.stores.metadata.sql:SqlMetadata",
    "postgresql": "trimtab.stores.metadata.sql:SqlMetadata",
}
TABLES = {"file": "trimtab.stores.tables.delta:DeltaTables"}
ONLINE = {"file": "trimtab.stores.online.lmdb:LmdbOnline"}
ARTIFACTS = {"file": "trimtab.stores.artifacts.folder:FolderArtifacts"}
PREDICTIONS = {
    "file": "trimtab.stores.predictions.embedded.segment_log:SegmentLog",
    "kafka": "trimtab.stores.predictions.kafka.topic_log:KafkaLog",
    "none": "trimtab.stores.predictions.null:NullLog",
}
SPEND = {
    "file": "trimtab.stores.spend.accounts:SqliteSpend",
    "postgresql": "trimtab.stores.spend.accounts:PostgresSpend",
}

SPEND_FILE = "spend.db"
SPOOLS = "spool"
"""Folder of the spools of pushed rows, in the root of the embedded stores."""

_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/)(?!:memory:)(.+)")


def open_metadata(url: str | None, root: Path) -> Metadata:
    """Open the metadata store at a SQLAlchemy URL, or at ROOT/metadata.db.

    A part of the URL may be ${NAME}, an environment variable. Raises StageError when it is not set.
    """
    if url is None:
        return cast(
            Metadata, _backend("metadata", "file", EMBEDDED_METADATA)(root / "metadata.db", head=root / "ledger.head")
        )
    revealed = reveal_in_url(url, "the URL of the metadata store")
    scheme = revealed.split(":", 1)[0].split("+", 1)[0] if ":" in revealed else revealed
    opened = _backend("metadata", scheme, METADATA)
    return cast(Metadata, opened(_absolute_sqlite(revealed, root.parent), head=root / _head_name(url)))


def open_spend(url: str | None, root: Path) -> SpendStore:
    """Open the store of spend in the PostgreSQL of the metadata store at `url`; with any other, in ROOT/spend.db.

    Raises StageError when the URL names an environment variable that is not set.
    """
    if url is not None and re.match(r"postgresql\b", url):
        revealed = reveal_in_url(url, "the URL of the metadata store")
        return cast(SpendStore, _backend("spend", "postgresql", SPEND)(revealed))
    return cast(SpendStore, _backend("spend", "file", SPEND)(root / SPEND_FILE))


def _head_name(url: str) -> str:
    """Return the name of the file with the ledger's head of a database; each URL has its own."""
    return f"ledger-{hashlib.sha256(url.encode()).hexdigest()[:8]}.head"


def open_tables(url: str | None, root: Path) -> Tables:
    """Open the table store in a folder, or in ROOT/tables."""
    return cast(Tables, _open_folder("tables", url, root, TABLES))


def open_online(url: str | None, root: Path) -> Online:
    """Open the online store in a folder, or in ROOT/online."""
    return cast(Online, _open_folder("online", url, root, ONLINE))


def open_artifacts(url: str | None, root: Path) -> Artifacts:
    """Open the artifact store in a folder, or in ROOT/artifacts."""
    return cast(Artifacts, _open_folder("artifacts", url, root, ARTIFACTS))


def open_predictions(url: str | None, root: Path, **options: Any) -> Predictions:
    """Open the prediction log in a folder, at a URL, or in ROOT/predictions.

    options: of all backends: writer (the name under which this process writes), segment_rows, segment_age_s, clock.
    """
    return cast(Predictions, _open_folder("predictions", url, root, PREDICTIONS, **options))


def _open_folder(kind: str, url: str | None, root: Path, backends: dict[str, str], **options: Any) -> Any:
    if url is None:
        return _backend(kind, "file", backends)(root / kind, **options)
    parts = urlsplit(url)
    if not parts.scheme:
        return _backend(kind, "file", backends)(root.parent / Path(url).expanduser(), **options)
    backend = _backend(kind, parts.scheme, backends)
    if parts.scheme != "file":
        return backend(url, **options)
    if parts.netloc not in ("", "localhost"):
        raise StoreError(f"{kind}: '{url}' names the host '{parts.netloc}'; expected file:///absolute/path")
    return backend(Path(unquote(parts.path)), **options)


def absolute(url: str, project: Path) -> str:
    """Return a URL with the relative path of a folder or of SQLite made absolute from the project folder."""
    if not urlsplit(url).scheme:
        return str(project.resolve() / Path(url).expanduser())
    return _absolute_sqlite(url, project)


def _absolute_sqlite(url: str, project: Path) -> str:
    relative = _SQLITE.fullmatch(url)
    return f"{relative[1]}{project.resolve() / relative[2]}" if relative else url


def _backend(kind: str, scheme: str, backends: dict[str, str]) -> Any:
    if scheme not in backends:
        raise StoreError(f"{kind}: no backend for '{scheme}'.{nearest(scheme, backends)}")
    module, name = backends[scheme].split(":")
    return getattr(import_module(module), name)


def spool_folder(root: Path, source: str) -> Path:
    """Return the folder of the spool of a source (spool.py)."""
    return root / SPOOLS / source
