"""Regions of a written file that belong to the user: what stands in them is kept when the file is written again.

A region lies between two comment lines, `# trimtab: yours NAME` and `# trimtab: end NAME` (`//` in Groovy). Targets put
empty ones where people add to such files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trimtab.errors import StageError

BEGIN = re.compile(r"^[ \t]*(?:#|//)[ \t]*trimtab: yours (?P<name>[\w-]+)[ \t]*$")
END = re.compile(r"^[ \t]*(?:#|//)[ \t]*trimtab: end (?P<name>[\w-]+)[ \t]*$")


def region(name: str, *, indent: int = 0, comment: str = "#", text: str = "") -> str:
    """Return the lines of a region. text: what it holds until the user changes it."""
    space = " " * indent
    return f"{space}{comment} trimtab: yours {name}\n{text}{space}{comment} trimtab: end {name}\n"


def merge(made: str, found: str, path: str) -> str:
    """Return the text of a file as it is made now, with the regions that the file has.

    Args:
        made: text as it is made now.
        found: text that the file has.
        path: of the file, for errors.

    Raises:
        StageError: a region does not end, or it stands in `found` with lines of the user and no longer in `made`.
    """
    kept = dict(_regions(found, path))
    ours = dict(_regions(made, path))
    lost = [name for name, lines in kept.items() if lines and name not in ours]
    if lost:
        raise StageError(
            f"{path}: the region '{lost[0]}' holds lines of yours and is no longer part of this file; move them and "
            "remove the region, then write again"
        )
    lines: list[str] = []
    skipping = False
    for line in made.splitlines(keepends=True):
        if (begin := BEGIN.match(line)) is not None and begin["name"] in kept:
            lines += [line, *kept[begin["name"]]]
            skipping = True
        elif END.match(line):
            skipping = False
            lines.append(line)
        elif not skipping:
            lines.append(line)
    return "".join(lines)


def _regions(text: str, path: str) -> Iterator[tuple[str, list[str]]]:
    name, lines = "", list[str]()
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        begin, end = BEGIN.match(line), END.match(line)
        if begin is not None or (end is not None and end["name"] != name):
            if name or end is not None:
                raise StageError(
                    f"{path}:{number}: expected '# trimtab: end {name}' before this line"
                    if name
                    else f"{path}:{number}: 'trimtab: end' without a 'trimtab: yours' before it"
                )
            assert begin is not None
            name, lines = begin["name"], []
        elif end is not None:
            yield name, lines
            name = ""
        elif name:
            lines.append(line)
    if name:
        raise StageError(f"{path}: the region '{name}' does not end; expected a line '# trimtab: end {name}'")
