"""The keys of trimtab.yaml, read from its models: the JSON Schema for editors, the rows of docs/policy.md.

Meanings are the texts under the fields; they are read from the source, since Python does not keep them. `{promotion}`
in a text stands for the default of each task in `metric_catalog.BY_TASK`, `{in_label_units}` for such metrics.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trimtab.metric_catalog import BY_TASK, METRICS, TASKS, Task, of_models
from trimtab.policy.model import Checks, Policy, TableCheck
from trimtab.policy.tree import below
from trimtab.policy.values import Written

WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
NONE = "none"
TOP = {below(field.annotation)[0] for field in Policy.model_fields.values()}
"""The sections at the top level. Where one stands again below another, its keys are not listed again."""


@dataclass(frozen=True)
class Key:
    """One key of a section."""

    name: str
    written: str
    """How its value is written, in words; empty for a section."""
    default: str
    """As it would be written; "required", or "none" when leaving it out means something of its own."""
    meaning: str


@dataclass(frozen=True)
class SectionKeys:
    """One section: its place in the file, what it is for, its keys."""

    path: str
    meaning: str
    keys: tuple[Key, ...]


def reference() -> list[SectionKeys]:
    """Return every section of the policy, in the order of the file."""
    return list(_sections(Policy, ""))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of trimtab.yaml, for editors: units as they are written, meanings as descriptions."""
    schema = Policy.model_json_schema(mode="validation")
    for section in {model for _, model in _models(Policy, "")}:
        described = schema if section is Policy else schema["$defs"][section.__name__]
        described["description"] = _filled(section.__doc__ or "")
        properties = described["properties"]
        texts = meanings(section)
        for name, field in section.model_fields.items():
            entry = properties[field.alias or name]
            entry.pop("title", None)
            entry.pop("default", None)
            entry["description"] = texts[name]
            if below(field.annotation)[0] is None and not field.is_required() and field.default is not None:
                written = _written(field)
                entry["default"] = _as_written(written, field.default) if written else field.default
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "trimtab.yaml"}


def meanings(section: type[BaseModel]) -> dict[str, str]:
    """Return field -> the text under it in the source, on one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            found[ast.unparse(field.target)] = _filled(str(ast.literal_eval(text.value)))
    return found


def _filled(text: str) -> str:
    """Return a text on one line, with what the catalog of metrics says in place of names in braces."""

    def words(match: re.Match[str]) -> str:
        if match[1] == "in_label_units":
            return " and ".join(name for name, facts in METRICS.items() if facts.in_label_units)
        tasks: dict[str, list[Task]] = {}
        for task in TASKS:
            tasks.setdefault(getattr(BY_TASK[task], match[1]), []).append(task)
        *most, last = (f"{value} for {of_models(named)}" for value, named in tasks.items())
        return f"{', '.join(most)} and {last}"

    return re.sub(r"(?<!\$)\{(\w+)\}", words, " ".join(text.split()))


def _sections(model: type[BaseModel], path: str) -> Iterator[SectionKeys]:
    for place, section in _models(model, path):
        texts = meanings(section)
        keys = (
            Key(field.alias or name, _words(field), _default(field), texts.get(name, ""))
            for name, field in section.model_fields.items()
        )
        yield SectionKeys(place, _filled(section.__doc__ or ""), tuple(keys))


def _models(section: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield a section and those below it, with their places; NAME stands for any name."""
    yield path, section
    if section is Checks:
        yield from _models(TableCheck, f"{path}.TABLE")
    for name, field in section.model_fields.items():
        inner, named = below(field.annotation)
        if inner is not None and (section is Policy or inner not in TOP):
            yield from _models(inner, f"{path}.{name}".lstrip(".") + (".NAME" if named else ""))


def _written(field: FieldInfo) -> Written | None:
    parts = [*field.metadata, *(each for part in get_args(field.annotation) for each in get_args(part))]
    return next((part for part in parts if isinstance(part, Written)), None)


def _words(field: FieldInfo) -> str:
    if below(field.annotation)[0] is not None:
        return ""
    written = _written(field)
    if written is None:
        return _type_words(field.annotation)
    origin = get_origin(field.annotation)
    of = "list of: " if origin is list else "by name: " if origin is dict else ""
    return f"{of}{written.words}"


def _type_words(annotation: Any) -> str:
    arguments = [part for part in get_args(annotation) if part is not type(None)]
    if annotation in WORDS:
        return WORDS[annotation]
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(arguments)
    if get_origin(annotation) is list:
        return (
            f"list of {', '.join(get_args(arguments[0]))}" if get_origin(arguments[0]) is Literal else "list of texts"
        )
    if get_origin(annotation) is dict:
        names = get_args(arguments[0])
        return f"number for each of {', '.join(names)}" if names else "keys and values"
    return _type_words(arguments[0])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if below(field.annotation)[0] is not None:
        return NONE if field.default is None else ""
    written = _written(field)
    if written is None or field.default is None:
        return _as_yaml(field.default)
    text = _as_written(written, field.default)
    return f"[{', '.join(text)}]" if isinstance(text, list) else _as_yaml(text)


def _as_written(written: Written, value: Any) -> Any:
    """Return a value, a list or a mapping of values as a person would write them."""
    if isinstance(value, dict):
        return {name: written.text(each) for name, each in value.items()}
    return [written.text(each) for each in value] if isinstance(value, list) else written.text(value)


def _as_yaml(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_as_yaml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {_as_yaml(each)}" for key, each in value.items()) + " }" if value else "{}"
    return str(value)
