"""bundle.json: what a server must know of a model before it loads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from trimtab import metric_catalog
from trimtab.bundle.calibration import Calibration
from trimtab.errors import DataError

SPEC = "bundle.json"
GRAPH = "model.onnx"
LIGHTGBM_FILE = "model.lgb"
XGBOOST_FILE = "model.ubj"
SKOPS_FILE = "model.skops"
BACKGROUND = "reference/background.npy"
"""Some real rows, float32 (rows, features), that explanations compare with."""

Task = metric_catalog.Task
Runtime = Literal["onnx", "lightgbm", "xgboost", "skops", "pyfunc"]
"""What opens the model: ONNX Runtime, LightGBM, XGBoost, skops for scikit-learn, or MLflow in a process of its own."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Values that a model does not take, by feature. A feature that is not listed takes any."""

    no_null: tuple[str, ...] = ()
    """Features for which a missing value is refused."""
    lowest: Mapping[str, float] = {}
    """Smallest number that is taken; the smallest float32 where only infinity is refused."""
    highest: Mapping[str, float] = {}
    """Largest number that is taken."""
    categories: Mapping[str, tuple[float, ...]] = {}
    """The only numbers that are taken."""

    def __bool__(self) -> bool:
        return bool(self.no_null or self.lowest or self.highest or self.categories)


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is. Written when it is packaged, before it has a version."""

    format: Literal[1] = 1
    model: str
    task: Task
    label: str
    features: tuple[str, ...]
    """Names of the model's input columns, in order."""
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
    runtime: Runtime = "onnx"
    model_file: str = GRAPH
    """What the runtime opens, relative to the folder; for `pyfunc` it is the folder itself."""
    runtime_reason: str = ""
    """Why it is not ONNX Runtime that serves; empty when it is."""
    request_types: Mapping[str, str] = {}
    """Kind of value that a request brings for each column: number, integer, boolean, text or time. A column that is
    not in it is judged by each value's own type."""
    calibration: Calibration | None = None
    """Widths of prediction intervals; only regressions have it."""
    limits: Limits | None = None
    """What the estimator refused when it was asked at packaging. None: nobody asked it, so the model that serves is
    asked when it is opened; the graph of an older bundle may take what its estimator refuses."""


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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from None
