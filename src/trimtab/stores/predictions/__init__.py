"""The prediction log: its contract; backends are opened by name. PREDICTIONS and LABELS load pyarrow on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trimtab.stores.predictions.contract import (
    LABEL_FIELDS,
    PREDICTION_FIELDS,
    START,
    Compaction,
    Count,
    Cursor,
    Predictions,
)

if TYPE_CHECKING:
    from trimtab.stores.predictions.schemas import LABELS, PREDICTIONS

__all__ = [
    "LABELS",
    "LABEL_FIELDS",
    "PREDICTIONS",
    "PREDICTION_FIELDS",
    "START",
    "Compaction",
    "Count",
    "Cursor",
    "Predictions",
]


def __getattr__(name: str) -> Any:
    if name not in ("LABELS", "PREDICTIONS"):
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module("trimtab.stores.predictions.schemas"), name)
