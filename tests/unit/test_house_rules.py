"""Rules of the house that no other tool holds, checked on the source itself."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import trimtab

SOURCE = Path(trimtab.__file__).parent
TESTS = Path(__file__).parents[1]
MAX_LINES = 500
MAX_FILES = 26
"""In one folder, its __init__.py among them."""
SHARED_NAMES = ("__init__", "contract")
"""Names that files of several packages have: each folder of a store has its contract."""
REGISTRIES = (
    "__init__.py",
    "cli/calling.py",
    "cli/entry.py",
    "runtimes/explanations.py",
    "runtimes/opening.py",
    "serving/protocols/grpc/server.py",
    "stores/catalog.py",
    "app/overviews/reads/reader_program.py",
    "data/connectors/connector_catalog.py",
    "lazy_library.py",
)
"""What may name own modules by string: tables of backends, each loaded on first use, and the two doors of the CLI;
the gRPC service, which needs an extra; and the loader of other packages, whose users the rule looks at."""
LOADERS = ("import_module", "__import__", "LazyLibrary")
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
RIDDLES = re.compile(
    r"\b(?:Called|Used|Made|Run|Opened|Asked) by\b|\b[Tt]ell whether\b|\bbook of records\b"
    r"|\b(?:[Nn]obody|[Ss]omebody|[Ww]hoever)\b"
)
"""Words of docstrings that claim what another file does, or hide who acts."""
READS_ENVIRONMENT = {"environ", "getenv", "os.environ", "os.environb", "os.getenv", "os.putenv"}


MODULES = {
    ".".join(("trimtab", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def offenders(rule: Callable[[ast.Module], Iterator[ast.AST]], *, but: str = "") -> list[str]:
    """Return the places in all files, `but` one, that a rule points at."""
    return [
        f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 1)}: {ast.unparse(node)[:80]}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).as_posix() != but
        for node in rule(parsed(path))
    ]


def using(names: set[str]) -> Callable[[ast.Module], Iterator[ast.AST]]:
    """Return a rule that points at uses of dotted names."""
    last = {name.rpartition(".")[2] for name in names}

    def rule(tree: ast.Module) -> Iterator[ast.AST]:
        for node in ast.walk(tree):
            found = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
            if found in last and ast.unparse(node) in names:
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


def own_names(tree: ast.Module) -> Iterator[ast.AST]:
    """Point at imports of own modules by string: what is no name of another package, and tables of "module:name"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(LOADERS):
            module = node.args[0]
            if not isinstance(module, ast.Constant) or str(module.value).split(".")[0] == "trimtab":
                yield node
        elif isinstance(node, ast.Constant) and str(node.value).partition(":")[0] in MODULES and ":" in str(node.value):
            yield node


def imports() -> dict[str, set[str]]:
    """Return which own modules each own module imports, wherever the import stands."""
    found: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        needs = found.setdefault(name, set())
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "trimtab":
                needs |= {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys() or {str(node.module)}
            elif isinstance(node, ast.Import):
                needs |= {alias.name for alias in node.names} & MODULES.keys()
    return found


def without_docstring(tree: ast.Module) -> Iterator[ast.AST]:
    if ast.get_docstring(tree) is None:
        yield tree


def riddles(tree: ast.Module) -> Iterator[ast.AST]:
    """Point at docstrings, those of attributes among them, with a word of RIDDLES."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and RIDDLES.search(str(node.value.value))
        ):
            yield node


def test_only_the_clock_asks_for_the_time() -> None:
    assert offenders(using(ASKS_FOR_TIME), but=CLOCK) == []


def test_only_the_settings_read_the_environment() -> None:
    assert offenders(using(READS_ENVIRONMENT), but=SETTINGS) == []


def test_own_modules_are_imported_at_the_top() -> None:
    assert offenders(own_imports_in_functions) == []


def test_every_file_says_what_it_is() -> None:
    assert offenders(without_docstring) == []


def test_docstrings_name_who_acts_and_claim_nothing_of_other_files() -> None:
    assert offenders(riddles) == []


def test_every_file_can_be_read_in_one_sitting() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert {path.name: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_files_are_named_after_what_they_hold() -> None:
    assert [path for path in SOURCE.rglob("*.py") if path.stem in NAMES_THAT_SAY_NOTHING] == []


def test_no_two_packages_name_a_file_alike() -> None:
    """A file is found by its name alone. Contracts are found by their folder, verbs of the CLI by what users type."""
    homes: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        package = path.relative_to(SOURCE).parts[0]
        if package != "cli" and path.stem not in SHARED_NAMES:
            homes.setdefault(path.stem, set()).add(package)
    assert {stem: sorted(found) for stem, found in homes.items() if len(found) > 1} == {}


def test_a_folder_has_at_most_as_many_files_as_one_sees_at_a_glance() -> None:
    folders = {path for path in SOURCE.rglob("*") if path.is_dir()}
    counts = {folder.relative_to(SOURCE).as_posix(): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > MAX_FILES} == {}


def test_own_modules_are_named_by_string_in_registries_alone() -> None:
    assert [place for place in offenders(own_names) if place.split(":")[0] not in REGISTRIES] == []


def test_own_modules_import_one_another_in_no_circle() -> None:
    """Imports for type checkers count, too."""
    left = imports()
    while leaves := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in leaves:
            del left[name]
    assert left == {}


def test_programs_in_texts_of_tests_import_what_is_there() -> None:
    """No type checker reads the programs that tests start with `python -c`."""
    missing = []
    for path in [*TESTS.rglob("*.py"), *TESTS.parent.joinpath("benchmarks").rglob("*.py")]:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for module, names in re.findall(r"^from (trimtab[\w.]*) import ([\w, ]+)", node.value, re.MULTILINE):
                    here = names_in(module)
                    missing += [
                        f"{path.name}: {module}.{name}" for name in names.split(", ") if name.split()[0] not in here
                    ]
    assert missing == []


def names_in(module: str) -> set[str]:
    """Return the names that a module defines or imports, and its own modules."""
    if module not in MODULES:
        return set()
    names = {name.rpartition(".")[2] for name in MODULES if name.rpartition(".")[0] == module}
    for node in ast.walk(parsed(MODULES[module])):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_the_rules_do_see_what_they_look_for() -> None:
    tree = ast.parse(
        "import os\ndef f():\n    from trimtab.clock import EPOCH\n    return os.environ, datetime.now()\n"
    )
    assert len(list(using(READS_ENVIRONMENT)(tree))) == 1
    assert len(list(using(ASKS_FOR_TIME)(tree))) == 1
    assert len(list(own_imports_in_functions(tree))) == 1
    assert len(list(without_docstring(tree))) == 1
    assert len(list(riddles(ast.parse('def f():\n    """Tell whether nobody waits."""')))) == 1
    assert len(list(own_names(ast.parse("import_module('trimtab.clock')")))) == 1
    assert len(list(own_names(ast.parse("BACKENDS = {'file': 'trimtab.stores.tables.delta:DeltaTables'}")))) == 1
    assert "trimtab.errors" in imports()["trimtab.stores.catalog"]
