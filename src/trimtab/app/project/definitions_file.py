"""Runs the definitions.py of a folder: a project's own, or a bundle's copy. Needs no policy: workers use it, too."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path

from trimtab import places
from trimtab.definitions import aggregations, derived_features, models, on_demand, services, sources, views
from trimtab.definitions.collection import Definitions, collect
from trimtab.definitions.llm import answer_checks, evaluators, lora, model_endpoints, prompts, retrievers
from trimtab.errors import DefinitionError, nearest

DEFINITIONS = "definitions.py"
CALL = re.compile(r"(?:\w+\.)*?(?P<name>\w+?)(?:\.__init__)?\(\)")
"""How Python names a function in a message about a wrong call."""
FUNCTIONS = {
    name: item
    for module in (
        *(aggregations, derived_features, models, on_demand, services, sources, views),
        *(answer_checks, evaluators, lora, model_endpoints, prompts, retrievers),
    )
    for name, item in vars(module).items()
    if callable(item) and getattr(item, "__module__", "") == module.__name__ and not name.startswith("_")
}
"""What users call, by the name that messages have."""


def load_definitions(folder: Path) -> Definitions:
    """Run definitions.py in `folder` and collect what it defines.

    Modules that it imports from its own folder are forgotten afterwards, so another version of the same
    project (in a bundle) can be loaded, too. Raises DefinitionError naming file and line.
    """
    folder = folder.absolute()  # as tracebacks name its files
    path = folder / DEFINITIONS
    if not path.is_file():
        raise DefinitionError(f"{path}: no such file. A project needs one; make an example with: trimtab init flights")
    name = f"{places.PROJECT_MODULE}{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
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
        place = places.of_error(error, folder)
        raise DefinitionError(str(error) if place is None else f"{_shown(place)}: {error}") from None
    except SyntaxError as error:
        raise DefinitionError(f"{error.filename}:{error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:  # the project's own code: an error names the place in it
        place = places.of_error(error, folder) or (path, 1)
        raise DefinitionError(f"{_shown(place)}: {_explained(error)}") from error
    finally:
        sys.path.remove(str(folder))
        _forget(folder, before)


def _shown(place: tuple[Path, int]) -> str:
    return f"{place[0]}:{place[1]}"


def _explained(error: BaseException) -> str:
    """Return what an error says; of a wrong call of Trimtab's own functions, with the arguments that there are."""
    called = CALL.match(str(error)) if isinstance(error, TypeError) else None
    function = FUNCTIONS.get(called["name"]) if called else None
    if called is None or function is None:
        return f"{type(error).__name__}: {error}"
    parameters = inspect.signature(function).parameters
    wanted = [name for name in parameters if name != "self"]
    name = called["name"].removesuffix("_")
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unknown and unknown[1] in parameters:  # such as *windows
        given = (f"*{each}" if each == unknown[1] else each for each in wanted)
        return f"tt.{name}(...) takes '{unknown[1]}' by position, without its name: tt.{name}({', '.join(given)})"
    if unknown:
        return f"tt.{name}(...) takes no argument '{unknown[1]}'.{nearest(unknown[1], wanted)}"
    said = str(error).removeprefix(called[0]).strip()
    return f"tt.{name}(...): {said}; its arguments are {', '.join(wanted)}"


def _forget(folder: Path, before: set[str]) -> None:
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(folder) and "site-packages" not in origin:
            del sys.modules[name]
