"""The prediction log: its contract; backends are opened by name."""

from trimtab.stores.predictions.contract import LABELS, PREDICTIONS, START, Cursor, Predictions

__all__ = ["LABELS", "PREDICTIONS", "START", "Cursor", "Predictions"]
