"""MLflow's prompt registry as a mirror of the versions of prompts: what serves never asks it.

A prompt is called `PROJECT.NAME.prompt` there, since `PROJECT.NAME` is the registered model with its bundles. Versions
have the numbers of the bundles, and the aliases are those of the bundles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trimtab.bundle.prompt_spec import PromptSpec
from trimtab.llm.template_text import pieces
from trimtab.records.training import Bundle
from trimtab.training.mlflow_client import load_mlflow

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DIGEST = "trimtab.digest"
NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_.-]")
SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
"""Parameters of a request -> their names in MLflow; others are its extra_params."""


class PromptRegistry:
    """The prompts of one project in MLflow.

    Args:
        client: of the registry.
        project: name of the project.
    """

    def __init__(self, client: MlflowClient, *, project: str) -> None:
        self._client = client
        self._project = project

    def name(self, prompt: str) -> str:
        """Return the name of a prompt there: letters, digits, '_', '.' and '-'."""
        return NOT_IN_NAMES.sub("-", f"{self._project}.{prompt}.prompt")

    def mirror(self, prompt: str, bundles: Mapping[int, Bundle], load: Callable[[Bundle], PromptSpec | None]) -> None:
        """Make the versions that the registry lacks, each under the number of its bundle.

        Args:
            prompt: its name.
            bundles: all bundles of the prompt by version.
            load: returns what a bundle holds, None if its folder is lost.
        """
        name, last = self.name(prompt), max(bundles, default=0)
        if last == 0 or self._has(name, last):
            return
        self._ensure(name, prompt)
        number = next((number for number in range(last - 1, 0, -1) if self._has(name, number)), 0)
        while number < last:
            wanted, bundle = number + 1, bundles.get(number + 1)
            spec = None if bundle is None else load(bundle)
            number = self._make(name, bundle, spec)
            if spec is None or number != wanted:  # a number of no bundle, or one that was deleted here before
                self._client.delete_prompt_version(name, str(number))

    def set_alias(self, prompt: str, alias: str, version: int | None) -> None:
        """Set an alias, such as champion, to a version; None removes it."""
        name = self.name(prompt)
        if version is not None:
            self._client.set_prompt_alias(name, alias, version)
        elif self._has(name, alias):
            self._client.delete_prompt_alias(name, alias)

    def _has(self, name: str, version: int | str) -> bool:
        """Return True if there is a version, given by number or alias."""
        try:
            return self._client.get_prompt_version(name, str(version)) is not None
        except load_mlflow().exceptions.MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return False
            raise

    def _ensure(self, name: str, prompt: str) -> None:
        try:
            self._client.create_prompt(name, tags={"trimtab.prompt": prompt})
        except load_mlflow().exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _make(self, name: str, bundle: Bundle | None, spec: PromptSpec | None) -> int:
        if bundle is None or spec is None:
            return int(self._client.create_prompt_version(name, "lost").version)
        tags = {
            DIGEST: bundle.digest,
            "trimtab.bundle": bundle.id,
            "trimtab.prompt_hash": bundle.prompt_hash,
            "trimtab.endpoint": bundle.endpoint,
        }
        if spec.tools:
            tags["trimtab.tools"] = json.dumps(list(spec.tools))
        made = self._client.create_prompt_version(
            name,
            template_of(spec),
            description=spec.description or None,
            tags=tags,
            response_format=None if spec.schema is None else dict(spec.schema),
            model_config=model_config_of(spec),
        )
        return int(made.version)


def template_of(spec: PromptSpec) -> list[dict[str, Any]]:
    """Return the messages as MLflow writes templates: `{{ name }}` for variables, no sections."""

    def plain(text: str) -> str:
        return "".join(f"{{{{ {piece.text} }}}}" if piece.is_variable else piece.text for piece in pieces(text))

    return [{"role": message.role, "content": plain(message.text)} for message in spec.messages]


def model_config_of(spec: PromptSpec) -> dict[str, Any]:
    """Return endpoint, model and parameters in MLflow's words."""
    found: dict[str, Any] = {"provider": spec.target.endpoint.name, "model_name": spec.target.model}
    extra: dict[str, Any] = {}
    for name, value in spec.params.items():
        if name in SETTINGS:
            found[SETTINGS[name]] = value
        elif name == "stop":
            found["stop_sequences"] = [value] if isinstance(value, str) else list(value)
        else:
            extra[name] = value
    return {**found, "extra_params": extra} if extra else found
