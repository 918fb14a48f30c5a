"""Mistakes by segment, such as carrier=3: more than the model expects in one segment may not show in the mean of all.

Segments are the values of category features. Each has a detector of its own, which is fitted on the windows of the
reference; p-values are multiplied by how many segments are looked at (Bonferroni), so the promise holds for the search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError
from trimtab.stats.schemes import Bins, CategoryBins
from trimtab.stats.sequential import ENOUGH_WINDOWS
from trimtab.stats.upward_test import UpwardDetector, UpwardStep

Floats = npt.NDArray[np.float64]
Excess = Mapping[str, tuple[float, int]]
"""Mean loss beyond the expected one, and its labelled rows, by segment."""

FEWEST_ROWS = 5
"""A segment with fewer labelled rows in a window is left out of it."""
MOST = 30
"""So many segments are looked at, those with the most labelled rows in the reference."""
VALUE, ROWS = "segment:", "segment_rows:"
"""Begin the keys under which a signal's effect holds the excess and the rows of each segment."""


@dataclass(frozen=True, kw_only=True)
class SegmentStep:
    """The segment of a window whose mistakes are most surely more than expected. p and p_seq: of the whole search."""

    name: str
    step: UpwardStep
    p: float
    p_seq: float
    searched: int
    """Segments that are looked at."""


def segment_excess(
    columns: Mapping[str, npt.NDArray[np.float32]], excess: Floats, schemes: Mapping[str, Bins]
) -> dict[str, tuple[float, int]]:
    """Return the mean excess and the rows of each segment that a window has rows of.

    Args:
        columns: values of category features, (rows,) each.
        excess: loss beyond the expected one of the same rows, (rows,).
        schemes: of the columns; the segments are the frequent categories.
    """
    found = {}
    for name, values in columns.items():
        bins = schemes[name]
        for value in bins.top if isinstance(bins, CategoryBins) else ():
            rows = values == np.float32(value)
            if count := int(rows.sum()):
                found[f"{name}={value}"] = (float(excess[rows].mean()), count)
    return found


class SegmentDetectors:
    """The detectors of the segments of one version.

    reference: excess of the segments of each reference window. columns: features whose segments are looked at; None
    takes all that the reference has.
    """

    def __init__(self, reference: Sequence[Excess], *, columns: Sequence[str] | None, horizon: int, seed: int) -> None:
        windows: dict[str, list[tuple[float, int]]] = {}
        for window in reference:
            for name, (value, rows) in window.items():
                if rows >= FEWEST_ROWS and (columns is None or name.partition("=")[0] in columns):
                    windows.setdefault(name, []).append((value, rows))
        enough = [name for name, known in windows.items() if len(known) >= ENOUGH_WINDOWS]
        largest = sorted(enough, key=lambda name: (-sum(rows for _, rows in windows[name]), name))[:MOST]
        self._detectors: dict[str, UpwardDetector] = {}
        for name in largest:
            values, counts = zip(*windows[name], strict=True)
            try:
                self._detectors[name] = UpwardDetector.fit(values, counts, horizon=horizon, seed=seed)
            except DataError:  # the merged windows are too few
                continue

    def __len__(self) -> int:
        return len(self._detectors)

    def step(self, window: Excess) -> SegmentStep | None:
        """Judge the segments of the next window; None if it has too few labelled rows of each."""
        steps = {
            name: detector.step(*window[name])
            for name, detector in self._detectors.items()
            if name in window and window[name][1] >= FEWEST_ROWS
        }
        if not steps:
            return None
        name = min(steps, key=lambda name: (steps[name].p_seq, steps[name].p, name))
        step, searched = steps[name], len(self._detectors)
        return SegmentStep(
            name=name,
            step=step,
            p=min(1.0, searched * step.p),
            p_seq=min(1.0, searched * step.p_seq),
            searched=searched,
        )

    def effect(self, window: Excess) -> dict[str, float]:
        """Return the part of a signal's effect from which `of_effect` reads the window again."""
        watched = [name for name in self._detectors if name in window]
        values = {f"{VALUE}{name}": window[name][0] for name in watched}
        return values | {f"{ROWS}{name}": float(window[name][1]) for name in watched}

    def state(self) -> dict[str, Any]:
        """Return what JSON can hold; `load` restores it."""
        return {name: detector.state() for name, detector in self._detectors.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._detectors = {name: UpwardDetector.from_state(detector) for name, detector in state.items()}


def of_effect(effect: Mapping[str, float]) -> dict[str, tuple[float, int]]:
    """Return the segments that a signal's effect holds."""
    names = [key.removeprefix(VALUE) for key in effect if key.startswith(VALUE)]
    return {name: (effect[f"{VALUE}{name}"], int(effect[f"{ROWS}{name}"])) for name in names}
