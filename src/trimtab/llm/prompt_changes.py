"""Changes of what a search may change in a prompt: texts of sections, and examples. In a version, and in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from trimtab.bundle.prompt_spec import PromptSpec
from trimtab.errors import DataError, DefinitionError, nearest
from trimtab.llm.chat_messages import MessageRenderer
from trimtab.llm.prompt_file import EXAMPLES, FENCE, parse_prompt_file
from trimtab.llm.prompt_markdown import to_markdown, yaml_of
from trimtab.llm.template_text import MISSPELT, with_sections

Examples = Sequence[Mapping[str, Any]]


def with_changes(
    spec: PromptSpec, sections: Mapping[str, str] | None = None, examples: Examples | None = None
) -> PromptSpec:
    """Return a version with other texts or examples; None leaves the examples as they are.

    Raises DataError for what `tune` of the prompt does not name, and for a text that is no part of a template: it has
    the line of a section or message, an unknown variable, or an untrusted one in a system message.
    """
    given = {name: text.strip() for name, text in (sections or {}).items()}
    for name in (*given, *([EXAMPLES] if examples is not None else ())):
        if name not in spec.tune:
            raise DataError(f"`tune` of prompt '{spec.name}' does not name '{name}'.{nearest(name, spec.tune)}")
    for name, text in given.items():
        if not text:
            raise DataError(f"section '{name}': the new text is empty")
        if MISSPELT.search(text):
            raise DataError(f"section '{name}': the new text has the line of a section")
    made = replace(
        spec,
        messages=tuple(replace(each, text=with_sections(each.text, given)) for each in spec.messages),
        sections={**spec.sections, **given},
        examples=spec.examples if examples is None else tuple(dict(each) for each in examples),
    )
    MessageRenderer(made)
    _expect_same_messages(made)
    return made


def file_with_changes(
    text: str, sections: Mapping[str, str] | None = None, examples: Examples | None = None, *, name: str = "prompt"
) -> str:
    """Return the text of a prompt's file with the changes; all else in it stays as it is, comments too.

    Raises DefinitionError for a file that is wrong before or after.
    """
    parse_prompt_file(text, name)
    changed = with_sections(text, sections or {})
    if examples is not None:
        changed = _with_examples(changed, examples, name)
    parse_prompt_file(changed, name)
    return changed


def _expect_same_messages(spec: PromptSpec) -> None:
    """Refuse a text that a file could not hold, such as one with the heading of a message. Raises DataError."""
    try:
        again = parse_prompt_file(to_markdown(spec), spec.name)
    except DefinitionError as error:
        raise DataError(f"the new text is no part of a prompt: {error}") from None
    if again.messages != spec.messages or again.sections != spec.sections:
        raise DataError("the new text is no part of a prompt: it has a line that begins a message or a section")


def _with_examples(text: str, examples: Examples, name: str) -> str:
    """Return a file with other examples in its front matter."""
    rows = text.split("\n")
    written = yaml_of({EXAMPLES: [dict(each) for each in examples]})
    block = written.rstrip("\n").split("\n") if examples else []
    if rows[0].rstrip() != FENCE:
        return "\n".join([FENCE, *block, FENCE, *rows])
    end = next(number for number, row in enumerate(rows[1:], start=1) if row.rstrip() == FENCE)
    tops = sorted(line - 1 for path, line in parse_prompt_file(text, name).lines.items() if len(path) == 1)
    line = parse_prompt_file(text, name).lines.get((EXAMPLES,))
    start = end if line is None else line - 1
    stop = end if line is None else next((top for top in tops if top > start), end)
    return "\n".join([*rows[:start], *block, *rows[stop:]])
