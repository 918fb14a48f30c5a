"""Prompts: text, parameters, schema and tools of one use of a language model, versioned as one thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from trimtab.definitions.impact_function import ImpactFunction
from trimtab.definitions.llm.evaluators import Eval
from trimtab.definitions.llm.model_endpoints import Endpoint
from trimtab.definitions.llm.retrievers import Retriever
from trimtab.definitions.views import FeatureView
from trimtab.metric_catalog import Task
from trimtab.places import Placed

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass
class Prompt(Placed):
    """A prompt: it is judged on its sets of examples, served, monitored, compared and rolled back as models are.

    Args:
        name: letters, digits and single underscores; clients send it as `model`.
        file: Markdown with front matter, relative to the project folder.
        endpoint: where the model runs; None: the front matter names it.
        model: name of the model there; None: the front matter names it.
        params: parameters of the request, such as temperature.
        output: a pydantic model, or the name of one as module.Name, that the answer must fit; None: any text.
        tools: functions that the model may call, in OpenAI's shape. Clients run them.
        variables: names of the variables in the template, where the front matter does not list them.
        retrieve: puts documents in.
        fallbacks: endpoints and models that are asked, in order, when an attempt fails before its first token.
        evals: sets of examples with evaluators.
        quality: name of the evaluator that decides whether a version is better; None: the first one of `evals`.

    Raises:
        DefinitionError: an argument is wrong, or stands in the front matter, too.
    """

    name: str
    _: KW_ONLY
    file: str
    endpoint: Endpoint | None = None
    model: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    output: type[BaseModel] | str | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    variables: Sequence[str] = ()
    retrieve: Retriever | None = None
    fallbacks: Sequence[tuple[Endpoint, str]] = ()
    evals: Sequence[Eval] = ()
    quality: str | None = None

    task: Task = field(default="chat", init=False)
    """What the loop does by task, it does of a prompt as of the task `chat`."""
    money: ImpactFunction | None = field(default=None, init=False)
    """No function of the project prices the turns of a prompt; `impact.cost` does."""
    label: str = field(default="bad turn", init=False)
    """The outcome of a turn, for messages and pages."""
    views: tuple[FeatureView, ...] = field(default=(), init=False)
    """Always empty: no feature of a prompt comes from a table."""
    source_tables: tuple[str, ...] = field(default=(), init=False)
    """Always empty: no table trains a prompt."""
