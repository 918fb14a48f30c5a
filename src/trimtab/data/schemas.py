"""Loads the Pandera schema that the policy names from a module or a YAML file of the project folder."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard

from msgspec.structs import replace

from trimtab.bundle.spec import ColumnCheck
from trimtab.errors import PolicyError, nearest
from trimtab.places import project_module
from trimtab.policy.model import YAML
from trimtab.policy.reader import line_of

if TYPE_CHECKING:
    import pandera.polars as pa

POLICY = "trimtab.yaml"
BOUNDS = ("greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to", "in_range")
"""Pandera's checks that limit numbers."""


def load_schema(name: str, folder: Path, *, table: str) -> pa.DataFrameSchema:
    """Return the schema called `module.Name`, such as checks.Flights for Flights in checks.py, or that of a YAML file.

    Args:
        name: module and name, or path of a file in Pandera's YAML format.
        folder: the project folder, where the module is.
        table: the table to be checked, for the message.

    Raises:
        PolicyError: there is no such module or schema, or the module fails; names the key in the policy and the
            nearest name, or the line that fails.
    """
    # imported here, because Pandera takes more than a second to import and most commands check nothing
    import pandera.polars as pa

    where = _where(folder, table)
    if name.endswith(YAML):
        return _from_yaml(folder / name, where)
    module_name, _, attribute = name.rpartition(".")
    path = folder.joinpath(*module_name.split(".")).with_suffix(".py") if module_name else folder / "checks.py"
    if not module_name or not path.is_file():
        modules = [file.stem for file in folder.glob("*.py")]
        raise PolicyError(
            f"{where}: '{name}' is in no module of {folder}; expected a name such as checks.{attribute or 'Rows'}."
            f"{nearest(module_name or name, modules)}"
        )
    with project_module(path, where, PolicyError) as module:
        found = getattr(module, attribute, None)
        if isinstance(found, pa.DataFrameSchema):
            return found
        if isinstance(found, type) and issubclass(found, pa.DataFrameModel):
            return _schema_of(found, where, name)
    schemas = [key for key, value in vars(module).items() if _is_schema(value, pa)]
    if found is not None:
        raise PolicyError(
            f"{where}: '{name}' is {found!r}; expected a pandera.polars DataFrameSchema or DataFrameModel."
            f"{nearest(attribute, schemas)}"
        )
    raise PolicyError(f"{where}: {path} has no schema '{attribute}'.{nearest(attribute, schemas)}")


def _from_yaml(path: Path, where: str) -> pa.DataFrameSchema:
    import pandera.polars as pa

    if not path.is_file():
        raise PolicyError(f"{where}: there is no file {path}. For a first draft: trimtab validate --draft")
    try:
        found: object = pa.DataFrameSchema.from_yaml(path)
    except Exception as error:  # Pandera raises errors of several kinds, also for wrong YAML
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise PolicyError(f"{where}: {path} is no schema in Pandera's YAML format for Polars: {why}") from error
    if not isinstance(found, pa.DataFrameSchema):
        raise PolicyError(f"{where}: {path}: expected 'schema_type: polars_dataframe', found another kind of schema")
    return found


def _schema_of(model: type[pa.DataFrameModel], where: str, name: str) -> pa.DataFrameSchema:
    try:
        return model.to_schema()
    except Exception as error:  # user code may raise anything
        raise PolicyError(f"{where}: '{name}' cannot be turned into a schema: {error}") from error


def _is_schema(value: object, pa: ModuleType) -> bool:
    if isinstance(value, type):
        return issubclass(value, pa.DataFrameModel) and value is not pa.DataFrameModel
    return isinstance(value, pa.DataFrameSchema)


def _where(folder: Path, table: str) -> str:
    policy = folder / POLICY
    key = f"checks.{table}"
    return f"{policy}:{line_of(policy, key)}: {key}" if policy.is_file() else key


def column_checks(schema: pa.DataFrameSchema) -> dict[str, ColumnCheck]:
    """Return the checks of a schema's columns that apply to a single value, in a form that needs no Pandera.

    Args:
        schema: a schema of `load_schema`.

    Returns:
        By column its limits, set of values, lengths of texts, and whether a value may be missing; no other checks.
    """
    return {str(name): _column_check(column) for name, column in schema.columns.items()}


def _column_check(column: Any) -> ColumnCheck:
    found = ColumnCheck(null=bool(column.nullable), source="schema")
    for check in column.checks:
        statistics: dict[str, Any] = check.statistics or {}
        low, high = statistics.get("min_value"), statistics.get("max_value")
        if check.name == "str_length":
            exact = statistics.get("exact_value")
            shortest, longest = (exact, exact) if exact is not None else (low, high)
            found = replace(found, shortest=shortest or 0, longest=longest)
        elif check.name == "isin" and all(isinstance(value, str) for value in statistics["allowed_values"]):
            found = replace(found, values=tuple(sorted(statistics["allowed_values"])))
        elif check.name == "isin" and all(_is_number(value) for value in statistics["allowed_values"]):
            values = [float(value) for value in statistics["allowed_values"]]
            found = replace(found, lowest=min(values), highest=max(values))
        elif check.name in BOUNDS:
            if _is_number(low):
                strict = check.name == "greater_than" or statistics.get("include_min") is False
                low = math.nextafter(low, math.inf) if strict else float(low)
                found = replace(found, lowest=low if found.lowest is None else max(low, found.lowest))
            if _is_number(high):
                strict = check.name == "less_than" or statistics.get("include_max") is False
                high = math.nextafter(high, -math.inf) if strict else float(high)
                found = replace(found, highest=high if found.highest is None else min(high, found.highest))
    return found


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
