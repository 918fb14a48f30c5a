"""Imports MLflow without its log messages and telemetry, and opens clients.

Importing MLflow takes seconds, so it is imported on first use.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from trimtab import settings
from trimtab.training.mlflow_template import prepare

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SQLITE = "sqlite:///"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # else MLflow connects to a host on the internet
    "MLFLOW_CONFIGURE_LOGGING": "false",  # else MLflow adds a log handler on standard error
    "GIT_PYTHON_REFRESH": "quiet",  # else GitPython prints an error if git is not installed
}


@cache
def load_mlflow() -> ModuleType:
    """Import MLflow and the modules of it that are used here."""
    settings.offer(**QUIET)
    # imported here, because it takes seconds and most commands do not need it
    import mlflow
    import mlflow.entities
    import mlflow.tracking

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def open_client(uri: str, cache_folder: Path) -> MlflowClient:
    """Return a client of a tracking database or server. A new SQLite database is copied from a template.

    uri: SQLAlchemy URL or http(s) address. cache_folder: folder of the template.
    """
    mlflow = load_mlflow()
    if uri.startswith(SQLITE):
        prepare(Path(uri.removeprefix(SQLITE)), cache_folder)
    client: MlflowClient = mlflow.tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)
    return client
