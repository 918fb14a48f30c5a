"""What the quarantine knows of a window: means and missing shares of its columns, and the loss of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

MIN_ROWS = 5
"""A window of fewer rows is merged into the next one; a loss of fewer labels is not known."""


@dataclass(frozen=True, kw_only=True)
class WindowFacts:
    """One window, or several small ones that were merged. means and missing: by column; a mean may be NaN.

    loss: log-loss of a classifier, mean squared error of a regression, share of wrong decisions of an anomaly model;
    None when it is not known.
    """

    start: datetime
    end: datetime
    rows: int
    means: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, float] = field(default_factory=dict)
    loss: float | None = None
    labelled: int = 0


Before = Callable[[], Sequence[WindowFacts]]
"""Returns the windows before service, oldest first."""


def merged(windows: Iterable[WindowFacts]) -> list[WindowFacts]:
    """Return the windows with those of fewer than MIN_ROWS rows merged into the next; too small last ones are left."""
    found: list[WindowFacts] = []
    held: WindowFacts | None = None
    for window in windows:
        held = window if held is None else _joined(held, window)
        if held.rows >= MIN_ROWS:
            found.append(held)
            held = None
    return found


def _joined(a: WindowFacts, b: WindowFacts) -> WindowFacts:
    return WindowFacts(
        start=a.start,
        end=b.end,
        rows=a.rows + b.rows,
        means=_weighted(a.means, b.means, _present(a), _present(b)),
        missing=_weighted(a.missing, b.missing, dict.fromkeys(a.missing, a.rows), dict.fromkeys(b.missing, b.rows)),
        loss=_weighted({"": a.loss}, {"": b.loss}, {"": a.labelled}, {"": b.labelled}).get(""),
        labelled=a.labelled + b.labelled,
    )


def _present(window: WindowFacts) -> dict[str, float]:
    """Return how many values each column has."""
    return {name: window.rows * (1 - window.missing.get(name, 0.0)) for name in window.means}


def _weighted(
    a: Mapping[str, float | None],
    b: Mapping[str, float | None],
    a_weights: Mapping[str, float],
    b_weights: Mapping[str, float],
) -> dict[str, float]:
    """Return the weighted means of values by name; those that are not known count nothing."""
    found = {}
    for name in dict.fromkeys((*a, *b)):
        pairs = [(a.get(name), a_weights.get(name, 0.0)), (b.get(name), b_weights.get(name, 0.0))]
        known = [
            (value, weight) for value, weight in pairs if value is not None and math.isfinite(value) and weight > 0
        ]
        if known:
            found[name] = sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
    return found
