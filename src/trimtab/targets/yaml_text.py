"""The text of YAML files that targets write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

BREAKS = frozenset("\r\x85\u2028\u2029")
"""Ends of lines that a plain text or a block would lose; in double quotes they are escaped."""


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and items of lists indented below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out each time: readers of Kubernetes files expect no anchors."""
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = '"' if BREAKS & set(value) else "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def yaml_text(*documents: Any, width: int = 120) -> str:
    """Return values as YAML documents, keys in their order. width: at which long texts are folded."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)


def header(target: str, *notes: str, verb: str = "export") -> str:
    """Return the comment that a written file begins with."""
    lines = (f"Written by trimtab {verb} {target} from trimtab.yaml; change that, and write it again.", *notes)
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def yaml_file(target: str, *documents: Any, notes: Sequence[str] = ()) -> str:
    """Return the text of a YAML file with its first comment."""
    return header(target, *notes) + yaml_text(*documents)
