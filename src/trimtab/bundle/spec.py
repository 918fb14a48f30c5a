"""bundle.json: the description of a bundle, read before its model is loaded."""

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
CATBOOST_FILE = "model.cbm"
TORCH_FILE = "model.pt"
PICKLE_FILE = "model.pkl"
BACKGROUND = "reference/background.npy"
"""Some real rows, float32 (rows, features), which explanations compare with."""

SMALLEST = 5e-324
"""The smallest float64 above 0."""

Task = metric_catalog.Task
Runtime = Literal["onnx", "lightgbm", "xgboost", "catboost", "skops", "torchscript", "pyfunc", "project", "chat"]
"""The library that loads the model. skops loads scikit-learn estimators; pyfunc is MLflow in a process of its own;
project is a pickle of the project's own training, in a process of its own; chat is a prompt, which an
endpoint answers."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the values that a model accepts, by feature. A feature that is not listed accepts all values."""

    no_null: tuple[str, ...] = ()
    """Features for which a missing value is refused."""
    lowest: Mapping[str, float] = {}
    """Smallest accepted number; the smallest float32 where only infinity is refused."""
    highest: Mapping[str, float] = {}
    """Largest accepted number."""
    categories: Mapping[str, tuple[float, ...]] = {}
    """The only accepted numbers."""

    def __bool__(self) -> bool:
        return bool(self.no_null or self.lowest or self.highest or self.categories)


class ColumnCheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The expected values of a request column (request_checks.py)."""

    lowest: float | None = None
    highest: float | None = None
    values: tuple[str, ...] | None = None
    """The only expected texts."""
    shortest: int = 0
    """Least number of characters of a text."""
    longest: int | None = None
    null: bool = True
    """Whether a value may be missing."""
    source: Literal["schema", "training"] = "training"
    """Where the check comes from: the schema of the source, or the training rows."""

    @property
    def is_text(self) -> bool:
        """True for a check of texts."""
        return self.values is not None or self.shortest > 0 or self.longest is not None

    def words(self) -> str:
        """Return the expected values in words, such as: from 0 to 6000, as the schema of the source says."""
        said = []
        if self.lowest is not None or self.highest is not None:
            said.append(self._range())
        if self.values is not None:
            said.append(f"one of {', '.join(self.values[:12])}{', ...' if len(self.values) > 12 else ''}")
        if self.shortest or self.longest is not None:
            longest = "any number of" if self.longest is None else str(self.longest)
            said.append(f"{self.shortest} to {longest} characters")
        if not self.null:
            said.append("not missing")
        whose = "as the schema of the source says" if self.source == "schema" else "as in the training rows"
        return f"{', '.join(said)}, {whose}"

    def _range(self) -> str:
        high = "" if self.highest is None else f"{self.highest:.10g}"
        if self.lowest is None:
            return f"at most {high}"
        if self.lowest == SMALLEST:
            return f"more than 0, at most {high}" if high else "more than 0"
        low = f"{self.lowest:.10g}"
        return f"from {low} to {high}" if high else f"at least {low}"


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a bundle. It is written at packaging, before the bundle has a version."""

    format: Literal[1] = 1
    model: str
    task: Task
    label: str
    features: tuple[str, ...]
    """Names of the model's input columns, in order."""
    request_columns: tuple[str, ...]
    """Columns that a request must have."""
    entity_keys: tuple[str, ...]
    timestamp: str
    """Request column with the event time; a request without it has the current time."""
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of the scores: of a multiclass model, and of a binary one whose labels have
    names (the second is the positive class)."""
    threshold: float
    """Score from which a binary model decides for class 1, and from which a row counts as an anomaly. Of a regression
    that predicts a quantile, its level; of other ones 0.5."""
    objective: str = ""
    """Loss that a regression has minimised, such as poisson or quantile:0.9; empty where it is not known."""
    run: str
    dataset: str
    views: tuple[str, ...]
    code_hash: str
    runtime: Runtime = "onnx"
    model_file: str = GRAPH
    """The file that the runtime opens, relative to the folder; for `pyfunc` it is the folder itself."""
    runtime_reason: str = ""
    """Why the runtime is not ONNX Runtime; empty when it is."""
    request_types: Mapping[str, str] = {}
    """Type of each request column: number, integer, boolean, text or time. A column without an entry takes the type
    of each value."""
    calibration: Calibration | None = None
    """Half widths of prediction intervals; only regressions have them."""
    limits: Limits | None = None
    """Limits of the estimator, found at packaging. None in older bundles: they are then found with the served model
    when it is opened, which may accept values that the estimator refuses."""
    checks: Mapping[str, ColumnCheck] = {}
    """Expected values of request columns; a column without an entry is not checked."""
    feature_types: Mapping[str, str] = {}
    """Type of each feature that is no plain number: text, category, boolean, integer, decimal, date or timestamp."""
    feature_categories: Mapping[str, tuple[str, ...]] = {}
    """Known categories of each category feature, in the order of their codes."""
    input: Literal["matrix", "frame"] = "matrix"
    """What the model takes: float32 numbers, or a frame with the types."""
    unseen: Literal["other", "missing", "refuse"] = "other"
    """What becomes of a category that is not known."""


def write_spec(folder: Path, spec: Spec) -> None:
    """Write bundle.json."""
    (folder / SPEC).write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n")


def read_spec(folder: Path) -> Spec:
    """Read bundle.json. Raises DataError, which names the file and the field."""
    path = folder / SPEC
    try:
        return msgspec.json.decode(path.read_bytes(), type=Spec)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; is {folder} a bundle?") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from None
