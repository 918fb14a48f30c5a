"""Model versions and their aliases in MLflow's registry.

A version is identified by the digest of its bundle, so registering a bundle twice gives the same number. The records of
bundles contain these numbers and never change: `restore` registers bundles again under their numbers in a registry that
lacks them, as after a change of the project's name or the loss of the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from trimtab.errors import Conflict, NotFound
from trimtab.records.training import Bundle, Run
from trimtab.training.mlflow_client import load_mlflow

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

DIGEST = "trimtab.digest"
DATASET = "trimtab.dataset"
VERSIONS = "mlflow.modelVersions"
"""Tag by which MLflow's pages lead from a LoggedModel to its versions in the registry."""
UNKNOWN = "file:///dev/null"
"""Source of a placeholder: a version that uses up a number which no bundle has, and is deleted then."""
PAGE = 1000
"""Number of versions read with one request."""


class Registry:
    """The registered models of one project, named `PROJECT.MODEL`; aliases are the roles in serving.

    Args:
        client: of the registry.
        project: name of the project.
    """

    def __init__(self, client: MlflowClient, *, project: str) -> None:
        self._client = client
        self._project = project

    def name(self, model: str) -> str:
        """Return the name of a registered model, without '/' and ':', which MLflow does not allow."""
        return f"{self._project}.{model}".replace("/", "-").replace(":", "-")

    def register(
        self,
        model: str,
        run: Run,
        folder_uri: str,
        digest: str,
        key: str,
        *,
        tags: Mapping[str, str] | None = None,
    ) -> int:
        """Return the version of a bundle; register it if it is new.

        Args:
            model: name of the model.
            run: record of its training.
            folder_uri: URI of the bundle's folder.
            digest: digest of the bundle.
            key: key of the training, stored as a tag.
            tags: further tags, such as the gates' verdict.
        """
        if (known := self.version_of(model, digest)) is not None:
            return known
        own = {DIGEST: digest, "trimtab.key": key, DATASET: run.dataset, "trimtab.model_hash": run.model_hash}
        return self._make(model, folder_uri, run.id, {**(tags or {}), **own})

    def version_of(self, model: str, digest: str) -> int | None:
        """Return the version with a digest, or None."""
        self._ensure(model)
        return min((int(each.version) for each in self._find(model, DIGEST, digest)), default=None)

    def publish(self, bundle: Bundle, run: str, folder_uri: str, tags: Mapping[str, str]) -> int:
        """Make the next version of a bundle, of a run of this registry's tracking store; return its number."""
        return self._make(bundle.model, folder_uri, run, {**tags, DIGEST: bundle.digest, DATASET: bundle.dataset})

    def take_over(self, bundle: Bundle, folder_uri: str, *, least: int) -> int:
        """Return the version of a bundle of another environment; register it if it is new.

        It keeps its number when that is above all numbers here, as numbers of a registry only grow; else it gets the
        next one.

        Args:
            bundle: record of the bundle there.
            folder_uri: URI of the bundle's folder here.
            least: the smallest number that no bundle has here.
        """
        model, name = bundle.model, self.name(bundle.model)
        if (there := self.version_of(model, bundle.digest)) is not None:
            return there
        known = self._search(f"name = '{name}'")
        for left in (each for each in known if each.source == UNKNOWN):  # of a process that was killed
            self._client.delete_model_version(name, str(left.version))
        number = max((int(each.version) for each in known), default=0)
        while number + 1 < max(least, bundle.version):
            number = self._again(model, None, None)
            self._client.delete_model_version(name, str(number))
        tags = {DIGEST: bundle.digest, DATASET: bundle.dataset}
        return self._make(model, folder_uri, bundle.refit or bundle.run, tags)

    def restore(self, model: str, bundles: Iterable[Bundle], locate: Callable[[Bundle], str | None]) -> list[int]:
        """Register the bundles that the registry lacks under the versions of their records.

        Args:
            model: name of the model.
            bundles: all bundles of the model.
            locate: returns the URI of a bundle's folder, None if the folder is lost.

        Returns:
            The versions that were registered. Numbers of lost bundles, and numbers without a bundle, are skipped.

        Raises:
            Conflict: a version of the registry is another bundle, as when two projects have the same name.
        """
        known = {bundle.version: bundle for bundle in bundles}
        if not known:
            return []
        self._ensure(model)
        there = {int(v.version): v.tags.get(DIGEST) for v in self._search(f"name = '{self.name(model)}'")}
        for version, bundle in known.items():
            if there.get(version, bundle.digest) not in (bundle.digest, None):
                raise Conflict(
                    f"version {version} of '{self.name(model)}' in the model registry is another bundle than "
                    f"'{bundle.id}': another project registers under that name. Give this project a name of its own "
                    "(`project:` in trimtab.yaml)"
                )
        made: list[int] = []
        for version in range(max(there, default=0) + 1, max(known) + 1):
            uri = locate(known[version]) if version in known else None
            number = self._again(model, known.get(version), uri)
            if number == version and uri is not None:
                made.append(version)
            elif number >= version:  # a gap, or deleted versions, whose numbers MLflow does not give again
                self._client.delete_model_version(self.name(model), str(number))
            if number > version:
                break
        return made

    def _again(self, model: str, bundle: Bundle | None, uri: str | None) -> int:
        if bundle is None or uri is None:
            return int(self._client.create_model_version(self.name(model), UNKNOWN).version)
        tags = {DIGEST: bundle.digest, DATASET: bundle.dataset, "trimtab.restored": "true"}
        return self._make(model, uri, bundle.refit or bundle.run, tags)

    def _make(self, model: str, uri: str, run: str, tags: Mapping[str, str]) -> int:
        """Make the next version, and link it with the LoggedModel of the run."""
        logged, client = logged_model_of(self._client, run), self._client
        made = client.create_model_version(self.name(model), uri, run_id=run, tags=dict(tags), model_id=logged)
        if logged is not None:
            known = json.loads(client.get_logged_model(logged).tags.get(VERSIONS, "[]"))
            own = {"name": made.name, "version": made.version}
            if own not in known:  # a server has done it
                client.set_logged_model_tags(logged, {VERSIONS: json.dumps([*known, own])})
        return int(made.version)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Set an alias, such as champion, to a version; an alias has one version only."""
        self._client.set_registered_model_alias(self.name(model), alias, str(version))

    def remove_alias(self, model: str, alias: str) -> None:
        """Remove an alias, if it exists."""
        if self.alias(model, alias) is not None:
            self._client.delete_registered_model_alias(self.name(model), alias)

    def alias(self, model: str, alias: str) -> int | None:
        """Return the version of an alias, or None if it does not exist."""
        try:
            return int(self._client.get_model_version_by_alias(self.name(model), alias).version)
        except load_mlflow().exceptions.MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def tags(self, model: str, version: int) -> dict[str, str]:
        """Return the tags of a version. Raises NotFound."""
        try:
            return dict(self._client.get_model_version(self.name(model), str(version)).tags)
        except load_mlflow().exceptions.MlflowException as error:
            raise NotFound(f"the registry has no version {version} of model '{model}': {error}") from None

    def _ensure(self, model: str) -> None:
        try:
            self._client.create_registered_model(self.name(model), tags={"trimtab.model": model})
        except load_mlflow().exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _find(self, model: str, tag: str, value: str) -> list[ModelVersion]:
        return self._search(f"name = '{self.name(model)}' and tags.`{tag}` = '{value}'")

    def _search(self, wanted: str) -> list[ModelVersion]:
        found: list[ModelVersion] = []
        token: str | None = None
        while token is None or token:
            page = self._client.search_model_versions(wanted, max_results=PAGE, page_token=token)
            found += page
            token = page.token or ""
        return found


def logged_model_of(client: MlflowClient, run: str) -> str | None:
    """Return the id of a run's LoggedModel; None when it has none, or the run is not there any more."""
    try:
        outputs = client.get_run(run).outputs
    except load_mlflow().exceptions.MlflowException:
        return None
    return str(outputs.model_outputs[0].model_id) if outputs is not None and outputs.model_outputs else None
