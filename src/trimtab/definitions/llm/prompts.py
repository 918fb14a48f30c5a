"""Prompts: text, parameters, schema and tools of one use of a language model, versioned as one thing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from trimtab.definitions.arguments import check_columns, check_kind, check_name, check_text
from trimtab.definitions.impact_function import ImpactFunction
from trimtab.definitions.llm.evaluators import Eval
from trimtab.definitions.llm.model_endpoints import Endpoint, is_number
from trimtab.definitions.llm.retrievers import Retriever
from trimtab.definitions.views import FeatureView
from trimtab.errors import DefinitionError, nearest
from trimtab.metric_catalog import Task
from trimtab.places import Placed

if TYPE_CHECKING:
    from pydantic import BaseModel

NUMBERS = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
"""Parameters that are numbers, and their least and greatest value in OpenAI's interface."""
COUNTS = ("max_completion_tokens", "max_tokens")
"""Parameters that are whole numbers from 1 on."""
PARAMETERS = (
    *NUMBERS,
    *COUNTS,
    "logit_bias",
    "logprobs",
    "parallel_tool_calls",
    "reasoning_effort",
    "seed",
    "service_tier",
    "stop",
    "tool_choice",
    "top_logprobs",
    "verbosity",
)
"""Parameters of OpenAI's interface; servers have further ones."""
NO_PARAMETERS = {
    "model": "it is the argument `model`",
    "messages": "they stand in the file",
    "tools": "they are the argument `tools`",
    "functions": "they are the argument `tools`",
    "response_format": "it comes from the argument `output`",
    "stream": "each request decides it",
    "stream_options": "each request decides it",
    "n": "one answer is logged, judged and paid for each request",
    "user": "each request has its own",
    "metadata": "each request has its own",
    "store": "messages are kept by the policy `llm.store`",
}
"""Keys of a request that are no parameters of a prompt, and why."""
_TOOL = re.compile(r"[a-zA-Z0-9_-]{1,64}")


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

    >>> import trimtab as tt
    >>> local = tt.Endpoint("local", url="loopback")
    >>> triage = tt.Prompt("triage", file="prompts/triage.md", endpoint=local, model="classifier")
    >>> triage.task
    'chat'
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

    def __post_init__(self) -> None:
        check_name("Prompt", self.name)
        where = f"Prompt '{self.name}'"
        check_text(f"{where}: file", self.file, f"prompts/{self.name}.md")
        if self.endpoint is not None:
            check_kind(f"{where}: endpoint", self.endpoint, Endpoint)
        if self.model is not None:
            check_text(f"{where}: model", self.model, "small-model")
        check_params(f"{where}: params", self.params)
        check_output(f"{where}: output", self.output)
        self.tools = check_tools(f"{where}: tools", self.tools)
        self.variables = check_columns(f"{where}: variables", self.variables)
        for name in self.variables:
            check_variable(where, name)
        if self.retrieve is not None:
            check_kind(f"{where}: retrieve", self.retrieve, Retriever)
        self.fallbacks = _fallbacks(f"{where}: fallbacks", self.fallbacks)
        if isinstance(self.evals, Eval):
            raise DefinitionError(f"{where}: evals is one tt.Eval; expected a list: evals=[...]")
        self.evals = tuple(self.evals)
        for each in self.evals:
            check_kind(f"{where}: one of its evals", each, Eval)
        sets = [each.set.name for each in self.evals]
        for name in sets:
            if sets.count(name) > 1:
                raise DefinitionError(f"{where} has two evals of set '{name}'; put their evaluators into one tt.Eval")
        if self.quality is not None and self.quality not in self.evaluator_names:
            raise DefinitionError(
                f"{where}: quality is {self.quality!r}, which is no evaluator of its evals."
                f"{nearest(str(self.quality), self.evaluator_names)}"
            )

    @property
    def evaluator_names(self) -> tuple[str, ...]:
        """Names of the evaluators and judges of all sets, in order, each once."""
        return tuple(dict.fromkeys(each.name for run in self.evals for each in run.evaluators))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """None: a prompt has no views, and its turns have the same features for all prompts."""
        return ()


def check_params(where: str, params: object) -> None:
    """Check parameters of a request. Unknown ones are taken, unless they look like a slip of the pen."""
    if not isinstance(params, Mapping):
        raise DefinitionError(f"{where} is {params!r}; expected a mapping, such as {{'temperature': 0}}")
    for name, value in params.items():
        if not isinstance(name, str):
            raise DefinitionError(f"{where}: the name {name!r} is no text")
        if name in NO_PARAMETERS:
            raise DefinitionError(f"{where}: '{name}' cannot be set here: {NO_PARAMETERS[name]}")
        if name not in PARAMETERS and (close := get_close_matches(name, PARAMETERS, n=1, cutoff=0.8)):
            raise DefinitionError(f"{where}: unknown parameter '{name}'. Did you mean '{close[0]}'?")
        if name in NUMBERS:
            least, most = NUMBERS[name]
            if not is_number(value) or not least <= value <= most:
                raise DefinitionError(f"{where}: {name} is {value!r}; expected a number from {least:g} to {most:g}")
        elif name in COUNTS and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise DefinitionError(f"{where}: {name} is {value!r}; expected a whole number from 1 on")
        check_json(f"{where}: {name}", value)
    if all(name in params for name in COUNTS):
        raise DefinitionError(f"{where} has both {' and '.join(COUNTS)}; expected one of them")


def check_json(where: str, value: object) -> None:
    """Check that a value can be sent as JSON."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise DefinitionError(f"{where} is {value!r}, which JSON cannot hold") from None


def check_output(where: str, output: object) -> None:
    """Check that an output is a pydantic model, or the name of one."""
    if output is None or (isinstance(output, type) and hasattr(output, "model_json_schema")):
        return
    parts = output.split(".") if isinstance(output, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise DefinitionError(
            f"{where} is {output!r}; expected a pydantic model, or its name with the module, such as 'schemas.Triage'"
        )


def check_tools(where: str, tools: object) -> tuple[Mapping[str, Any], ...]:
    """Return tools in OpenAI's shape as a tuple."""
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise DefinitionError(f"{where} is {tools!r}; expected a list")
    names: set[str] = set()
    for each in tools:
        inner = each.get("function") if isinstance(each, Mapping) and each.get("type", "function") == "function" else 0
        if not isinstance(inner, Mapping):
            raise DefinitionError(
                f"{where}: one of them is {each!r}; expected "
                '{"type": "function", "function": {"name": ..., "parameters": {...}}}'
            )
        name = inner.get("name")
        if not isinstance(name, str) or not _TOOL.fullmatch(name):
            raise DefinitionError(
                f"{where}: the name {name!r} is not valid; expected at most 64 letters, digits, _ and -"
            )
        if name in names:
            raise DefinitionError(f"{where}: two tools are named '{name}'")
        names.add(name)
        parameters = inner.get("parameters", {})
        if not isinstance(parameters, Mapping):
            raise DefinitionError(f"{where}: parameters of '{name}' is {parameters!r}; expected a JSON schema")
        check_json(f"{where}: '{name}'", each)
    return tuple({"type": "function", **each} for each in tools)


def check_variable(where: str, name: str) -> None:
    """Check the name of a variable."""
    if not isinstance(name, str) or not name.isidentifier():
        raise DefinitionError(f"{where}: variable {name!r} is not valid; expected letters, digits and underscores")


def _fallbacks(where: str, given: Any) -> tuple[tuple[Endpoint, str], ...]:
    found = []
    for each in given:
        if not isinstance(each, Sequence) or isinstance(each, str) or len(each) != 2:
            raise DefinitionError(f"{where}: one of them is {each!r}; expected (endpoint, 'model')")
        endpoint, model = each
        check_kind(f"{where}: endpoint", endpoint, Endpoint)
        check_text(f"{where}: model", model, "small-model")
        found.append((endpoint, model))
    return tuple(found)
