"""What a regression model's loss usually is at each level of its prediction. Fitted on the reference, used by monitoring.

A classifier tells the loss it expects, p (1 - p); a regression model does not. Here it is the mean loss of the
reference rows whose predictions fall into the same of 20 quantile bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.schemes import Floats, as_floats

BINS = 20


@dataclass(frozen=True)
class LossExpectation:
    """Mean loss by bin of the prediction."""

    edges: tuple[float, ...]
    means: tuple[float, ...]

    @classmethod
    def fit(cls, prediction: npt.ArrayLike, loss: npt.ArrayLike) -> Self:
        """Return the expectation from reference rows (1-D, finite, equal length; held out from training)."""
        x, y = as_floats(prediction).astype(np.float64), as_floats(loss).astype(np.float64)
        if x.size == 0 or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise DataError(
                f"{x.size} predictions and {y.size} losses: expected as many of each, one or more, all finite"
            )
        edges = np.unique(np.quantile(x, np.arange(1, BINS) / BINS, method="inverted_cdf"))
        place = np.searchsorted(edges, x, "right")
        rows = np.bincount(place, minlength=edges.size + 1)
        sums = np.bincount(place, weights=y, minlength=edges.size + 1)
        means = np.where(rows > 0, sums / np.maximum(rows, 1), y.mean())
        return cls(tuple(edges.tolist()), tuple(means.tolist()))

    def excess(self, prediction: npt.ArrayLike, loss: npt.ArrayLike) -> Floats:
        """Return, for each row, the loss minus the expected loss at its prediction."""
        place = np.searchsorted(self.edges, as_floats(prediction), "right")
        excess: Floats = as_floats(loss).astype(np.float64) - np.array(self.means)[place]
        return excess

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"edges": list(self.edges), "means": list(self.means)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the expectation that `to_dict` wrote."""
        return cls(tuple(data["edges"]), tuple(data["means"]))
