"""A project with its stores open: what every stage and command is handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.app.project.project import Project, open_project
from trimtab.clock import Clock, SystemClock
from trimtab.definitions.models import Model
from trimtab.errors import PolicyError, nearest
from trimtab.features.corrections import current
from trimtab.policy.model import Environment
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.stores.catalog import open_artifacts, open_metadata, open_online, open_predictions, open_tables
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.online.contract import Online
from trimtab.stores.predictions.contract import Predictions
from trimtab.stores.tables.contract import Tables

if TYPE_CHECKING:
    import polars as pl  # the gateway opens a workspace, and does without it


@dataclass
class Workspace:
    """A project, the environment it runs in, and its stores, each opened on first use."""

    project: Project
    environment: Environment
    clock: Clock = field(default_factory=SystemClock)

    @property
    def root(self) -> Path:
        """Folder of the embedded stores."""
        return self.project.root

    @property
    def run_folder(self) -> Path:
        """Folder where running processes announce themselves."""
        folder = self.root / "run"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @cached_property
    def metadata(self) -> Metadata:
        """The metadata store."""
        return open_metadata(self.environment.metadata, self.root)

    @cached_property
    def tables(self) -> Tables:
        """Versioned tables."""
        return open_tables(self.environment.tables, self.root)

    @cached_property
    def online(self) -> Online:
        """Feature values for serving."""
        return open_online(self.environment.online, self.root)

    @cached_property
    def artifacts(self) -> Artifacts:
        """Datasets and bundles."""
        return open_artifacts(self.environment.artifacts, self.root)

    @cached_property
    def predictions(self) -> Predictions:
        """The prediction log."""
        log = self.project.policy.serving.log
        return open_predictions(self.environment.predictions, self.root, segment_rows=log.segment_rows)

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps runs and the registry."""
        return self.environment.tracking or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def workflows_url(self) -> str:
        """Where DBOS keeps the state of workflows."""
        return self.environment.metadata or f"sqlite:///{self.root / 'workflows.db'}"

    def scan(
        self, version_of: dict[str, int] | None = None, *, as_of: datetime | None = None
    ) -> Callable[[str], pl.LazyFrame]:
        """Return a function that reads a table by name, at the versions given or the newest.

        Of a source with a key it reads the rows that count at `as_of`, or in the end.
        """
        versions, sources = version_of or {}, self.project.definitions.sources

        def read(name: str) -> pl.LazyFrame:
            rows = self.tables.scan(name, version=versions.get(name))
            return current(rows, sources[name], as_of=as_of) if name in sources else rows

        return read

    def model(self, name: str | None = None) -> Model:
        """Return a model of the project, or its only one."""
        return self.project.definitions.model(name)

    def shows(self, model: str) -> bool:
        """Return True if a reader of this workspace may see a model."""
        return True

    def now(self) -> datetime:
        """Return the wall-clock time."""
        return self.clock.now()


def open_workspace(folder: Path, environment: str = "local", clock: Clock | None = None) -> Workspace:
    """Open a project in one of its environments. Raises PolicyError, DefinitionError or StoreError."""
    project = open_project(folder)
    environments = {"local": Environment(), **project.policy.environments}
    if environment not in environments:
        raise PolicyError(
            f"{project.folder / 'trimtab.yaml'}: no environment '{environment}'.{nearest(environment, environments)}"
        )
    if not project.root.is_dir():
        project.root.mkdir(parents=True, exist_ok=True)
        (project.root / ".gitignore").write_text("*\n", encoding="utf-8")  # or every run has a changed tree
    return Workspace(project, environments[environment], clock or SystemClock())
