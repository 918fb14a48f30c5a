"""Messages of one request: the template of a prompt with its variables filled in, then those of the client.

Untrusted text never enters a system message: such a template is refused, a client's system messages are, too, and a
value is never read as a template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trimtab.bundle.prompt_spec import MessageTemplate, PromptSpec, VariableSpec
from trimtab.errors import DataError, nearest
from trimtab.llm.template_text import TemplateError, pieces

CLIENT_ROLES = ("user", "assistant", "tool")
_KEPT = 64
"""Prompts whose templates are kept parsed."""


class MessageError(DataError):
    """A variable or message of a request is wrong. param: its place in the body, such as variables.ticket."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class MissingVariable(MessageError):
    """A variable without a default is not given. name: of the variable."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message, f"variables.{name}")
        self.name = name


class _Template(NamedTuple):
    role: str
    texts: tuple[str, ...]
    """As many as variables and one more: the text before each variable, then the rest."""
    variables: tuple[str, ...]

    def filled(self, values: Mapping[str, str]) -> dict[str, Any]:
        if not self.variables:
            return {"role": self.role, "content": self.texts[0]}
        parts = [self.texts[0]]
        for name, text in zip(self.variables, self.texts[1:], strict=True):
            parts += (values[name], text)
        return {"role": self.role, "content": "".join(parts)}


class MessageRenderer:
    """Renders the requests of one version of a prompt.

    Raises:
        DataError: a template is wrong, an untrusted variable stands in a system message, or an example does not fit.
    """

    def __init__(self, spec: PromptSpec) -> None:
        self._spec = spec
        self._variables = spec.variables
        self._defaults = {name: each.default for name, each in spec.variables.items() if each.default is not None}
        self._templates = tuple(_template(spec, message) for message in spec.messages)
        users = [number for number, each in enumerate(self._templates) if each.role == "user"]
        self._split = users[-1] if users else len(self._templates)
        self._has_user = bool(users)
        self._examples = [message for number in range(len(spec.examples)) for message in self._example(number)]

    def render(self, variables: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the messages to send.

        Args:
            variables: by name, texts or numbers. A variable with a default may be left out.
            messages: of the client, in OpenAI's shape.

        Returns:
            The template, with the examples before its last user message (or at its end without one), then `messages`.

        Raises:
            MessageError: a variable is unknown, missing, too long or no text, or a message has another role.
        """
        values = self._values(variables)
        for number, message in enumerate(messages):
            _check(number, message)
        filled = [each.filled(values) for each in self._templates]
        if not self._has_user and not messages:
            raise MessageError("there is no user message: the prompt has none, so a request must bring one", "messages")
        given = [dict(message) for message in messages]
        examples = [dict(message) for message in self._examples]
        return [*filled[: self._split], *examples, *filled[self._split :], *given]

    def _values(self, given: Mapping[str, Any]) -> dict[str, str]:
        values = dict(self._defaults)
        for name, value in given.items():
            known = self._variables.get(name)
            if known is None:
                raise MessageError(
                    f"the prompt '{self._spec.name}' has no variable '{name}'.{nearest(str(name), self._variables)}",
                    f"variables.{name}",
                )
            if value is not None:
                values[name] = _text(name, value, known)
        if len(values) < len(self._variables):
            lacks = [name for name in self._variables if name not in values]
            raise MissingVariable(f"the prompt '{self._spec.name}' needs the variable '{lacks[0]}'", lacks[0])
        return values

    def _example(self, number: int) -> list[dict[str, Any]]:
        """Return the pair of messages of an example."""
        example, where = self._spec.examples[number], f"examples[{number}]"
        keys = set(example)
        if keys == {"user", "assistant"}:
            user, answer = example["user"], example["assistant"]
        elif keys == {"inputs", "expected"} and isinstance(example["inputs"], Mapping):
            if not self._has_user:
                raise DataError(f"{where} has inputs, and the prompt has no user message that they fill in")
            try:
                values = self._values(example["inputs"])
            except MessageError as error:
                raise DataError(f"{where}: {error}") from None
            user, answer = self._templates[self._split].filled(values)["content"], example["expected"]
        else:
            raise DataError(
                f"{where} has {', '.join(sorted(map(str, keys))) or 'nothing'}; expected 'user' and 'assistant', or "
                "'inputs' and 'expected'"
            )
        if not isinstance(user, str):
            raise DataError(f"{where}: user is {user!r}; expected text")
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        return [{"role": "user", "content": user}, {"role": "assistant", "content": text}]


_renderers: dict[int, tuple[PromptSpec, MessageRenderer]] = {}


def render(
    spec: PromptSpec, variables: Mapping[str, Any], messages: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Return the messages of one request; see MessageRenderer.render. The parsed template of a spec is kept."""
    kept = _renderers.get(id(spec))
    if kept is None or kept[0] is not spec:
        if len(_renderers) >= _KEPT:
            _renderers.clear()
        kept = _renderers[id(spec)] = (spec, MessageRenderer(spec))
    return kept[1].render(variables, messages)


def _template(spec: PromptSpec, message: MessageTemplate) -> _Template:
    texts, variables = [""], list[str]()
    try:
        found = pieces(message.text)
    except TemplateError as error:
        raise DataError(f"prompt '{spec.name}': {error}") from None
    for text, is_variable, _ in found:
        if not is_variable:
            texts[-1] += text
            continue
        if text not in spec.variables:
            raise DataError(f"prompt '{spec.name}': unknown variable '{text}'.{nearest(text, spec.variables)}")
        if message.role == "system" and not spec.variables[text].trusted:
            raise DataError(
                f"prompt '{spec.name}': the variable '{text}' stands in a system message and is not trusted"
            )
        variables.append(text)
        texts.append("")
    return _Template(message.role, tuple(texts), tuple(variables))


def _text(name: str, value: Any, known: VariableSpec) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, int | float):
        text = json.dumps(value)
    else:
        raise MessageError(
            f"the variable '{name}' is of type {type(value).__name__}; expected text or a number", f"variables.{name}"
        )
    if known.max_chars is not None and len(text) > known.max_chars:
        raise MessageError(
            f"the variable '{name}' has {len(text):,} characters; at most {known.max_chars:,} are allowed",
            f"variables.{name}",
        )
    return text


def _check(number: int, message: Any) -> None:
    where = f"messages[{number}]"
    if not isinstance(message, Mapping):
        raise MessageError(f"{where} is no object; expected one with role and content", where)
    role = message.get("role")
    if role in ("system", "developer"):
        raise MessageError(
            f"{where}: a request may not bring {role} messages; those of the prompt are the only ones", f"{where}.role"
        )
    if role not in CLIENT_ROLES:
        raise MessageError(f"{where}: unknown role {role!r}.{nearest(str(role), CLIENT_ROLES)}", f"{where}.role")
