"""Model versions and their aliases in MLflow's registry.

A version is found again by the digest of its bundle, so registering twice gives the same number. The numbers belong to
the bundles' records, which never change: a registry that lacks them (a renamed project, a deleted database) gets them
again before it gives out a new one.
"""

from __future__ import annotations

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
UNKNOWN = "file:///dev/null"
"""Source of a version that is made to use up its number, and deleted at once."""
PAGE = 1000
"""Versions that are asked for at a time."""


class Registry:
    """The registered models of one project, named `PROJECT.MODEL`; aliases are the roles in serving."""

    def __init__(self, client: MlflowClient, *, project: str) -> None:
        self._client = client
        self._project = project

    def name(self, model: str) -> str:
        """Return the name of a registered model; '/' and ':' mean something else to MLflow."""
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
        """Return the version of the bundle with a digest, registering it on first sight.

        folder_uri: where the bundle is. key: what asks for it, kept as a tag. tags: further ones, such as
        the gates' verdict.
        """
        self._ensure(model)
        found = self._find(model, DIGEST, digest)
        if found:
            return min(int(version.version) for version in found)
        own = {DIGEST: digest, "trimtab.key": key, DATASET: run.dataset, "trimtab.model_hash": run.model_hash}
        made = self._client.create_model_version(
            self.name(model), folder_uri, run_id=run.id, tags={**(tags or {}), **own}
        )
        return int(made.version)

    def restore(self, model: str, bundles: Iterable[Bundle], locate: Callable[[Bundle], str | None]) -> list[int]:
        """Register the bundles that the registry lacks under the versions of their records; return these versions.

        bundles: all of the model. locate: returns the URI of a bundle's folder, None for one that is lost. Numbers of
        lost bundles, and those that no bundle has, are passed over.
        Raises Conflict when a version of the registry is another bundle, as when two projects have one name.
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
            elif number >= version:  # a gap, or versions that were deleted: MLflow does not give their numbers again
                self._client.delete_model_version(self.name(model), str(number))
            if number > version:
                break
        return made

    def _again(self, model: str, bundle: Bundle | None, uri: str | None) -> int:
        if bundle is None or uri is None:
            return int(self._client.create_model_version(self.name(model), UNKNOWN).version)
        tags = {DIGEST: bundle.digest, DATASET: bundle.dataset, "trimtab.restored": "true"}
        made = self._client.create_model_version(self.name(model), uri, run_id=bundle.run, tags=tags)
        return int(made.version)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point an alias, such as champion, at a version; an alias points at one version only."""
        self._client.set_registered_model_alias(self.name(model), alias, str(version))

    def remove_alias(self, model: str, alias: str) -> None:
        """Remove an alias; one that is not there is fine."""
        if self.alias(model, alias) is not None:
            self._client.delete_registered_model_alias(self.name(model), alias)

    def alias(self, model: str, alias: str) -> int | None:
        """Return the version that an alias points at, or None."""
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
