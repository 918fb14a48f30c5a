"""Compares how a version runs with its own first windows: latency, errors, cost. Upward only.

Those of a version of a prompt whose reference are answers to examples: missing values and bad turns, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from trimtab.stats.upward_test import UpwardDetector, UpwardStep

Operation = Literal["latency", "error", "cost"]
Judged = Operation | Literal["missing", "excess"]
OPERATIONS: tuple[Operation, ...] = ("latency", "error", "cost")
FIRST_WINDOWS = 30
"""A version's first windows, which its later ones are compared with."""
SMALLEST_SD: Mapping[Judged, float] = {"latency": 0.05, "error": 0.001, "cost": 0.05, "missing": 0.001, "excess": 0.001}
"""Smallest spread between windows that counts: of the logarithm of p99 and of cost (5 % more or less is noise), and of
shares."""
SMALLEST_VALUE = {"latency": 1e-3, "cost": 1e-9}
"""Smaller values count as this one, so that there is a logarithm."""


class OwnWindows:
    """The detector of one operation of one version; it is made when the first windows are there."""

    def __init__(self, operation: Judged, *, horizon: int, seed: int) -> None:
        self._operation = operation
        self._horizon = horizon
        self._seed = seed
        self._first: list[tuple[float, int]] = []
        self._detector: UpwardDetector | None = None

    def step(self, value: float, rows: int) -> UpwardStep | None:
        """Judge the next window; None for the first ones, and for a value that is not finite.

        value: p99 in ms, money, or a share.
        """
        if not math.isfinite(value):
            return None
        least = SMALLEST_VALUE.get(self._operation)
        found = value if least is None else math.log(max(value, least))
        if self._detector is not None:
            return self._detector.step(found, rows)
        self._first.append((found, rows))
        if len(self._first) == FIRST_WINDOWS:
            values, counts = zip(*self._first, strict=True)
            self._detector = UpwardDetector.fit(
                values, counts, horizon=self._horizon, seed=self._seed, smallest_sd=SMALLEST_SD[self._operation]
            )
        return None

    @property
    def windows(self) -> int:
        """How many first windows there are."""
        return len(self._first)

    def state(self) -> dict[str, Any]:
        """Return the state; `load` restores it."""
        return {"first": self._first, "detector": None if self._detector is None else self._detector.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state` returned."""
        self._first = [(value, rows) for value, rows in state["first"]]
        self._detector = None if state["detector"] is None else UpwardDetector.from_state(state["detector"])
