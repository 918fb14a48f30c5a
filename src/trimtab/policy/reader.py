"""Reads trimtab.yaml; every error names file, line, key, what was expected and the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from trimtab.errors import PolicyError, nearest
from trimtab.policy.model import Policy

KeyPath = tuple[str, ...]


def read_policy(path: Path) -> Policy:
    """Read and check the policy file. Raises PolicyError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PolicyError(
            f"{path}: no such file. Is this a project folder? Make one with: trimtab init flights"
        ) from None
    return parse_policy(text, str(path))


def parse_policy(text: str, name: str = "trimtab.yaml") -> Policy:
    """Parse the text of a policy file. Raises PolicyError naming `name` and the line."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PolicyError(f"{name}:{line}: not valid YAML: {error.problem}") from None
    if not isinstance(node, yaml.MappingNode) or not isinstance(data, dict):
        raise PolicyError(f"{name}:1: expected keys such as 'project: my-project' at the top level")
    lines: dict[KeyPath, int] = {}
    for path, line in _lines(node, ()):
        if path in lines:
            raise PolicyError(f"{name}:{line}: {'.'.join(path)}: this key is given twice (first on line {lines[path]})")
        lines[path] = line
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        raise PolicyError("\n".join(_explain(problem, lines, name) for problem in error.errors())) from None


def line_of(path: Path, key: str) -> int:
    """Return the line of a dotted key of a policy file, or of its nearest parent that is there."""
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    lines = dict(_lines(node, ())) if node else {}
    parts = tuple(key.split("."))
    return next((lines[parts[:n]] for n in range(len(parts), 0, -1) if parts[:n] in lines), 1)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of trimtab.yaml, for editors; units may be written as text."""
    schema = Policy.model_json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "trimtab.yaml"
    return _accept_text(schema)


def _accept_text(schema: dict[str, Any]) -> dict[str, Any]:
    """Let every number also be text with a unit, as the reader does."""
    if schema.get("type") in ("integer", "number") and "title" in schema:
        return {**schema, "type": [schema["type"], "string"]}
    return {
        key: _accept_text(value)
        if isinstance(value, dict)
        else [_accept_text(item) if isinstance(item, dict) else item for item in value]
        if isinstance(value, list)
        else value
        for key, value in schema.items()
    }


def _lines(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _lines(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = (*path, str(index))
            yield inner, value.start_mark.line + 1
            yield from _lines(value, inner)


def _explain(problem: Any, lines: dict[KeyPath, int], name: str) -> str:
    path = tuple(str(part) for part in problem["loc"])
    while path and path not in lines:
        path = path[:-1]
    key = ".".join(path) or "the file"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = f"unknown key '{path[-1]}'.{nearest(path[-1], _keys(Policy, path[:-1]))}"
    elif problem["type"] == "missing":
        message = f"missing key '{problem['loc'][-1]}'"
    elif problem["type"] in ("literal_error", "enum"):
        given = str(problem["input"])
        expected = str(problem.get("ctx", {}).get("expected", ""))
        valid = [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
        message = f"unknown value '{given}'.{nearest(given, valid)}"
        if "Valid:" not in message:
            message += f" Expected {expected}."
    elif "input" in problem and not isinstance(problem["input"], dict) and repr(problem["input"]) not in message:
        given = str(problem["input"])
        if given not in message:
            message += f" (got {problem['input']!r})"
    return f"{name}:{lines.get(path, 1)}: {key}: {message}"


def _keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the valid keys below `path` of the policy."""
    current: type[BaseModel] | None = model
    for part in path:
        field = current.model_fields.get(part) if current else None
        current = _model_in(field.annotation) if field else current
    return [field.alias or key for key, field in current.model_fields.items()] if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
