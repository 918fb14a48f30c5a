"""Finds file and line of a definition or an error in the user's own files, and imports modules of a project."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Self

PACKAGE = Path(__file__).resolve().parent
PROJECT_MODULE = "trimtab_project_"
"""How the names of modules begin that are a project's definitions.py."""


class Placed:
    """Base of definitions. `place` holds the file and line in the user's files that created the object."""

    place: str = ""
    """File and line, such as definitions.py:12."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Create the object and store the calling line outside this package."""
        made = super().__new__(cls)
        object.__setattr__(made, "place", of_caller())
        return made


def of_function(function: Callable[..., Any]) -> str:
    """Return file and line of a function, such as definitions.py:12; its name when Python has no code of it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return str(getattr(function, "__name__", function))
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}"


def of_caller() -> str:
    """Return file and line of the innermost caller outside this package; empty when there is none."""
    found = _caller()
    return "" if found is None else f"{found[0].name}:{found[1]}"


def folder_of_caller() -> Path:
    """Return the folder of the file of the innermost caller outside this package; without one the present folder."""
    found = _caller()
    return Path() if found is None else found[0].parent


def _caller() -> tuple[Path, int] | None:
    frame = sys._getframe(2)  # inspect.stack() reads the source of every frame
    while True:
        name = frame.f_code.co_filename
        if not name.startswith("<") and not Path(name).is_relative_to(PACKAGE):
            return Path(name), frame.f_lineno
        if frame.f_back is None:
            return None
        frame = frame.f_back


def of_error(error: BaseException, folder: Path) -> tuple[Path, int] | None:
    """Return file and line of the deepest frame of an error whose file lies in a folder, or None.

    Frames of installed packages do not count. A syntax error counts at its own line.
    """
    if isinstance(error, SyntaxError) and error.filename and _is_own(error.filename, folder):
        return Path(error.filename), error.lineno or 1
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_own(frame.filename, folder):
            return Path(frame.filename), frame.lineno or 1
    return None


@contextmanager
def project_module(path: Path, where: str, error_type: type[Exception]) -> Iterator[ModuleType]:
    """Import a module of a project for the block.

    It may import its neighbours. All of them are removed from sys.modules after the block. Raises error_type for an
    error in the module. where: what names the module, for the message.
    """
    name = f"trimtab_module_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise error_type(f"{where}: {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.path.insert(0, str(path.parent))
    try:
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # user code may raise anything
            place, line = of_error(error, path.parent) or (path, 1)
            raise error_type(f"{where}: {place}:{line}: {type(error).__name__}: {error}") from error
        yield module
    finally:
        sys.path.remove(str(path.parent))
        for other in set(sys.modules) - before:
            origin = getattr(sys.modules[other], "__file__", None)
            if origin and Path(origin).parent == path.parent:
                del sys.modules[other]


def _is_own(name: str, folder: Path) -> bool:
    path = Path(name)
    return (
        not name.startswith("<")
        and path.is_relative_to(folder)
        and "site-packages" not in path.relative_to(folder).parts
    )
