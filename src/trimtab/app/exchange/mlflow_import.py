"""Imports registered models of an MLflow server: versions with an alias become bundles, and aliases revisions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab import settings
from trimtab.app.exchange.foreign_models import ForeignModel, add_bundle, read_foreign
from trimtab.app.exchange.found_models import Imported
from trimtab.app.exchange.mlflow_push import SOON, server_errors, without_password
from trimtab.app.exchange.project_draft import draft_project, model_name
from trimtab.app.project.project import POLICY
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import pipeline
from trimtab.definitions.secrets import reveal_in_url
from trimtab.errors import DataError, UsageError, nearest
from trimtab.records.record import Role
from trimtab.training.mlflow_client import load_mlflow, open_client
from trimtab.training.tracking import KEY, PARENT, RECORD

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

ROLES: tuple[Role, ...] = ("champion", "challenger", "shadow")
PREFIX = "mlflow."
"""Of tags that MLflow writes; of them the ones in KEPT are kept."""
KEPT = ("mlflow.source.git.commit",)


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model, and its versions by the role that they are to have."""

    registered: str
    model: str
    versions: dict[Role, Any]
    left_out: tuple[str, ...]


def import_mlflow(
    folder: Path, environment: str, uri: str, *, names: Sequence[str], trust: Sequence[str] = (), by: str
) -> Iterator[Imported]:
    """Import registered models, and yield what became of each version and alias.

    Args:
        folder: of the project; without a trimtab.yaml it is drafted.
        environment: of the project.
        uri: of the tracking server or database; secrets by name, as `${NAME}`.
        names: registered models; empty for all.
        trust: of a drafted project: `serving.trust`.
        by: who asks.

    Raises:
        UsageError: a name that the server does not have, or that no definition has; no model at all.
        DataError: a model that cannot be served, or does not fit its definition.
        StoreError: the server cannot be reached.
    """
    address = reveal_in_url(uri, "URI")
    settings.offer(**SOON)
    shown = without_password(address)
    with server_errors(address), tempfile.TemporaryDirectory(prefix="trimtab-") as place:
        client = open_client(address, settings.read().cache.expanduser())
        chosen = _chosen(client, names, shown)
        files: dict[str, Path] = {}
        for each in chosen:
            for version in each.versions.values():
                key = f"{each.registered}/{version.version}"
                if key not in files:
                    files[key] = _download(client, address, version, Path(place) / str(len(files)))
        if not (folder / POLICY).exists():
            firsts = {each.model: files[_key(each, role)] for each in chosen for role in list(each.versions)[:1]}
            specs = {name: read_foreign(path, list(trust)) for name, path in firsts.items()}
            policy: dict[str, Any] = {"serving": {"trust": list(trust)}} if trust else {}
            project = folder.resolve().name
            draft_project(folder, project=project, source=f"MLflow at {shown}", specs=specs, policy=policy)
            yield Imported(source=shown, outcome="drafted", detail=f"project {project} in {folder}")
        workspace = open_workspace(folder, environment)
        for each in chosen:
            yield from _import(workspace, client, each, files, shown, by)


def _key(chosen: Chosen, role: Role) -> str:
    return f"{chosen.registered}/{chosen.versions[role].version}"


def _import(
    workspace: Workspace, client: MlflowClient, chosen: Chosen, files: dict[str, Path], shown: str, by: str
) -> Iterator[Imported]:
    model = _defined(workspace, chosen)
    for role, version in chosen.versions.items():
        id_ = _key(chosen, role)
        params, metrics, tags = _of_run(client, version)
        foreign = ForeignModel(
            model=model,
            folder=files[id_],
            system=f"mlflow:{shown}",
            id=id_,
            version=int(version.version),
            params=params,
            metrics=metrics,
            tags={**tags, **{f"version.{name}": text for name, text in version.tags.items()}},
        )
        bundle, new = add_bundle(workspace, foreign)
        yield Imported(source=id_, outcome="bundle" if new else "known", detail=bundle.id)
        now = open_rollouts(workspace, model).current()
        if now is not None and now.bundle_in(role) == bundle.id:
            yield Imported(source=f"{chosen.registered}@{role}", outcome="known", detail=f"{bundle.id} is {role}")
            continue
        cause = f"import/{bundle.id}/{role}/{0 if now is None else now.number}"
        reason = f"imported from {shown}, {id_}"
        revision = pipeline.deploy(workspace, bundle, cause=cause, reason=reason, by=by, role=_role(role, now is None))
        detail = f"{bundle.id} is {role} by revision {revision.number}"
        yield Imported(source=f"{chosen.registered}@{role}", outcome="revision", detail=detail)
    for text in chosen.left_out:
        yield Imported(source=chosen.registered, outcome="left out", detail=text)


def _role(role: Role, first: bool) -> Role:
    return "champion" if first else role


def _defined(workspace: Workspace, chosen: Chosen) -> str:
    """Return the definition of a registered model: of its name, with or without the project's before it."""
    models = workspace.project.definitions.models
    prefix = f"{workspace.project.policy.project}."
    tried = (chosen.registered, chosen.registered.removeprefix(prefix), chosen.model)
    found = next((name for name in tried if name in models), None)
    if found is None:
        raise UsageError(
            f"{workspace.project.definitions.path} has no model for the registered model '{chosen.registered}'."
            f"{nearest(chosen.model, models)} --model names those to import"
        )
    return found


def _chosen(client: MlflowClient, names: Sequence[str], shown: str) -> list[Chosen]:
    registered = {each.name: each for each in _pages(client)}
    if not registered:
        raise UsageError(f"MLflow at {shown} has no registered model")
    for name in names:
        if name not in registered:
            raise UsageError(f"MLflow at {shown} has no registered model '{name}'.{nearest(name, registered)}")
    found = [_aliased(client, name, registered[name]) for name in names or registered]
    if not any(each.versions for each in found):
        raise UsageError(f"MLflow at {shown}: no registered model has a version")
    taken: dict[str, str] = {}
    for each in found:
        if (other := taken.setdefault(each.model, each.registered)) != each.registered:
            raise UsageError(
                f"'{other}' and '{each.registered}' would both be the model '{each.model}'; name one: --model"
            )
    return found


def _aliased(client: MlflowClient, name: str, registered: Any) -> Chosen:
    """Return the versions of a registered model by role. Without the alias champion the newest version is it."""
    aliases: dict[str, str] = dict(registered.aliases)
    versions: dict[Role, ModelVersion] = {
        role: client.get_model_version(name, str(aliases[role])) for role in ROLES if role in aliases
    }
    left = [f"alias {alias}: it is no role; roles are {', '.join(ROLES)}" for alias in aliases if alias not in ROLES]
    if "challenger" in versions and "shadow" in versions:
        left.append(f"alias shadow (version {versions.pop('shadow').version}): a model has one candidate at a time")
    if "champion" not in versions:
        known = client.search_model_versions(f"name = '{name}'")
        if not known:
            return Chosen(registered=name, model=model_name(name), versions={}, left_out=("it has no version",))
        newest = max(known, key=lambda version: int(version.version))
        left.append(f"no alias champion: the newest version, {newest.version}, is taken for it")
        versions = {"champion": newest, **versions}
    return Chosen(registered=name, model=model_name(name.rpartition(".")[2]), versions=versions, left_out=tuple(left))


def _pages(client: MlflowClient) -> Iterator[Any]:
    token: str | None = None
    while token is None or token:
        page = client.search_registered_models(page_token=token)
        yield from page
        token = page.token or ""


def _download(client: MlflowClient, address: str, version: ModelVersion, place: Path) -> Path:
    """Download the files of a version. Raises DataError when they are gone."""
    load_mlflow()
    # imported here, because it takes seconds to import, as MLflow does
    from mlflow.artifacts import download_artifacts

    place.mkdir(parents=True)
    uri = client.get_model_version_download_uri(version.name, str(version.version))
    try:
        found = Path(download_artifacts(artifact_uri=uri, dst_path=str(place), tracking_uri=address))
    except Exception as error:  # a border: each artifact store has errors of its own
        raise DataError(f"{version.name}/{version.version}: its files cannot be read from {uri}: {error}") from error
    return found


def _of_run(client: MlflowClient, version: ModelVersion) -> tuple[dict[str, str], dict[str, float], dict[str, str]]:
    """Return parameters, metrics and tags of the run of a version; none where it has none, or that is gone."""
    if not version.run_id:
        return {}, {}, {}
    try:
        data = client.get_run(version.run_id).data
    except load_mlflow().exceptions.MlflowException:
        return {}, {}, {}
    tags = {
        name: text
        for name, text in data.tags.items()
        if name in KEPT or not (name.startswith((PREFIX, RECORD)) or name in (KEY, PARENT))
    }
    return dict(data.params), dict(data.metrics), tags
