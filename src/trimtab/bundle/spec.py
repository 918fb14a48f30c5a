"""bundle.json: what a server must know of a model before it loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from trimtab.errors import DataError

SPEC = "bundle.json"


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is. Written when it is packaged, before it has a version."""

    format: Literal[1] = 1
    model: str
    task: Literal["binary", "regression"]
    label: str
    features: tuple[str, ...]
    """Names of the graph's input columns, in order."""
    request_columns: tuple[str, ...]
    """Columns a request brings."""
    entity_keys: tuple[str, ...]
    timestamp: str
    """Request column with the event time; without it a request is of now."""
    threshold: float
    run: str
    dataset: str
    views: tuple[str, ...]
    code_hash: str


def write_spec(folder: Path, spec: Spec) -> None:
    """Write bundle.json."""
    (folder / SPEC).write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n")


def read_spec(folder: Path) -> Spec:
    """Read bundle.json. Raises DataError naming the file and the field."""
    path = folder / SPEC
    try:
        return msgspec.json.decode(path.read_bytes(), type=Spec)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; is {folder} a bundle?") from None
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise DataError(f"{path}: {error}") from None
