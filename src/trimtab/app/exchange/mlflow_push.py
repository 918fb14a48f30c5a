"""Pushes runs, bundles and aliases of a project to the MLflow server of another system.

Everything that is pushed carries what it is here as a tag, so a second push finds it and adds only what is new, and a
push that was cut off is completed by the next one. A bundle is an MLflow model, so MLflow loads a pushed one as
`models:/PROJECT.MODEL@champion`. Nothing there is deleted but aliases of roles that no version has any more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from trimtab import settings
from trimtab.app.project.mlflow_access import open_tracking
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.manifest import verify
from trimtab.definitions.secrets import reveal_in_url
from trimtab.errors import NotFound, StoreError, UsageError
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import latest
from trimtab.training.mlflow_client import SQLITE, load_mlflow
from trimtab.training.registry import Registry
from trimtab.training.tracking import KEY, PARENT, RECORD, Tracking, params_of

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

SOURCE, DONE = "trimtab.pushed_from", "trimtab.pushed"
"""Tags of a pushed run: the run here; that all of it is there."""
VERSION = "trimtab.version"
"""Tag of a pushed version: its number here."""
FOLDER = "bundle"
"""Of the artifacts of a run: the bundle."""
OWN_TAGS = (KEY, PARENT, "mlflow.log-model.history")
"""Tags that mean something in their own tracking store alone, besides those of the record."""
ALIASES: tuple[Role, ...] = ("champion", "challenger", "shadow")
MOST_METRICS, MOST_OTHERS = 900, 90
"""Entries of one request; MLflow takes 1,000 metrics, and 100 parameters or tags."""
SOON = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a server that is away is told after seconds, not minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

State = Literal["new", "completed", "known", "removed"]


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """One run, version or alias. here: its id in this project; there: on the server."""

    kind: Literal["run", "version", "alias"]
    here: str
    there: str
    state: State


def push(workspace: Workspace, uri: str, *, models: Sequence[str], everything: bool = False) -> Iterator[Pushed]:
    """Push some models, and yield what was pushed or is there already.

    Args:
        workspace: the project.
        uri: of the other tracking store: http(s) address or SQLAlchemy URL; secrets by name, as `${NAME}`.
        models: names of the models.
        everything: all runs and bundles; else those that serve.

    Raises:
        UsageError: the address is that of the project's own tracking store.
        StoreError: the server cannot be reached, or refuses something.
        DataError: a bundle is not as its manifest says.
    """
    address = reveal_in_url(uri, "--to")
    if address.rstrip("/") == workspace.tracking_uri.rstrip("/"):
        raise UsageError(f"--to {without_password(uri)}: this is the tracking store of the project itself")
    settings.offer(**SOON)
    with server_errors(address):
        there = open_other(workspace, address)
        pusher = _Pusher(workspace, there)
        for model in models:
            yield from pusher.push(model, everything=everything)


def open_other(workspace: Workspace, address: str) -> Tracking:
    """Return the experiments of another tracking store. A database keeps artifacts in a folder beside it."""
    beside = Path(address.removeprefix(SQLITE)).parent / "mlartifacts" if address.startswith(SQLITE) else workspace.root
    return Tracking(
        address,
        project=workspace.project.policy.project,
        artifacts=beside,
        cache=settings.read().cache.expanduser(),
        clock=workspace.clock,
    )


def without_password(uri: str) -> str:
    """Return a URI without the password in it."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


@contextmanager
def server_errors(address: str) -> Iterator[None]:
    """Turn what MLflow or the connection raises into StoreError, which names the address without its password."""
    mlflow = load_mlflow()
    try:
        yield
    except (mlflow.exceptions.MlflowException, OSError) as error:  # requests' errors are of the second kind
        shown = without_password(address)
        text = str(error).replace(address, shown).replace(urlsplit(address).netloc or address, urlsplit(shown).netloc)
        raise StoreError(f"MLflow at {shown}: {text}") from None


class _Pusher:
    def __init__(self, workspace: Workspace, there: Tracking) -> None:
        self._workspace, self._there = workspace, there
        self._here: MlflowClient = open_tracking(workspace).client
        self._registry = Registry(there.client, project=workspace.project.policy.project)

    def push(self, model: str, *, everything: bool) -> Iterator[Pushed]:
        metadata = self._workspace.metadata
        revision = latest(metadata, Revision, model=model)
        serving = {assignment.version for assignment in (revision.assignments if revision else ())}
        bundles = metadata.find(Bundle, model=model, oldest_first=True)
        bundles = [bundle for bundle in bundles if everything or bundle.version in serving]
        wanted = [run for bundle in bundles for run in (bundle.run, bundle.refit) if run is not None]
        if everything:
            wanted += [run.id for run in metadata.find(Run, model=model, oldest_first=True)]
        runs: dict[str, str] = {}
        for id_ in dict.fromkeys(wanted):
            try:
                run = metadata.get(Run, id_)
            except NotFound:
                continue  # of another environment, from which the bundle was promoted
            runs[id_], state = self._run(run)
            yield Pushed(kind="run", here=id_, there=runs[id_], state=state)
        numbers: dict[int, int] = {}
        for bundle in bundles:
            number, state = self._version(bundle, runs.get(bundle.refit or bundle.run))
            numbers[bundle.version] = number
            yield Pushed(kind="version", here=bundle.id, there=f"{self._registry.name(model)}/{number}", state=state)
        yield from self._aliases(model, revision, numbers)

    def _run(self, run: Run) -> tuple[str, State]:
        """Push a run; return its id there. Everything in it may be written twice, so a run that was cut off goes on."""
        here = self._local(run.id)
        found = self._found(run.model, run.id)
        if found is not None and found.data.tags.get(DONE):
            return str(found.info.run_id), "known"
        start = int(run.created_at.timestamp() * 1000) if here is None else here.info.start_time
        id_ = self._begin(run.model, run.id, run.id[:8] if here is None else here.info.run_name, start, found)
        there = self._there.client
        self._write(id_, run, here)
        if here is not None:
            if here.inputs is not None and here.inputs.dataset_inputs:
                there.log_inputs(id_, datasets=here.inputs.dataset_inputs)
            with tempfile.TemporaryDirectory(prefix="trimtab-") as place:
                self._here.download_artifacts(run.id, "", place)
                there.log_artifacts(id_, place)
        status, end = ("FINISHED", start) if here is None else (here.info.status, here.info.end_time)
        there.set_terminated(id_, status=status, end_time=end)
        there.set_tag(id_, DONE, "yes")
        return id_, "new" if found is None else "completed"

    def _local(self, run: str) -> MlflowRun | None:
        """Return a run of the project's own tracking store; None when that has lost it."""
        try:
            return self._here.get_run(run)
        except load_mlflow().exceptions.MlflowException:
            return None

    def _found(self, model: str, source: str) -> MlflowRun | None:
        experiment = self._there.experiment(model)
        found = self._there.client.search_runs([experiment], f"tags.`{SOURCE}` = '{source}'", max_results=1)
        return found[0] if found else None

    def _begin(self, model: str, source: str, name: str, start: int, found: MlflowRun | None) -> str:
        if found is not None:
            return str(found.info.run_id)
        experiment = self._there.experiment(model)
        made = self._there.client.create_run(experiment, start_time=start, run_name=name, tags={SOURCE: source})
        return str(made.info.run_id)

    def _write(self, id_: str, run: Run, here: MlflowRun | None) -> None:
        """Write metrics with all their steps, parameters and tags."""
        entities, client = load_mlflow().entities, self._there.client
        at = int(run.created_at.timestamp() * 1000)
        if here is None:
            metrics = [entities.Metric(name, value, at, 0) for name, value in run.metrics.items()]
            params, tags = params_of(run), {"trimtab.model": run.model, "trimtab.dataset": run.dataset}
        else:
            metrics = list(self._history(run.id, here.data.metrics))
            params, tags = here.data.params, here.data.tags
        left = {name: text for name, text in tags.items() if name not in OWN_TAGS and not name.startswith(RECORD)}
        for start in range(0, len(metrics), MOST_METRICS):
            client.log_batch(id_, metrics=metrics[start : start + MOST_METRICS])
        named = [entities.Param(name, text) for name, text in params.items()]
        tagged = [entities.RunTag(name, text) for name, text in left.items()]
        for start in range(0, max(len(named), len(tagged)), MOST_OTHERS):
            part = slice(start, start + MOST_OTHERS)
            client.log_batch(id_, params=named[part], tags=tagged[part])

    def _history(self, run: str, names: Iterable[str]) -> Iterator[Metric]:
        """Yield all values of some metrics, each once, and without the LoggedModel that they have here alone."""
        metric = load_mlflow().entities.Metric
        for name in names:
            seen = {(each.value, each.timestamp, each.step) for each in self._here.get_metric_history(run, name)}
            for value, at, step in sorted(seen, key=lambda one: one[1:]):
                yield metric(name, value, at, step)

    def _version(self, bundle: Bundle, run: str | None) -> tuple[int, State]:
        """Push a bundle as a version of the registered model; return its number there."""
        if (known := self._registry.version_of(bundle.model, bundle.digest)) is not None:
            return known, "known"
        there, folder = self._there.client, self._workspace.artifacts.open(bundle.path)
        verify(folder, bundle.digest)
        if run is None:  # its training is in another environment
            found = self._found(bundle.model, bundle.id)
            at = int(bundle.created_at.timestamp() * 1000)
            run = self._begin(bundle.model, bundle.id, bundle.id.replace("/", " "), at, found)
            there.set_terminated(run, end_time=at)
        there.log_artifacts(run, str(folder), FOLDER)
        uri = f"{there.get_run(run).info.artifact_uri}/{FOLDER}"
        tags = {VERSION: str(bundle.version), "trimtab.bundle": bundle.id, "trimtab.threshold": repr(bundle.threshold)}
        return self._registry.publish(bundle, run, uri, tags), "new"

    def _aliases(self, model: str, revision: Revision | None, numbers: dict[int, int]) -> Iterator[Pushed]:
        """Set the aliases as the newest revision says; a kept former champion is shadow only without another one."""
        by_role: dict[str, int] = {}
        for each in sorted(revision.assignments if revision else (), key=lambda each: (not each.kept, each.version)):
            by_role[each.role] = each.version
        for alias in ALIASES:
            before, name = self._registry.alias(model, alias), f"{self._registry.name(model)}@{alias}"
            version = by_role.get(alias)
            if version is None:
                if before is not None:
                    self._registry.remove_alias(model, alias)
                    yield Pushed(kind="alias", here=alias, there=name, state="removed")
                continue
            number = numbers[version]
            if before != number:
                self._registry.set_alias(model, alias, number)
            yield Pushed(
                kind="alias",
                here=f"{model}/{version}",
                there=f"{name} = {number}",
                state="known" if before == number else "new",
            )
