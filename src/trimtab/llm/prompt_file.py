"""Files of prompts: Markdown with front matter, and one heading a message. Errors name file and line.

---
description: sorts tickets into five queues
params: { temperature: 0 }
variables: { ticket: { max_chars: 8000 } }
---
# system
Sort the ticket into one queue.
# user
{{ ticket }}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from trimtab.bundle.prompt_spec import MessageTemplate, VariableSpec
from trimtab.errors import DefinitionError, nearest
from trimtab.llm.template_text import TemplateError, sections_of, variables_of
from trimtab.policy.reader import read_yaml

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)
KEYS = ("description", "endpoint", "model", "params", "variables", "output", "tools", "examples", "tune")
IN_BOTH = ("endpoint", "model", "params", "variables", "output", "tools")
"""Keys that are arguments of tt.Prompt, too."""
EXAMPLES = "examples"
"""What `tune` calls the choice and order of the examples; other names are sections."""
FENCE = "---"
_HEADING = re.compile(r"#[ \t]+(?P<word>\w+)[ \t]*:?[ \t]*")
_CODE = re.compile(r"[ \t]{0,3}(?P<sign>`{3,}|~{3,})")


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """What a file says, with the lines where it says it.

    Attributes:
        name: how messages name the file.
        keys: of the front matter, as YAML gives them.
        lines: line of each key of the front matter, by its path.
        messages: in order; lines of sections stand in their texts.
        starts: line on which the text of each message begins.
    """

    name: str
    keys: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]
    messages: tuple[MessageTemplate, ...]
    starts: tuple[int, ...]

    def place(self, *path: str) -> str:
        """Return file and line of a key of the front matter, or of its nearest parent that is there."""
        line = next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)
        return f"{self.name}:{line}"

    def place_in(self, message: int, offset: int) -> str:
        """Return file and line of a character of a message."""
        return f"{self.name}:{self.starts[message] + self.messages[message].text.count(chr(10), 0, offset)}"

    def used_in(self, message: int) -> dict[str, str]:
        """Return the variables of a message with file and line of their first place. Raises DefinitionError."""
        try:
            found = variables_of(self.messages[message].text)
        except TemplateError as error:
            raise DefinitionError(f"{self.place_in(message, error.offset)}: {error}") from None
        return {name: self.place_in(message, offset) for name, offset in found.items()}

    @property
    def used(self) -> dict[str, str]:
        """Variable of all messages -> file and line of its first place. Raises DefinitionError."""
        found: dict[str, str] = {}
        for number in range(len(self.messages)):
            found = {**self.used_in(number), **found}
        return found

    @property
    def sections(self) -> dict[str, str]:
        """Section -> its text. Raises DefinitionError."""
        found: dict[str, str] = {}
        for number, message in enumerate(self.messages):
            try:
                for name, start, end in sections_of(message.text):
                    if name in found:
                        raise TemplateError(f"there are two sections '{name}'; rename one", start)
                    if name == EXAMPLES:
                        raise TemplateError(f"'{EXAMPLES}' is no name of a section: `tune` means the examples", start)
                    found[name] = message.text[start:end]
            except TemplateError as error:
                raise DefinitionError(f"{self.place_in(number, error.offset)}: {error}") from None
        return found

    def variables(self) -> dict[str, VariableSpec]:
        """Return the variables that the front matter lists. Raises DefinitionError."""
        given: Any = self.keys.get("variables")
        if isinstance(given, list):
            given = dict.fromkeys(given)
        if given is not None and not isinstance(given, dict):
            raise DefinitionError(f"{self.place('variables')}: variables: expected names, such as {{ ticket: {{}} }}")
        return {name: self._variable(name, options or {}) for name, options in (given or {}).items()}

    def _variable(self, name: Any, options: Any) -> VariableSpec:
        where = f"{self.place('variables', str(name))}: variables.{name}"
        if not isinstance(name, str) or not name.isidentifier():
            raise DefinitionError(f"{where}: expected a name of letters, digits and underscores")
        if not isinstance(options, dict):
            raise DefinitionError(f"{where} is {options!r}; expected such as {{ max_chars: 8000 }}")
        for key in options:
            if key not in VariableSpec.__struct_fields__:
                raise DefinitionError(
                    f"{where}: unknown key '{key}'.{nearest(str(key), VariableSpec.__struct_fields__)}"
                )
        trusted, default, longest = (options.get(key) for key in ("trusted", "default", "max_chars"))
        if trusted not in (None, True, False):
            raise DefinitionError(f"{where}: trusted is {trusted!r}; expected true or false")
        if longest is not None and (not isinstance(longest, int) or isinstance(longest, bool) or longest < 1):
            raise DefinitionError(f"{where}: max_chars is {longest!r}; expected a whole number from 1 on")
        if default is not None and not isinstance(default, str | int | float):
            raise DefinitionError(f"{where}: default is {default!r}; expected text")
        text = None if default is None else str(default)
        if text is not None and longest is not None and len(text) > longest:
            raise DefinitionError(f"{where}: default has {len(text):,} characters, and max_chars is {longest:,}")
        return VariableSpec(trusted=bool(trusted), default=text, max_chars=longest)


def read_prompt_file(path: Path, name: str) -> PromptFile:
    """Read and check a file of a prompt. name: how messages name it, such as its path in the project.

    Raises:
        DefinitionError: there is no such file, it is no UTF-8 text, or it has another form.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = [each.name for each in path.parent.glob("*.md")] if path.parent.is_dir() else []
        raise DefinitionError(f"{name}: there is no such file.{nearest(path.name, near)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{name}: cannot be read as UTF-8 text: {error}") from None
    return parse_prompt_file(text, name)


def parse_prompt_file(text: str, name: str) -> PromptFile:
    """Parse the text of a file of a prompt. Raises DefinitionError naming `name` and the line."""
    rows = text.replace("\r\n", "\n").split("\n")
    keys, lines, body = _front_matter(rows, name)
    messages, starts = _messages(rows, body, name)
    made = PromptFile(name=name, keys=keys, lines=lines, messages=messages, starts=starts)
    for key in keys:
        if key not in KEYS:
            raise DefinitionError(f"{made.place(str(key))}: unknown key '{key}'.{nearest(str(key), KEYS)}")
    return made


def _front_matter(rows: list[str], name: str) -> tuple[dict[str, Any], dict[tuple[str, ...], int], int]:
    """Return keys, their lines, and the index of the row after the front matter."""
    if not rows or rows[0].rstrip() != FENCE:
        return {}, {}, 0
    end = next((number for number, row in enumerate(rows[1:], start=1) if row.rstrip() == FENCE), None)
    if end is None:
        raise DefinitionError(f"{name}:1: the front matter has no end; expected a line '{FENCE}'")
    keys, lines = read_yaml("\n".join(rows[1:end]), name, DefinitionError, above=1)
    if keys is not None and not isinstance(keys, dict):
        raise DefinitionError(f"{name}:2: expected keys such as 'model: small-model'.{nearest('', KEYS)}")
    return keys or {}, lines, end + 1


def _messages(rows: list[str], body: int, name: str) -> tuple[tuple[MessageTemplate, ...], tuple[int, ...]]:
    found: list[tuple[Role, int, list[str]]] = []
    fence = ""
    for number, row in enumerate(rows[body:], start=body + 1):
        code = _CODE.match(row)
        if code is not None and (not fence or row.strip().startswith(fence)):
            fence = "" if fence else code["sign"]
        heading = None if fence else _HEADING.fullmatch(row)
        role = _role(heading["word"], f"{name}:{number}") if heading is not None else None
        if role is not None:
            if role == "system" and any(other != "system" for other, _, _ in found):
                raise DefinitionError(f"{name}:{number}: a system message comes before the others")
            found.append((role, number, []))
        elif found:
            found[-1][2].append(row)
        elif row.strip():
            raise DefinitionError(
                f"{name}:{number}: text before the first message; begin messages with a line '# system', '# user' or "
                "'# assistant'"
            )
    if not found:
        raise DefinitionError(f"{name}: there is no message; begin one with a line '# system' or '# user'")
    messages, starts = [], []
    for role, number, texts in found:
        blank = next((n for n, row in enumerate(texts) if row.strip()), None)
        if blank is None:
            raise DefinitionError(f"{name}:{number}: the message is empty")
        messages.append(MessageTemplate(role=role, text="\n".join(texts[blank:]).rstrip()))
        starts.append(number + 1 + blank)
    return tuple(messages), tuple(starts)


def _role(word: str, place: str) -> Role | None:
    """Return the role that a heading of one word names; None for an ordinary heading."""
    name = word.casefold()
    for role in ROLES:
        if name == role:
            return role
    if close := get_close_matches(name, ROLES, n=1, cutoff=0.8):
        raise DefinitionError(f"{place}: '# {word}' begins no message. Did you mean '# {close[0]}'?")
    return None
