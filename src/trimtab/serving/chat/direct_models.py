"""Models of endpoints that clients name themselves, as endpoint/model, where `llm.passthrough` lets them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trimtab.bundle.prompt_spec import PROMPT_FILE, TURN_FEATURES, EndpointSpec, PromptSpec, TargetSpec
from trimtab.bundle.spec import Spec
from trimtab.errors import nearest
from trimtab.serving.chat.chat_errors import ChatRefused
from trimtab.serving.chat.loaded_prompt import LoadedPrompt, NoRows
from trimtab.serving.core.routing import ModelTable, Variant

MOST_KNOWN = 256


class DirectModels:
    """The models of a project's endpoints. endpoints: by name; empty where none may be named."""

    def __init__(self, endpoints: Mapping[str, EndpointSpec]) -> None:
        self._endpoints = endpoints
        self._known: dict[str, ModelTable] = {}

    @property
    def names(self) -> list[str]:
        """All that may be named: the models that have a price."""
        return sorted(f"{name}/{model}" for name, each in self._endpoints.items() for model in each.prices)

    def table(self, name: str) -> ModelTable:
        """Return a table with one version, 0, that sends on what clients send. Raises ChatRefused (404)."""
        found = self._known.get(name)
        if found is None:
            endpoint_name, _, model = name.partition("/")
            endpoint = self._endpoints.get(endpoint_name)
            if endpoint is None or not model or endpoint.prices.get(model) is None:
                raise ChatRefused(404, self._missing(name), code="model_not_found", param="model")
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            target = TargetSpec(endpoint=endpoint, model=model)
            found = self._known[name] = ModelTable(name, 0, [Variant("champion", _direct(name, target), 100.0)])
        return found

    def _missing(self, name: str) -> str:
        said = f"there is no endpoint/model '{name:.100}' with a price."
        if not self._endpoints:
            return f"{said} llm.passthrough of trimtab.yaml lets clients name models of endpoints"
        return said + nearest(name[:100], self.names)


def _direct(name: str, target: TargetSpec) -> LoadedPrompt:
    rows = NoRows(name)
    spec = Spec(
        model=name,
        task="chat",
        label="",
        features=TURN_FEATURES,
        request_columns=(),
        entity_keys=(),
        timestamp="",
        threshold=0.5,
        run="",
        dataset="",
        views=(),
        code_hash="",
        runtime="chat",
        model_file=PROMPT_FILE,
    )
    return LoadedPrompt(
        id=name,
        version=0,
        digest="",
        spec=spec,
        scorer=rows,
        vectorizer=rows,
        recipe=(name,),
        folder=Path(),
        prompt=PromptSpec(name=name, messages=(), target=target),
        schema=None,
        is_direct=True,
    )
