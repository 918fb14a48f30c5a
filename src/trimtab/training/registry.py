"""Model versions and their aliases in MLflow's registry. Called by app/stages and the rollout.

A version is found again by the digest of its bundle, so registering twice gives the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trimtab.errors import NotFound
from trimtab.records import Run
from trimtab.training.client import load_mlflow

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

DIGEST = "trimtab.digest"


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
        own = {DIGEST: digest, "trimtab.key": key, "trimtab.dataset": run.dataset, "trimtab.model_hash": run.model_hash}
        made = self._client.create_model_version(
            self.name(model), folder_uri, run_id=run.id, tags={**(tags or {}), **own}
        )
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
        return list(self._client.search_model_versions(f"name = '{self.name(model)}' and tags.`{tag}` = '{value}'"))
