"""Runs the definitions.py of a folder: a project's own, or a bundle's copy. Needs no policy: workers use it, too."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from trimtab.collection import Definitions, collect
from trimtab.errors import DefinitionError

DEFINITIONS = "definitions.py"


def load_definitions(folder: Path) -> Definitions:
    """Run definitions.py in `folder` and collect what it defines.

    Modules that it imports from its own folder are forgotten afterwards, so another version of the same
    project (in a bundle) can be loaded beside it. Raises DefinitionError naming file and line.
    """
    path = folder / DEFINITIONS
    if not path.is_file():
        raise DefinitionError(f"{path}: no such file. A project needs one; make an example with: trimtab init flights")
    name = f"trimtab_project_{abs(hash(str(path)))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DefinitionError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return collect(vars(module), str(path))
    except DefinitionError as error:
        line = _line_in(path, error)
        raise DefinitionError(str(error) if line is None else f"{path}:{line}: {error}") from None
    except SyntaxError as error:
        raise DefinitionError(f"{error.filename}:{error.lineno}: {error.msg}") from None
    except Exception as error:  # strangers' code: whatever it raises is told with its place
        raise DefinitionError(f"{path}:{_line_in(path, error)}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(folder))
        _forget(folder, before)


def _line_in(path: Path, error: BaseException) -> int | None:
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)


def _forget(folder: Path, before: set[str]) -> None:
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(folder) and "site-packages" not in origin:
            del sys.modules[name]
