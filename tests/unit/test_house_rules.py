"""Rules of the house that no other tool holds, checked on the source itself."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import trimtab

SOURCE = Path(trimtab.__file__).parent
MAX_LINES = 500
CLOCK, SETTINGS = "clock.py", "settings.py"
NAMES_THAT_SAY_NOTHING = ("base", "common", "helpers", "misc", "util", "utils")
ASKS_FOR_TIME = {
    "date.today",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.now",
    "datetime.today",
    "datetime.utcnow",
    "time.sleep",
    "time.time",
    "time.time_ns",
}
READS_ENVIRONMENT = {"environ", "getenv", "os.environ", "os.environb", "os.getenv", "os.putenv"}


def offenders(rule: Callable[[ast.Module], Iterator[ast.AST]], *, but: str = "") -> list[str]:
    """Return the places in all files, `but` one, that a rule points at."""
    return [
        f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 1)}: {ast.unparse(node)[:80]}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).as_posix() != but
        for node in rule(ast.parse(path.read_text(encoding="utf-8")))
    ]


def using(names: set[str]) -> Callable[[ast.Module], Iterator[ast.AST]]:
    """Return a rule that points at uses of dotted names."""

    def rule(tree: ast.Module) -> Iterator[ast.AST]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in names:
                yield node

    return rule


def own_imports_in_functions(tree: ast.Module) -> Iterator[ast.AST]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                if any(name.split(".")[0] == "trimtab" for name in names):
                    yield node


def without_docstring(tree: ast.Module) -> Iterator[ast.AST]:
    if ast.get_docstring(tree) is None:
        yield tree


def test_only_the_clock_asks_for_the_time() -> None:
    assert offenders(using(ASKS_FOR_TIME), but=CLOCK) == []


def test_only_the_settings_read_the_environment() -> None:
    assert offenders(using(READS_ENVIRONMENT), but=SETTINGS) == []


def test_own_modules_are_imported_at_the_top() -> None:
    assert offenders(own_imports_in_functions) == []


def test_every_file_says_what_it_is() -> None:
    assert offenders(without_docstring) == []


def test_every_file_can_be_read_in_one_sitting() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert {path.name: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_files_are_named_after_what_they_hold() -> None:
    assert [path for path in SOURCE.rglob("*.py") if path.stem in NAMES_THAT_SAY_NOTHING] == []


def test_the_rules_do_see_what_they_look_for() -> None:
    tree = ast.parse(
        "import os\ndef f():\n    from trimtab.clock import EPOCH\n    return os.environ, datetime.now()\n"
    )
    assert len(list(using(READS_ENVIRONMENT)(tree))) == 1
    assert len(list(using(ASKS_FOR_TIME)(tree))) == 1
    assert len(list(own_imports_in_functions(tree))) == 1
    assert len(list(without_docstring(tree))) == 1
