"""Values that users of a chart may change, as parts of resources.

A resource is a Python value in which `Value`, `Joined` and `Digest` stand where the chart has a value. `plain` puts the
defaults in, for Kustomize; `template` writes a Helm template. So a chart with its default values gives the same
resources as the base of Kustomize.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.targets.yaml_text import yaml_text

_MARK = re.compile(r"'?<<(\d+)>>'?")


@dataclass(frozen=True)
class Value:
    """One value of the chart.

    key: path in values.yaml, with points. default: a value of JSON. about: its meaning. schema: its JSON Schema.
    """

    key: str
    default: Any
    about: str
    schema: Mapping[str, Any] = field(default_factory=dict)

    @property
    def expression(self) -> str:
        """Go template without braces."""
        return f".Values.{self.key}"


@dataclass(frozen=True)
class BuiltIn:
    """One value that Helm has: the name of the release, the version of the application."""

    expression: str
    default: Any


@dataclass(frozen=True)
class Joined:
    """Values in a text; form has one %s for each."""

    form: str
    values: tuple[Value | BuiltIn | Either, ...]


@dataclass(frozen=True)
class Either:
    """A value, or another one where it is empty."""

    value: Value
    otherwise: BuiltIn

    @property
    def default(self) -> Any:
        """The value with defaults."""
        return self.value.default or self.otherwise.default

    @property
    def expression(self) -> str:
        """Go template without braces."""
        return f"({self.value.expression} | default {self.otherwise.expression})"


@dataclass(frozen=True)
class Digest:
    """SHA-256 of a text, which changes the pods when the text changes."""

    value: Value


@dataclass(frozen=True)
class Resource:
    """One object of Kubernetes. file: name of its file without ending. when: it is there only if this value is true."""

    file: str
    content: Mapping[str, Any]
    when: Value | None = None


def plain(part: Any) -> Any:
    """Return a part of a resource with defaults in place of values; keys whose value is None are left out."""
    if isinstance(part, (Value, BuiltIn, Either)):
        return plain(part.default)
    if isinstance(part, Joined):
        return part.form % tuple(each.default for each in part.values)
    if isinstance(part, Digest):
        return hashlib.sha256(part.value.default.encode()).hexdigest()
    if isinstance(part, Mapping):
        found = {key: plain(value) for key, value in part.items()}
        return {key: value for key, value in found.items() if value is not None}
    if isinstance(part, (list, tuple)):
        return [plain(each) for each in part]
    return part


def template(resource: Resource) -> str:
    """Return a resource as a Helm template."""
    expressions: list[str] = []

    def marked(part: Any) -> Any:
        if isinstance(part, (Value, BuiltIn, Either)):
            expressions.append(f"{part.expression} | toJson")
        elif isinstance(part, Joined):
            values = " ".join(each.expression for each in part.values)
            expressions.append(f"printf {json.dumps(part.form)} {values} | toJson")
        elif isinstance(part, Digest):
            expressions.append(f"{part.value.expression} | sha256sum | toJson")
        elif isinstance(part, Mapping):
            return {key: marked(value) for key, value in part.items()}
        elif isinstance(part, (list, tuple)):
            return [marked(each) for each in part]
        else:
            return part
        return f"<<{len(expressions) - 1}>>"

    text = yaml_text(marked(resource.content))
    assert "{{" not in text, "braces of Go templates in a fixed part of a resource"
    text = _MARK.sub(lambda found: f"{{{{ {expressions[int(found[1])]} }}}}", text)
    if resource.when is None:
        return text
    return f"{{{{- if {resource.when.expression} }}}}\n{text}{{{{- end }}}}\n"


def values_in(part: Any) -> Iterator[Value]:
    """Yield all values of a part, in their order."""
    if isinstance(part, Resource):
        yield from values_in(part.when)
        yield from values_in(part.content)
    elif isinstance(part, Value):
        yield part
    elif isinstance(part, (Digest, Either)):
        yield part.value
    elif isinstance(part, Joined):
        for each in part.values:
            yield from values_in(each)
    elif isinstance(part, Mapping):
        for each in part.values():
            yield from values_in(each)
    elif isinstance(part, (list, tuple)):
        for each in part:
            yield from values_in(each)


def values_of(resources: Sequence[Resource]) -> list[Value]:
    """Return each value once, by key."""
    found = {value.key: value for resource in resources for value in values_in(resource)}
    return [found[key] for key in sorted(found)]


def values_yaml(values: Sequence[Value]) -> str:
    """Return values.yaml: each value below its meaning."""
    return "".join(_lines(_tree(values), 0))


def _tree(values: Sequence[Value]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for value in values:
        *above, last = value.key.split(".")
        inner = tree
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return tree


def _lines(tree: Mapping[str, Any], depth: int) -> Iterator[str]:
    space = "  " * depth
    for name, value in tree.items():
        if isinstance(value, Value):
            yield f"{space}# {value.about}\n"
            text = yaml_text({name: plain(value)}) if value.default is not None else f"{name}: null\n"
            yield "".join(f"{space}{line}" if line.strip() else line for line in text.splitlines(keepends=True))
        else:
            yield f"{space}{name}:\n"
            yield from _lines(value, depth + 1)


def values_schema(values: Sequence[Value]) -> dict[str, Any]:
    """Return the JSON Schema of values.yaml, which refuses unknown keys."""

    def of(tree: Mapping[str, Any]) -> dict[str, Any]:
        properties = {
            name: {"description": each.about, **each.schema} if isinstance(each, Value) else of(each)
            for name, each in tree.items()
        }
        return {"type": "object", "additionalProperties": False, "properties": properties}

    found = of(_tree(values))
    found["properties"]["global"] = {"type": "object", "description": "Values that Helm gives to all charts."}
    return {"$schema": "https://json-schema.org/draft-07/schema#", **found}


def values_table(values: Sequence[Value]) -> str:
    """Return the values as a Markdown table."""
    rows = []
    for value in values:
        default = "the policy" if value.key == "policy" else f"`{json.dumps(value.default)}`"
        rows.append(f"| `{value.key}` | {default} | {value.about} |\n")
    return "| Value | Default | Meaning |\n|---|---|---|\n" + "".join(rows)
