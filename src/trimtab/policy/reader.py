"""Reads trimtab.yaml; every error names file, line, key, what was expected and the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trimtab.errors import PolicyError, TrimtabError
from trimtab.policy.complaints import complaint
from trimtab.policy.model import Policy
from trimtab.policy.tree import KeyPath
from trimtab.policy.values import FROM_FILE


class _Loader(yaml.SafeLoader):
    """Takes keys such as `on` and `no` as texts, as YAML 1.2 does; YAML 1.1 takes them as true and false."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"


def read_policy(path: Path) -> Policy:
    """Read and check the policy file. Raises PolicyError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PolicyError(
            f"{path}: no such file. Is this a project folder? Make one with: trimtab init flights"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    return parse_policy(text, str(path))


def parse_policy(text: str, name: str = "trimtab.yaml") -> Policy:
    """Parse the text of a policy file. Raises PolicyError naming `name` and the line."""
    data, lines = read_yaml(text, name)
    if not isinstance(data, dict):
        raise PolicyError(f"{name}:1: expected keys such as 'project: my-project' at the top level")
    try:
        return Policy.model_validate(data, context=FROM_FILE)
    except ValidationError as error:
        found = sorted({complaint(problem, lines) for problem in error.errors(include_url=False)})
        raise PolicyError("\n".join(f"{name}:{line}: {text}" for line, text in found)) from None


def read_yaml(
    text: str, name: str, error_type: type[TrimtabError] = PolicyError, *, above: int = 0
) -> tuple[Any, dict[KeyPath, int]]:
    """Return the values of a YAML text, and the line of every key.

    name: of the file, for messages. above: lines of the file before the text. Raises error_type for what is no YAML,
    and for a key that is given twice.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = _index(node, name, error_type, above)
        return yaml.load(text, Loader=_Loader), lines
    except yaml.MarkedYAMLError as error:
        raise error_type(f"{name}:{_line(error) + above}: not valid YAML: {_why(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 + above
        raise error_type(f"{name}:{line}: not valid YAML: {error.reason} (#x{error.character:04x})") from None


def policy_data(text: str) -> dict[str, Any]:
    """Return what the text of a valid policy file says, as plain values."""
    found: dict[str, Any] = yaml.load(text, Loader=_Loader)
    return found


def line_of(path: Path, key: str) -> int:
    """Return the line of a dotted key of a policy file, or of its nearest parent that is there."""
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    lines = _index(node, str(path))
    parts = tuple(key.split("."))
    return next((lines[parts[:n]] for n in range(len(parts), 0, -1) if parts[:n] in lines), 1)


def _index(
    node: yaml.Node | None, name: str, error_type: type[TrimtabError] = PolicyError, above: int = 0
) -> dict[KeyPath, int]:
    """Return the line of every key. Raises error_type for a key that is given twice."""
    lines: dict[KeyPath, int] = {}
    for path, line in _lines(node, (), ()) if node else ():
        if path in lines:
            raise error_type(
                f"{name}:{line + above}: {'.'.join(path)}: this key is given twice (first on line {lines[path]})"
            )
        lines[path] = line + above
    return lines


def _lines(node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]) -> Iterator[tuple[KeyPath, int]]:
    if node in above:
        raise yaml.MarkedYAMLError(problem="an alias leads back to itself", problem_mark=node.start_mark)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _lines(value, inner, (*above, node))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = (*path, str(index))
            yield inner, value.start_mark.line + 1
            yield from _lines(value, inner, (*above, node))


def _line(error: yaml.MarkedYAMLError) -> int:
    return error.problem_mark.line + 1 if error.problem_mark else 1


def _why(error: yaml.MarkedYAMLError) -> str:
    why = ", ".join(part for part in (error.context, error.problem) if part)
    return why + "; indent with spaces" if "'\\t'" in why else why
