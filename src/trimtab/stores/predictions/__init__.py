"""The prediction log: its contract. Backends are opened by name in stores.catalog."""

from trimtab.stores.predictions.contract import (
    LABEL_FIELDS,
    PREDICTION_FIELDS,
    START,
    Compaction,
    Count,
    Cursor,
    Predictions,
)

__all__ = [
    "LABEL_FIELDS",
    "PREDICTION_FIELDS",
    "START",
    "Compaction",
    "Count",
    "Cursor",
    "Predictions",
]
