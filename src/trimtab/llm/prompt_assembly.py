"""A version of a prompt as the project has it now: its file, its definition, its endpoint with prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from trimtab.bundle.prompt_spec import (
    EndpointSpec,
    PriceSpec,
    PromptSpec,
    RetrieverSpec,
    TargetSpec,
    VariableSpec,
)
from trimtab.definitions.collection import Definitions
from trimtab.definitions.llm.model_endpoints import Endpoint, Price
from trimtab.definitions.llm.prompts import Prompt, check_json, check_params, check_tools
from trimtab.definitions.llm.retrievers import DOCUMENTS, Retriever
from trimtab.errors import DataError, DefinitionError, nearest
from trimtab.llm.chat_messages import MessageRenderer
from trimtab.llm.output_schema import output_schema
from trimtab.llm.prompt_file import EXAMPLES, IN_BOTH, PromptFile, read_prompt_file

T = TypeVar("T")


def assemble(prompt: Prompt, definitions: Definitions, folder: Path) -> PromptSpec:
    """Return the version of a prompt that the project describes now.

    Args:
        prompt: of the definitions.
        definitions: all of the project; the front matter may name one of its endpoints.
        folder: of the project.

    Raises:
        DefinitionError: the file is missing or wrong, a key stands in both places, an endpoint, price, variable or
            section is unknown, or an untrusted variable stands in a system message.
    """
    file = read_prompt_file(folder / prompt.file, prompt.file)
    where = f"Prompt '{prompt.name}'"
    for key in IN_BOTH:
        if key in file.keys and _given(getattr(prompt, key)):
            raise DefinitionError(
                f"{where}: {key} stands in {prompt.place or 'definitions.py'} and in {file.place(key)}; remove one"
            )
    front = file.keys
    params = front.get("params") or prompt.params
    _placed(file, "params", lambda: check_params("params", params))
    tools = prompt.tools
    if "tools" in front:
        tools = _placed(file, "tools", lambda: check_tools("tools", front["tools"]))
    output = front.get("output", prompt.output)
    said = file.place("output") if "output" in front else where
    schema = output_schema(output, folder, f"{said}: output")
    examples = _examples(file)
    spec = PromptSpec(
        name=prompt.name,
        description=_text(file, "description") or "",
        messages=file.messages,
        variables=_variables(prompt, file),
        params=dict(params),
        schema=None if schema is None else schema.schema,
        schema_name="" if schema is None else schema.name,
        tools=tuple(dict(each) for each in tools),
        target=_target(prompt, file, definitions),
        fallbacks=tuple(target_spec(endpoint, model, f"{where}: fallbacks") for endpoint, model in prompt.fallbacks),
        retriever=None if prompt.retrieve is None else retriever_spec(prompt.retrieve),
        sections=file.sections,
        examples=examples,
        tune=_tune(file),
    )
    try:
        MessageRenderer(spec)
    except DataError as error:
        key = EXAMPLES if str(error).startswith(EXAMPLES) else ""
        raise DefinitionError(f"{file.place(key) if key else file.name}: {error}") from None
    return spec


def target_spec(endpoint: Endpoint, model: str, where: str) -> TargetSpec:
    """Return a model at an endpoint with its price. Raises DefinitionError where it has none."""
    prices = endpoint.prices_of(model)
    if prices is None:
        raise DefinitionError(
            f"{where}: endpoint '{endpoint.name}' has no price for model '{model}', so what a turn costs would not be "
            f"known; add prices={{'{model}': tt.Price(input=..., output=...)}}, with 0 for one that is free."
            f"{nearest(model, endpoint.prices)}"
        )
    return TargetSpec(endpoint=endpoint_spec(endpoint, {model: prices}), model=model)


def endpoint_spec(endpoint: Endpoint, more: Mapping[str, tuple[Price, ...]] | None = None) -> EndpointSpec:
    """Return an endpoint with prices in integers of 1e-12 a token. more: prices of models that it does not list."""
    listed = {model: endpoint.prices_of(model) or () for model in endpoint.prices}
    return EndpointSpec(
        name=endpoint.name,
        url=endpoint.url,
        key=endpoint.key_name,
        usage=endpoint.usage,
        reasoning=endpoint.reasoning,
        prices={model: tuple(map(_price, prices)) for model, prices in sorted({**listed, **(more or {})}.items())},
        requests=endpoint.requests,
        tokens=endpoint.tokens,
        concurrent=endpoint.concurrent,
    )


def retriever_spec(retriever: Retriever) -> RetrieverSpec:
    """Return a retriever as a bundle holds it."""
    return RetrieverSpec(
        name=retriever.name,
        table=retriever.table,
        text=retriever.text,
        id=retriever.id,
        k=retriever.k,
        embed=retriever.embed,
        query=retriever.query,
    )


def _price(price: Price) -> PriceSpec:
    return PriceSpec(
        input=price.pico("input") or 0,
        output=price.pico("output") or 0,
        cached=price.pico("cached"),
        cache_write=price.pico("cache_write"),
        reasoning=price.pico("reasoning"),
        since=price.since or "",
    )


def _target(prompt: Prompt, file: PromptFile, definitions: Definitions) -> TargetSpec:
    where = f"Prompt '{prompt.name}'"
    endpoint = prompt.endpoint
    if (named := _text(file, "endpoint")) is not None:
        endpoint = definitions.endpoints.get(named)
        if endpoint is None:
            raise DefinitionError(
                f"{file.place('endpoint')}: endpoint: definitions.py has no endpoint '{named}'."
                f"{nearest(named, definitions.endpoints)}"
            )
    if endpoint is None:
        raise DefinitionError(f"{where} has no endpoint; name it in definitions.py or in {file.name}: endpoint: ...")
    model = prompt.model or _text(file, "model")
    if model is None:
        raise DefinitionError(
            f"{where} has no model; name it in definitions.py or in {file.name}: model: ..."
            f"{nearest('', endpoint.prices)}"
        )
    return target_spec(endpoint, model, file.place("model") if "model" in file.keys else where)


def _variables(prompt: Prompt, file: PromptFile) -> dict[str, VariableSpec]:
    """Return the variables of the text. Without a list anywhere, all that it uses are untrusted and needed."""
    used = file.used
    known = file.variables() or {name: VariableSpec() for name in prompt.variables}
    listed = bool(known)
    if prompt.retrieve is not None:
        if DOCUMENTS not in used:
            raise DefinitionError(
                f"{file.name}: prompt '{prompt.name}' has a retriever, and its text has no {{{{ {DOCUMENTS} }}}}"
            )
        known = {**known, DOCUMENTS: known.get(DOCUMENTS, VariableSpec(default=""))}
        if known[DOCUMENTS].trusted:
            raise DefinitionError(f"{file.place('variables', DOCUMENTS)}: documents of a retriever are never trusted")
    needed = {prompt.retrieve.query} if prompt.retrieve is not None and prompt.retrieve.query else set[str]()
    for name, place in used.items():
        if name in known:
            continue
        if listed:
            raise DefinitionError(f"{place}: `variables` has no '{name}'.{nearest(name, known)}")
        known[name] = VariableSpec()
    for name in needed - known.keys():
        if listed:
            raise DefinitionError(
                f"Prompt '{prompt.name}': its retriever searches for '{name}', which is no variable."
                f"{nearest(name, known)}"
            )
        known[name] = VariableSpec()
    systems = [number for number, message in enumerate(file.messages) if message.role == "system"]
    for name, place in (each for number in systems for each in file.used_in(number).items()):
        if not known[name].trusted:
            raise DefinitionError(
                f"{place}: the variable '{name}' stands in a system message and is not trusted: a client could give "
                f"orders with it. Move it into a user message, or write variables: {{ {name}: {{ trusted: true }} }}"
            )
    for name in known:
        if name not in used and name not in needed:
            place = file.place("variables", name)
            raise DefinitionError(f"{place}: the text does not use the variable '{name}'.{nearest(name, used)}")
    return known


def _examples(file: PromptFile) -> tuple[Mapping[str, Any], ...]:
    given = file.keys.get(EXAMPLES) or []
    where = f"{file.place(EXAMPLES)}: {EXAMPLES}"
    if not isinstance(given, list) or not all(isinstance(each, Mapping) for each in given):
        raise DefinitionError(
            f"{where}: expected a list of objects with 'user' and 'assistant', or 'inputs' and 'expected'"
        )
    for number, each in enumerate(given):
        check_json(f"{file.place(EXAMPLES, str(number))}: {EXAMPLES}[{number}]", each)
    return tuple(given)


def _tune(file: PromptFile) -> tuple[str, ...]:
    given = file.keys.get("tune") or []
    if not isinstance(given, list):
        raise DefinitionError(f"{file.place('tune')}: tune: expected a list, such as [instructions, {EXAMPLES}]")
    valid = [*file.sections, EXAMPLES]
    for number, name in enumerate(given):
        if name not in valid:
            raise DefinitionError(
                f"{file.place('tune', str(number))}: tune: the text has no section '{name}'.{nearest(str(name), valid)}"
            )
    return tuple(dict.fromkeys(given))


def _text(file: PromptFile, key: str) -> str | None:
    value = file.keys.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise DefinitionError(f"{file.place(key)}: {key} is {value!r}; expected text")
    return value


def _given(value: Any) -> bool:
    return value is not None and value != () and value != {}


def _placed(file: PromptFile, key: str, check: Callable[[], T]) -> T:
    """Run a check of a key; its error names the line where the front matter has the key."""
    try:
        return check()
    except DefinitionError as error:
        raise DefinitionError(f"{file.place(key)}: {error}") from None
