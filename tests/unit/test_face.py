"""The face of the package: what it names is there, and importing it loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import trimtab

FACE = Path(trimtab.__file__)
HEAVY = ("numpy", "polars", "pyarrow", "pandas", "mlflow", "sklearn", "scipy", "onnxruntime", "pydantic", "msgspec")


def test_names_are_sorted_and_named_once() -> None:
    assert trimtab.__all__ == sorted(set(trimtab.__all__))


def test_every_name_has_a_home() -> None:
    assert set(trimtab.__all__) == set(trimtab._HOMES)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(FACE.read_text())
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == trimtab._HOMES


@pytest.mark.parametrize("name", trimtab.__all__)
def test_every_name_resolves(name: str) -> None:
    assert getattr(trimtab, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'trimtab' has no attribute 'pipeline'"):
        _ = trimtab.pipeline


def test_dir_shows_the_names_before_they_are_used() -> None:
    done = run("import trimtab; print(*dir(trimtab))")
    assert set(trimtab.__all__) <= set(done.split())


@pytest.mark.parametrize(
    "statement",
    ["import trimtab", "import trimtab; trimtab.Model; trimtab.FeatureView; trimtab.mean", "import trimtab.errors"],
)
def test_importing_loads_no_heavy_library(statement: str) -> None:
    loaded = run(f"{statement}\nimport sys\nprint(*sys.modules)").split()
    assert [name for name in HEAVY if name in loaded] == []


def run(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
