"""A version of a prompt as the Markdown file that says it, for people, diffs and new files."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from trimtab.bundle.prompt_spec import PromptSpec
from trimtab.llm.prompt_file import FENCE

WIDTH = 110


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
    front = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=WIDTH)
    messages = "\n\n".join(f"# {message.role}\n\n{message.text}" for message in spec.messages)
    return f"{FENCE}\n{front}{FENCE}\n{messages}\n"
