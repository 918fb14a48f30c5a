"""Answers that must fit a JSON schema: what they hold, and what is wrong with those that do not fit."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from trimtab.errors import DefinitionError
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import jsonschema_rs
else:
    jsonschema_rs = LazyLibrary("jsonschema_rs")

SHOWN = 200
"""Characters of a message about an answer."""


class AnswerSchema:
    """The output schema of a prompt.

    >>> queues = AnswerSchema({"type": "object", "required": ["queue"]})
    >>> queues.read('{"queue": "billing"}')
    ({'queue': 'billing'}, '')
    >>> queues.read('{"Queue": "billing"}')
    (None, '"queue" is a required property')
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Raises DefinitionError for what is no JSON schema, and for a reference to another document."""
        try:
            self._validator = jsonschema_rs.validator_for(dict(schema), retriever=_retrieve)
        except ValueError as error:
            raise DefinitionError(f"the output schema is no JSON schema: {str(error).splitlines()[0]}") from None

    def read(self, text: str) -> tuple[Any, str]:
        """Return what an answer holds, and what is wrong with it; "" where it fits, and None where it does not."""
        try:
            value = json.loads(text, parse_constant=_constant)
        except ValueError as error:
            return None, f"no JSON: {error}"
        except RecursionError:
            return None, "no JSON: nested too deeply"
        wrong = next(iter(self._validator.iter_errors(value)), None)
        if wrong is None:
            return value, ""
        where = ".".join(map(str, wrong.instance_path))
        return None, f"{where}: {wrong.message}"[:SHOWN] if where else wrong.message[:SHOWN]


def read_answer(
    text: str,
    tool_calls: Sequence[Mapping[str, Any]],
    refusal: str | None,
    *,
    schema: AnswerSchema | None,
    tools: Collection[str],
) -> tuple[Any, str]:
    """Return what an answer holds by the schema of its prompt, and why it does not fit the prompt; "" where it does.

    Calls of unknown tools are no answer, nor is text that does not fit the schema; a refusal and a call of a tool need
    not fit it.

    Args:
        text: of the answer.
        tool_calls: in OpenAI's shape.
        refusal: why the model refused; None when it did not.
        schema: of the prompt; None: any text.
        tools: names of the prompt's tools.
    """
    for call in tool_calls:
        name = (call.get("function") or {}).get("name")
        if name not in tools:
            return None, f"the answer calls the tool '{name!s:.60}', which the prompt does not have"
    if schema is None or tool_calls or refusal:
        return None, ""
    value, wrong = schema.read(text)
    return value, f"the answer does not fit the schema of the prompt: {wrong}" if wrong else ""


def _retrieve(uri: str) -> NoReturn:
    raise ValueError(f"'{uri}' is another document; expected a schema that is whole")


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
