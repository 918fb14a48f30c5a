"""What an evaluation or the gateway would find out of prompts: keys of endpoints, examples that do not fit."""

from __future__ import annotations

from trimtab.app.project.project import Project
from trimtab.definitions.llm.evaluators import EvalSet
from trimtab.definitions.llm.model_endpoints import LOOPBACK, Endpoint
from trimtab.definitions.llm.prompts import Prompt
from trimtab.definitions.secrets import reveal
from trimtab.errors import DataError
from trimtab.llm.chat_messages import MessageError, MessageRenderer
from trimtab.llm.evaluate.items import read_items
from trimtab.llm.prompt_assembly import assemble
from trimtab.units import plural


def check_endpoint(endpoint: Endpoint) -> str:
    """Return where an endpoint is. Raises StageError when its key is not set."""
    if endpoint.url == LOOPBACK:
        return "a stand-in for a language model on this machine"
    if endpoint.key is not None:
        reveal(endpoint.key, f"endpoint '{endpoint.name}'")
    return f"{endpoint.url}, {f'key {endpoint.key_name}' if endpoint.key else 'no key'}"


def check_examples(project: Project, prompt: Prompt, examples: EvalSet) -> str:
    """Return how many examples a set has, after rendering each. Raises DataError."""
    found = read_items(examples, project.folder)
    renderer = MessageRenderer(assemble(prompt, project.definitions, project.folder))
    for item, place in zip(found.items, found.places, strict=True):
        whole = isinstance(examples.inputs, str)
        try:
            renderer.render({} if whole else item.inputs, item.inputs["messages"] if whole else ())
        except MessageError as error:
            raise DataError(f"{place}: {error}") from None
    clusters = len(set(found.clusters))
    grouped = "" if clusters == len(found.items) else f" in {plural(clusters, 'cluster')}"
    return plural(len(found.items), "example") + grouped
