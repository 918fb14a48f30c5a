r"""Texts of prompts with variables: `{{ name }}` stands for one, and there is no logic.

`<!-- section: NAME -->` on a line of its own begins a section, which a search may change; `<!-- /section -->`, the next
section or the end of the message ends it. These lines are never sent. `\{{` is the text `{{`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

SECTION = re.compile(
    r"^[ \t]*<!--\s*(?:section:\s*(?P<name>[^\s>]*)|(?P<end>/section))\s*-->[ \t]*(?:\n|\Z)", re.MULTILINE
)
MISSPELT = re.compile(r"<!--\s*/?\s*sections?\b[^>]*>", re.IGNORECASE)
_TOKEN = re.compile(r"\\(?P<escaped>\{[{%])|\{\{(?P<inner>[^{}]*)\}\}|(?P<open>\{\{)|(?P<logic>\{%)")


class TemplateError(ValueError):
    """A text is no template. offset: where in it, in characters."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class Piece(NamedTuple):
    """A stretch of a template: text as it is sent, or the name of a variable."""

    text: str
    is_variable: bool
    offset: int


class Section(NamedTuple):
    """A named stretch of a template, in characters; its text has no white space around it."""

    name: str
    start: int
    end: int


def pieces(text: str) -> list[Piece]:
    """Return text and variables of a template in order, without the lines of sections. Raises TemplateError."""
    found: list[Piece] = []
    for start, end in _between_markers(text):
        place = start
        for token in _TOKEN.finditer(text, start, end):
            if token.start() > place:
                found.append(Piece(text[place : token.start()], False, place))
            place = token.end()
            found.append(_piece(token))
        if end > place:
            found.append(Piece(text[place:end], False, place))
    return found


def variables_of(text: str) -> dict[str, int]:
    """Return the variables of a template with the offset of their first place. Raises TemplateError."""
    found: dict[str, int] = {}
    for piece in pieces(text):
        if piece.is_variable:
            found.setdefault(piece.text, piece.offset)
    return found


def sections_of(text: str) -> list[Section]:
    """Return the sections of a template in order. Raises TemplateError."""
    found: list[Section] = []
    markers = list(SECTION.finditer(text))
    taken = {marker.start() for marker in markers}
    for other in MISSPELT.finditer(text):
        if text.rfind("\n", 0, other.start()) + 1 not in taken:
            raise TemplateError(
                f"'{other[0]}' is no section; expected a line of its own such as <!-- section: instructions -->, or "
                "<!-- /section -->",
                other.start(),
            )
    for number, marker in enumerate(markers):
        if marker["end"]:
            if number == 0 or markers[number - 1]["end"]:
                raise TemplateError("this line ends no section", marker.start())
            continue
        name = marker["name"]
        if not name.isidentifier():
            raise TemplateError(
                f"'{name}' is no name of a section; expected letters, digits and underscores", marker.start()
            )
        end = markers[number + 1].start() if number + 1 < len(markers) else len(text)
        inner = text[marker.end() : end]
        start = marker.end() + len(inner) - len(inner.lstrip())
        found.append(Section(name, start, max(start, marker.end() + len(inner.rstrip()))))
    return found


def with_sections(text: str, changes: Mapping[str, str]) -> str:
    """Return a template with other texts in some of its sections."""
    for name, start, end in reversed(sections_of(text)):
        if name in changes:
            text = text[:start] + changes[name].strip() + text[end:]
    return text


def _between_markers(text: str) -> Iterator[tuple[int, int]]:
    place = 0
    for marker in SECTION.finditer(text):
        yield place, marker.start()
        place = marker.end()
    yield place, len(text)


def _piece(token: re.Match[str]) -> Piece:
    if token["escaped"]:
        return Piece(token["escaped"], False, token.start())
    if token["open"]:
        raise TemplateError(
            r"'{{' begins no variable; expected such as {{ ticket }}, or \{{ for the text itself", token.start()
        )
    if token["logic"]:
        raise TemplateError(
            r"prompts have no logic, so '{%' means nothing; write \{% for the text itself", token.start()
        )
    name = token["inner"].strip()
    if not name.isidentifier():
        raise TemplateError(
            f"'{token[0]}' is no variable; expected a name alone, such as {{{{ ticket }}}}", token.start()
        )
    return Piece(name, True, token.start())
