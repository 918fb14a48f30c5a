"""A version of a prompt as the Markdown file that says it, for people, diffs and new files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from trimtab.bundle.prompt_spec import PromptSpec
from trimtab.llm.prompt_file import FENCE

WIDTH = 110
LINE_SIGNS = "\x85\u2028\u2029"
"""What YAML takes for an end of a line where it stands as it is, and Markdown does not."""


def yaml_of(keys: Mapping[str, Any]) -> str:
    """Return keys of a front matter as YAML."""
    written = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True, width=WIDTH)
    if any(sign in written for sign in LINE_SIGNS):
        written = yaml.safe_dump(keys, sort_keys=False, allow_unicode=False, width=WIDTH)
    return str(written)


def to_markdown(spec: PromptSpec) -> str:
    """Return the file of a version: reading it gives the same messages, variables and front matter.

    The front matter has endpoint and model, too, and the JSON schema in the place of a model's name. What only
    definitions.py can say, retriever and fallbacks, is left out.
    """
    variables = msgspec.to_builtins(spec.variables)
    keys: dict[str, Any] = {
        "description": spec.description,
        "endpoint": spec.target.endpoint.name,
        "model": spec.target.model,
        "params": dict(spec.params),
        "variables": variables,
        "output": spec.schema,
        "tools": [dict(each) for each in spec.tools],
        "examples": [dict(each) for each in spec.examples],
        "tune": list(spec.tune),
    }
    plain = msgspec.to_builtins({name: value for name, value in keys.items() if value})
    front = yaml_of(plain)
    messages = "\n\n".join(f"# {message.role}\n\n{message.text}" for message in spec.messages)
    return f"{FENCE}\n{front}{FENCE}\n{messages}\n"
