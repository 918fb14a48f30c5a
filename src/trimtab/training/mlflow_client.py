"""Opens MLflow, without its chatter and without the network. Called by tracking.py and registry.py.

Importing MLflow takes seconds, so it is imported on first use and not with this package.
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
    "MLFLOW_DISABLE_TELEMETRY": "true",  # else it asks a host on the internet what to report
    "MLFLOW_CONFIGURE_LOGGING": "false",  # else it puts its own handler on standard error
    "GIT_PYTHON_REFRESH": "quiet",  # else it complains where there is no git
}


@cache
def load_mlflow() -> ModuleType:
    """Import MLflow and the parts of it that are used here."""
    settings.offer(**QUIET)
    # it takes seconds, and most commands do without it
    import mlflow
    import mlflow.entities
    import mlflow.tracking

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def open_client(uri: str, cache_folder: Path) -> MlflowClient:
    """Return a client of a tracking database or server; a new SQLite database is made ready in no time.

    uri: SQLAlchemy URL or http(s) address. cache_folder: where the empty database is kept.
    """
    mlflow = load_mlflow()
    if uri.startswith(SQLITE):
        prepare(Path(uri.removeprefix(SQLITE)), cache_folder)
    client: MlflowClient = mlflow.tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)
    return client
