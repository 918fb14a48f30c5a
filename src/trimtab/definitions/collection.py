"""Collects all definitions of one project from its module."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trimtab.definitions.impact_function import ImpactFunction
from trimtab.definitions.kpis import Kpi
from trimtab.definitions.llm.evaluators import EvalSet, Judge
from trimtab.definitions.llm.lora import LoRA
from trimtab.definitions.llm.model_endpoints import Endpoint
from trimtab.definitions.llm.prompts import Prompt
from trimtab.definitions.llm.retrievers import Retriever
from trimtab.definitions.models import Model
from trimtab.definitions.on_demand import OnDemand
from trimtab.definitions.own_gates import OwnGate
from trimtab.definitions.services import FeatureService
from trimtab.definitions.sources import Source
from trimtab.definitions.views import Entity, FeatureView, Selection
from trimtab.errors import DefinitionError, nearest

S = TypeVar("S")
Served = Model | Prompt
"""What the gateway can serve."""


@dataclass(frozen=True)
class Definitions:
    """All definitions of one project, by name."""

    sources: Mapping[str, Source]
    entities: Mapping[str, Entity]
    views: Mapping[str, FeatureView]
    transforms: Mapping[str, OnDemand]
    models: Mapping[str, Model]
    path: str = "definitions.py"
    kpis: Mapping[str, Kpi] = field(default_factory=dict)
    gates: Mapping[str, OwnGate] = field(default_factory=dict)
    services: Mapping[str, FeatureService] = field(default_factory=dict)
    prompts: Mapping[str, Prompt] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    eval_sets: Mapping[str, EvalSet] = field(default_factory=dict)
    judges: Mapping[str, Judge] = field(default_factory=dict)
    retrievers: Mapping[str, Retriever] = field(default_factory=dict)
    loras: Mapping[str, LoRA] = field(default_factory=dict)

    @property
    def served(self) -> Mapping[str, Served]:
        """All that the gateway can serve: models, then prompts. No name is used twice."""
        return {**self.models, **self.prompts}

    def key_columns(self, source: Source) -> set[str]:
        """Return the columns of a source that identify its rows, entities or predictions."""
        keys = set(source.key)
        for view in self.views.values():
            if view.source == source:
                keys.update(view.entity.keys)
        for model in self.models.values():
            if model.examples == source:
                keys.update(model.entity_keys)
            if model.outcomes is not None and model.outcomes.source == source:
                keys.add(model.outcomes.prediction_id)
        return keys

    @property
    def impact_functions(self) -> dict[str, ImpactFunction]:
        """The project's own impact functions, by model."""
        return {name: model.money for name, model in self.models.items() if model.money is not None}

    def gates_of(self, model: str) -> tuple[OwnGate, ...]:
        """Return the project's own gates for the runs of a model."""
        return tuple(gate for gate in self.gates.values() if gate.model is None or gate.model.name == model)

    def model(self, name: str | None = None) -> Model:
        """Return the model called `name`, or the only one. Raises DefinitionError."""
        if name in self.prompts:
            known = ", ".join(sorted(self.models)) or "none"
            raise DefinitionError(f"'{name}' is a prompt, and this is for trained models; the models are {known}")
        return self._one(self.models, name, "model", "tt.Model(...)")

    def one_served(self, name: str | None = None) -> Served:
        """Return the model or prompt called `name`, or the only one of all. Raises DefinitionError."""
        if not self.prompts:
            return self.model(name)
        return self._one(self.served, name, "model or prompt", "tt.Model(...) or tt.Prompt(...)")

    def _one(self, known: Mapping[str, S], name: str | None, what: str, factory: str) -> S:
        if name is None:
            if len(known) == 1:
                return next(iter(known.values()))
            if not known:
                hint = ". Prompts have verbs of their own: trimtab eval, prompts" if self.prompts else ""
                raise DefinitionError(f"{self.path} defines no {what}; add one with: {factory}{hint}")
            plural = "models" if what == "model" else "models and prompts"
            raise DefinitionError(f"{self.path} defines {len(known)} {plural}; name one with --model: {sorted(known)}")
        if name not in known:
            raise DefinitionError(f"{self.path} has no {what} '{name}'.{nearest(name, known)}")
        return known[name]

    def prompt(self, name: str | None = None) -> Prompt:
        """Return the prompt called `name`, or the only one. Raises DefinitionError."""
        if name is None:
            if len(self.prompts) == 1:
                return next(iter(self.prompts.values()))
            if not self.prompts:
                raise DefinitionError(f"{self.path} defines no prompt; add one with: tt.Prompt(...)")
            raise DefinitionError(f"{self.path} defines {len(self.prompts)} prompts; name one: {sorted(self.prompts)}")
        if name not in self.prompts:
            raise DefinitionError(f"{self.path} has no prompt '{name}'.{nearest(name, self.prompts)}")
        return self.prompts[name]

    def place_of(self, message: str) -> str:
        """Return file and line of the definition that a message begins with; empty when it begins with none."""
        found = DEFINED.match(message)
        if found is None:
            return ""
        kinds: dict[str, Mapping[str, Any]] = {
            "Entity": self.entities,
            "FeatureView": self.views,
            "FeatureService": self.services,
            "view": self.views,
            "on_demand": self.transforms,
            "Kpi": self.kpis,
            "Prompt": self.prompts,
            "Endpoint": self.endpoints,
            "EvalSet": self.eval_sets,
            "Judge": self.judges,
            "Retriever": self.retrievers,
            "LoRA": self.loras,
            "gate": self.gates,
            "fallback": {model.rule.name: model.rule for model in self.models.values() if model.rule is not None},
            "impact": {model.money.name: model.money for model in self.models.values() if model.money is not None},
        }
        of_kind = self.sources if found["kind"].lower().endswith("source") else kinds.get(found["kind"], self.models)
        item = of_kind.get(found["name"])
        return "" if item is None else str(item.place)

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Add file and line to each DefinitionError of a block whose message begins with a definition's name."""
        try:
            yield
        except DefinitionError as error:
            place = self.place_of(str(error))
            if not place:
                raise
            raise DefinitionError(f"{place}: {error}") from error


DEFINED = re.compile(
    r"(?P<kind>\w*[Ss]ource|Kpi|Entity|FeatureView|FeatureService|on_demand|gate|fallback|impact"
    r"|Prompt|Endpoint|EvalSet|Judge|Retriever|LoRA|[Mm]odel|view)"
    r" '(?P<name>\w+)'"
)
"""The beginning of messages about a definition."""


def collect(namespace: Mapping[str, Any], path: str = "definitions.py") -> Definitions:
    """Collect the definitions in a module's namespace, and those that they refer to.

    Raises DefinitionError when two different things share one name.
    """
    found: dict[str, dict[str, Any]] = {
        "sources": {},
        "entities": {},
        "views": {},
        "transforms": {},
        "models": {},
        "kpis": {},
        "gates": {},
        "services": {},
        "prompts": {},
        "endpoints": {},
        "eval_sets": {},
        "judges": {},
        "retrievers": {},
        "loras": {},
    }

    def add(item: Any) -> None:
        item = item.view if isinstance(item, Selection) else item
        kinds: dict[type, str] = {
            Entity: "entities",
            FeatureView: "views",
            FeatureService: "services",
            OnDemand: "transforms",
            Kpi: "kpis",
            OwnGate: "gates",
            Prompt: "prompts",
            Endpoint: "endpoints",
            EvalSet: "eval_sets",
            Judge: "judges",
            Retriever: "retrievers",
            LoRA: "loras",
        }
        families: dict[type, str] = {Source: "sources", Model: "models"}
        kind = kinds.get(type(item)) or next((of for each, of in families.items() if isinstance(item, each)), None)
        if kind is None:
            return
        known = found[kind].get(item.name)
        if known is item:
            return
        if known is not None and known != item:
            raise DefinitionError(
                f"{path} defines two different {kind.replace('_', ' ')} named '{item.name}', at {known.place} and at "
                f"{item.place}; rename one"
            )
        found[kind][item.name] = item
        if isinstance(item, FeatureView):
            add(item.entity)
            add(item.source)
            add(item.over)
        elif isinstance(item, FeatureService):
            for each in item.features:
                add(each)
        elif isinstance(item, OwnGate):
            add(item.model)
        elif isinstance(item, Kpi):
            add(item.source)
            add(item.model)
        elif isinstance(item, Prompt):
            for endpoint in (item.endpoint, *(fallback[0] for fallback in item.fallbacks)):
                add(endpoint)
            add(item.retrieve)
            for run in item.evals:
                add(run.set)
                for judge in run.evaluators:
                    add(judge)
        elif isinstance(item, Judge):
            add(item.endpoint)
        elif isinstance(item, LoRA):
            add(item.examples)
        elif isinstance(item, Model):
            add(item.examples)
            if item.outcomes is not None:
                add(item.outcomes.source)
            for feature in (*item.features, *item.services):
                add(feature)

    for value in list(namespace.values()):
        add(value)
    for name in found["models"].keys() & found["prompts"].keys():
        two = f"{found['models'][name].place} and {found['prompts'][name].place}"
        raise DefinitionError(f"{path} defines a model and a prompt named '{name}', at {two}; rename one")
    return Definitions(**found, path=path)
