"""Texts of programs that are package data: `templates/NAME.tmpl`, with @NAMES@ that a target fills in. Pure."""

from __future__ import annotations

import re
from importlib import resources

FIELD = re.compile(r"@([A-Z_]+)@")


def filled(name: str, **values: str) -> str:
    """Return a template with its fields filled in. Raises KeyError for a field without a value."""
    text = resources.files("trimtab.targets").joinpath("templates", f"{name}.tmpl").read_text(encoding="utf-8")
    return FIELD.sub(lambda match: values[match[1]], text)
