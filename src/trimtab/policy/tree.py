"""The tree of keys of trimtab.yaml."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, RootModel

from trimtab.policy.model import Checks, Policy, TableCheck

KeyPath = tuple[str, ...]


def below(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the section that a field holds, and whether it holds many of them by name."""
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return below(annotation.model_fields["root"].annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    arguments = get_args(annotation)
    section = next((part for part in arguments if isinstance(part, type) and issubclass(part, BaseModel)), None)
    return section, section is not None and arguments[0] is str


def valid_keys(path: KeyPath) -> list[str]:
    """Return the keys that may stand below `path`; none where any name may."""
    section: type[BaseModel] | None = Policy
    named = False
    for part in path:
        if section is None:
            return []
        field = None if named else section.model_fields.get(part)
        if field is not None:
            section, named = below(field.annotation)
        elif section is Checks:
            section = TableCheck
        elif not named:
            section = None
        else:
            named = False
    return [] if section is None or named else [field.alias or key for key, field in section.model_fields.items()]
