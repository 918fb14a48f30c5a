"""How long labels take: the Kaplan-Meier estimate of the time from a prediction to its label.

Predictions without a label yet are not left out, which would make labels look quicker than they are: they count as
waiting for at least as long as they have been looked at (right censored).

Source: Kaplan & Meier, Nonparametric estimation from incomplete observations, JASA 53, 1958.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelDelay:
    """The curve: after `seconds[i]` the share `share[i]` of predictions has a label; both rise."""

    seconds: Floats
    share: Floats

    @classmethod
    def fit(cls, waited: Floats, arrived: npt.NDArray[np.bool_]) -> LabelDelay:
        """Return the curve of some predictions.

        waited: seconds until the label, or until now where there is none, shape (rows,). arrived: True where the label
        is there. A label that was known before its prediction has waited 0.

        >>> delay = LabelDelay.fit(np.array([1.0, 2.0, 2.0, 3.0]), np.array([True, True, False, True]))
        >>> delay.seconds.tolist(), delay.share.tolist()
        ([1.0, 2.0, 3.0], [0.25, 0.5, 1.0])
        """
        waited = np.maximum(waited, 0.0)
        times, came = np.unique(waited[arrived], return_counts=True)
        at_risk = len(waited) - np.searchsorted(np.sort(waited), times, side="left")
        share: Floats = (1 - np.cumprod(1 - came / at_risk)).astype(np.float64)
        return cls(times, share)

    def within(self, seconds: float) -> float:
        """Return the share of predictions that have their label after so long."""
        place = int(np.searchsorted(self.seconds, seconds, side="right"))
        return float(self.share[place - 1]) if place else 0.0

    def until(self, share: float) -> float | None:
        """Return after how many seconds a share of the labels is there; None when it is not known yet."""
        place = int(np.searchsorted(self.share, share - 1e-12, side="left"))
        return float(self.seconds[place]) if place < len(self.share) else None
