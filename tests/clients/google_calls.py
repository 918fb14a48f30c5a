"""Compares blocks of Terraform with the schema of Google's provider: python google_calls.py FOLDER.

Runs in an environment with python-hcl2 and cdktf-cdktf-provider-google, the classes that HashiCorp made from the schema
of the provider 6.50.0: a resource is a class, an argument or block a keyword of its constructor. Exit code 1 for an
argument that is not there, or a required one that is left out.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hcl2

META = {"count", "for_each", "depends_on", "lifecycle", "provider", "__is_block__", "__comments__"}
Schema = dict[str, tuple[bool, str]]
"""Keyword -> whether it must be given, and its type as text."""


def main(folder: str) -> int:
    """Print each misfit and the number of resources that were compared."""
    problems: list[str] = []
    resources = 0
    for file in sorted(Path(folder).glob("*.tf")):
        with file.open() as text:
            for block in hcl2.load(text).get("resource", []):
                for kind, named in block.items():
                    for name, body in named.items():
                        resources += 1
                        place = f"{file.name}: {plain(kind)}.{plain(name)}"
                        problems += misfits(place, body, *resource(plain(kind).removeprefix("google_")))
    print("\n".join(problems))
    print(f"{resources} resources compared with the schema, {len(problems)} misfits")
    return int(bool(problems))


def plain(name: str) -> str:
    """Return a label without its quotes."""
    return name.strip('"')


@cache
def resource(kind: str) -> tuple[str, dict[str, Schema]]:
    """Return the name of a resource's class, and the keywords of all classes of its module."""
    (package,) = importlib.util.find_spec("cdktf_cdktf_provider_google").submodule_search_locations  # type: ignore[union-attr, misc]  # installed here
    module = ast.parse(Path(package, kind, "__init__.py").read_text())
    classes = {each.name: keywords(each) for each in module.body if isinstance(each, ast.ClassDef)}
    return "".join(part.capitalize() for part in kind.split("_")), classes


def keywords(of: ast.ClassDef) -> Schema:
    """Return the keywords of a constructor."""
    for each in of.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            pairs = zip(each.args.kwonlyargs, each.args.kw_defaults, strict=True)
            return {arg.arg: (default is None, ast.unparse(arg.annotation or arg)) for arg, default in pairs}
    return {}


def misfits(place: str, body: Any, name: str, classes: dict[str, Schema]) -> Iterator[str]:
    """Yield what a block has and its class does not take, and what is missing; of the blocks in it, too."""
    schema = classes[name]
    given: dict[str, Any] = {key: value for key, value in body.items() if key not in META | {"dynamic"}}
    for dynamic in body.get("dynamic", []):
        for key, value in dynamic.items():
            given[plain(key)] = value["content"]
    for key, value in given.items():
        if key not in schema:
            yield f"{place}: '{key}' is not in the schema"
            continue
        nested = next(
            (each for each in classes if f"'{each}'" in schema[key][1] or f'"{each}"' in schema[key][1]), None
        )
        for each in value if isinstance(value, list) else [value]:
            if nested is not None and isinstance(each, dict):
                yield from misfits(f"{place}.{key}", each, nested, classes)
    for key, (required, _) in schema.items():
        if required and key not in given:
            yield f"{place}: '{key}' is required"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
