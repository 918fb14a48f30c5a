"""Output schemas: what an answer must fit, as a JSON schema, from a pydantic model of the project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trimtab.errors import DefinitionError, nearest
from trimtab.places import project_module


class OutputSchema(NamedTuple):
    """A JSON schema and its name."""

    name: str
    schema: Mapping[str, Any]


def output_schema(output: Any, folder: Path, where: str) -> OutputSchema | None:
    """Return the schema of an output; None for any text.

    Args:
        output: a pydantic model, its name as module.Name, or a JSON schema.
        folder: of the project, which has the module.
        where: what names it, for messages.

    Raises:
        DefinitionError: there is no such module or model, or the module fails.
    """
    if output is None:
        return None
    if isinstance(output, Mapping):
        return OutputSchema(str(output.get("title", "answer")), output)
    if isinstance(output, str):
        module_name, _, name = output.rpartition(".")
        path = folder.joinpath(*module_name.split(".")).with_suffix(".py")
        if not path.is_file():
            modules = [each.stem for each in folder.glob("*.py")]
            raise DefinitionError(
                f"{where}: '{output}': there is no {path.name} in {folder}.{nearest(module_name, modules)}"
            )
        with project_module(path, where, DefinitionError) as module:
            found = getattr(module, name, None)
            models = [
                key for key, value in vars(module).items() if _is_model(value) and value.__module__ == module.__name__
            ]
            if not _is_model(found):
                raise DefinitionError(f"{where}: {path} has no pydantic model '{name}'.{nearest(name, models)}")
            return _of_model(found, where)
    return _of_model(output, where)


def _is_model(value: object) -> bool:
    return isinstance(value, type) and hasattr(value, "model_json_schema")


def _of_model(model: Any, where: str) -> OutputSchema:
    try:
        return OutputSchema(model.__name__, model.model_json_schema())
    except Exception as error:  # pydantic raises errors of several kinds
        raise DefinitionError(f"{where}: {model.__name__} has no JSON schema: {error}") from error
