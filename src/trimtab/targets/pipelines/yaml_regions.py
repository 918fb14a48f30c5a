"""YAML files with regions that belong to the user."""

from __future__ import annotations

import re
from typing import Any

from trimtab.targets.kept_regions import region
from trimtab.targets.yaml_text import header, yaml_text

_MARK = re.compile(r"^(?P<space> *)(?:- )?yours\.(?P<name>[\w-]+)(?:: null)?\n", re.MULTILINE)
WIDE = 4000
"""A line of a shell is never folded, so that it can be copied."""


def region_item(name: str) -> str:
    """Return what stands for an empty region in a list."""
    return f"yours.{name}"


def region_key(name: str) -> dict[str, None]:
    """Return what stands for an empty region in a mapping."""
    return {region_item(name): None}


def file_with_regions(verb: str, target: str, document: dict[str, Any], *notes: str) -> str:
    """Return the text of a YAML file with its first comment, and regions in place of what stands for them."""

    def lines(mark: re.Match[str]) -> str:
        return region(mark["name"], indent=len(mark["space"]))

    kept = "Lines between 'trimtab: yours' and 'trimtab: end' are kept."
    return header(target, kept, *notes, verb=verb) + _MARK.sub(lines, yaml_text(document, width=WIDE))
