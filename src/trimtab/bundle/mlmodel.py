"""Reads MLflow's MLmodel file without MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from trimtab.bundle.spec import Task
from trimtab.errors import DataError
from trimtab.metric_catalog import TASKS

MLMODEL = "MLmodel"
NUMBERS = ("double", "float", "integer", "long", "boolean")
"""Column types that a row of numbers can hold."""
TYPED = {"string": "text", "datetime": "timestamp", "integer": "integer", "long": "integer", "boolean": "boolean"}
"""Column type -> type of the feature, of a model with columns that are no numbers."""


class Column(msgspec.Struct, frozen=True):
    """A column of a signature; `type` is MLflow's name, such as double. name None: the columns have no names."""

    type: str
    name: str | None = None
    required: bool = True
    tensor: Mapping[str, Any] | None = msgspec.field(default=None, name="tensor-spec")


class MlModel(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an MLmodel file that Trimtab uses."""

    flavours: Mapping[str, Mapping[str, Any]]
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    run: str
    metadata: Mapping[str, Any]


def read_mlmodel(folder: Path) -> MlModel:
    """Read the MLmodel of a folder. Raises DataError naming the file and what is wrong with it."""
    path = folder / MLMODEL
    try:
        found = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; is {folder} an MLflow model?") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not YAML: {error}") from None
    flavours = found.get("flavors") if isinstance(found, dict) else None
    if not isinstance(flavours, dict) or not all(isinstance(value, dict) for value in flavours.values()):
        raise DataError(f"{path}: it lists no flavours; is {folder} an MLflow model?")
    signature = found.get("signature") or {}
    metadata = found.get("metadata")
    return MlModel(
        flavours=flavours,
        inputs=_columns(path, signature, "inputs"),
        outputs=_columns(path, signature, "outputs"),
        run=str(found.get("run_id") or ""),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _columns(path: Path, signature: Any, part: str) -> tuple[Column, ...]:
    text = signature.get(part) if isinstance(signature, dict) else None
    if not text:
        return ()
    try:
        return msgspec.json.decode(text, type=tuple[Column, ...])
    except (msgspec.DecodeError, UnicodeError, TypeError) as error:
        raise DataError(f"{path}: the signature's {part} cannot be read: {error}") from None


def told_task(model: MlModel) -> Task | None:
    """Return the task that the metadata names (`save_model(..., metadata={"task": "binary"})`), or None."""
    told = model.metadata.get("task")
    return next((task for task in TASKS if task == told), None)


def feature_types(model: MlModel) -> dict[str, str]:
    """Return the types of a model's columns that are no plain numbers; none when all columns are numbers."""
    if all(column.type in (*NUMBERS, "tensor") for column in model.inputs):
        return {}
    return {str(column.name): TYPED[column.type] for column in model.inputs if column.type in TYPED}


def feature_names(folder: Path, model: MlModel, *, frames: bool = False) -> tuple[str, ...]:
    """Return the names of a model's input columns; f0, f1 and so on when they have no names.

    frames: the model takes a DataFrame, so columns may be texts and times. Raises DataError when there is no
    signature, or it asks for another type.
    """
    path = folder / MLMODEL
    if not model.inputs:
        raise DataError(
            f"{path}: the model has no signature, so its columns are unknown; log it with "
            "signature=mlflow.models.infer_signature(X, y)"
        )
    if model.inputs[0].type == "tensor":
        return _tensor_columns(path, model)
    for column in model.inputs:
        expected = (*NUMBERS, *("string", "datetime")) if frames and column.name else NUMBERS
        if column.type not in expected:
            raise DataError(f"{path}: column '{column.name}' is {column.type}; expected one of {', '.join(expected)}")
    names = tuple(column.name or f"f{place}" for place, column in enumerate(model.inputs))
    if len(set(names)) != len(names):
        raise DataError(f"{path}: the signature names a column twice")
    return names


def _tensor_columns(path: Path, model: MlModel) -> tuple[str, ...]:
    tensor = model.inputs[0].tensor or {}
    shape = tensor.get("shape")
    if len(model.inputs) > 1 or not isinstance(shape, list) or len(shape) != 2 or not isinstance(shape[1], int):
        raise DataError(
            f"{path}: the model takes {len(model.inputs)} tensor(s) of shape {shape}; expected one (rows, n)"
        )
    if shape[1] < 1:
        raise DataError(f"{path}: the signature does not say how many columns a row has (shape {shape})")
    own = model.metadata.get("trimtab")
    names = own.get("features") if isinstance(own, dict) else None
    if isinstance(names, list) and len(names) == shape[1] and all(isinstance(name, str) for name in names):
        return tuple(names)
    return tuple(f"f{place}" for place in range(shape[1]))
