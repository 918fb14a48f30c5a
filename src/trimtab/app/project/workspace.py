"""A project with its stores open: what every stage and command is handed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.app.project.project import POLICY, Project, open_project
from trimtab.clock import Clock, SystemClock
from trimtab.definitions.collection import Served
from trimtab.definitions.models import Model
from trimtab.definitions.secrets import reveal_in_url
from trimtab.errors import PolicyError, nearest
from trimtab.features.corrections import current
from trimtab.policy.environments import LOCAL, ROOT, Environment, folder_of
from trimtab.policy.reader import line_of
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.stores.catalog import absolute, open_artifacts, open_metadata, open_online, open_predictions, open_tables
from trimtab.stores.metadata.contract import Metadata
from trimtab.stores.online.contract import Online
from trimtab.stores.predictions.contract import Predictions
from trimtab.stores.tables.contract import Tables

if TYPE_CHECKING:
    import polars as pl  # the gateway opens a workspace, and does without it

IGNORED = ".gitignore"
STORES = ("metadata", "tables", "online", "artifacts", "predictions")
"""The keys of an environment that name a store."""


@dataclass
class Workspace:
    """A project, the environment it runs in, and its stores, each opened on first use."""

    project: Project
    environment: Environment
    clock: Clock = field(default_factory=SystemClock)

    @property
    def root(self) -> Path:
        """Folder of the embedded stores."""
        return self.project.folder / Path(self.environment.folder or ROOT).expanduser()

    @property
    def name(self) -> str:
        """Name of the environment."""
        named = self.project.policy.environments.items()
        return next((name for name, each in named if folder_of(name, each) == self.environment.folder), LOCAL)

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
        tracking = self.environment.tracking
        return reveal_in_url(tracking, "the tracking URI") if tracking else f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def workflows_url(self) -> str:
        """Where DBOS keeps the state of workflows."""
        url = self.environment.metadata
        return reveal_in_url(url, "the URL of the metadata store") if url else f"sqlite:///{self.root / 'workflows.db'}"

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

    def served(self, name: str | None = None) -> Served:
        """Return a model or a prompt of the project, or the only one of all."""
        return self.project.definitions.one_served(name)

    @property
    def label_metrics(self) -> dict[str, str]:
        """Prompt -> the metric whose labels count, as `label_rule.of_metrics` takes them."""
        return dict.fromkeys(self.project.definitions.prompts, self.project.policy.llm.promote.metric)

    def shows(self, model: str) -> bool:
        """Return True if a reader of this workspace may see a model."""
        return True

    def now(self) -> datetime:
        """Return the wall-clock time."""
        return self.clock.now()


def open_workspace(folder: Path, environment: str = LOCAL, clock: Clock | None = None) -> Workspace:
    """Open a project in one of its environments. Raises PolicyError, DefinitionError or StoreError."""
    return in_environment(open_project(folder), environment, clock)


def in_environment(project: Project, name: str, clock: Clock | None = None) -> Workspace:
    """Open an environment of a project. Raises PolicyError or StoreError."""
    environments = {LOCAL: Environment(), **project.policy.environments}
    if name not in environments:
        raise PolicyError(f"{project.folder / POLICY}: no environment '{name}'.{nearest(name, environments)}")
    named = environments[name]
    if folder_of(name, named) == ROOT:
        found = named.model_copy(update={"folder": ROOT})
    else:
        places = {kind: absolute(url, project.folder) for kind in STORES if (url := getattr(named, kind)) is not None}
        found = named.model_copy(update={**places, "folder": folder_of(name, named)})
    workspace = Workspace(replace(project, policy=project.policy.in_environment(named)), found, clock or SystemClock())
    if not workspace.root.is_dir():
        if named.folder is None and name != LOCAL:
            _begin(workspace, named)
        for folder in (each for each in (project.root, workspace.root) if not each.is_dir()):
            folder.mkdir(parents=True)
            (folder / IGNORED).write_text("*\n", encoding="utf-8")  # or every run has a changed tree
    hide_from_git(project.root)  # a pipeline has put files into the folder before
    return workspace


def hide_from_git(root: Path) -> None:
    """Write the .gitignore of the folder of stores, if the folder is there without one."""
    if root.is_dir() and not (root / IGNORED).exists():
        with suppress(OSError):
            (root / IGNORED).write_text("*\n", encoding="utf-8")


def _begin(workspace: Workspace, named: Environment) -> None:
    """Make sure that an environment may begin with empty stores.

    What an environment leaves out was in `.trimtab` once, together with the stores of `local`.
    Raises PolicyError when it seems to have used them.
    """
    name, own = workspace.name, workspace.environment.folder
    shared = [kind for kind in STORES if getattr(named, kind) is None and _is_used(workspace.project.root, kind)]
    given = [kind for kind in STORES if getattr(named, kind) is not None]
    if not shared or not given:
        return  # one that leaves out all was the same as local, which it may not be any more
    apart = named.is_guarded  # by keys that earlier releases did not know
    if ("metadata" in shared and not apart) or ("metadata" in given and any(workspace.metadata.positions().values())):
        keep = f"copy them into {own}" if apart else f"add folder: {ROOT}"
        where, key = workspace.project.folder / POLICY, f"environments.{name}"
        raise PolicyError(
            f"{where}:{line_of(where, key)}: {key} leaves out {', '.join(shared)}, which earlier releases had in "
            f"{ROOT}, as for local; now they lie in a folder of the environment. To keep what it has used, "
            f"{keep}. To begin with empty ones, add folder: {own}"
        )


def _is_used(root: Path, kind: str) -> bool:
    return (root / "metadata.db").exists() if kind == "metadata" else any((root / kind).glob("*"))
