"""The candidate compared with the champion in each window of the holdout: evidence from before it gets traffic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trimtab.bundle.limits import answered
from trimtab.clock import from_micros
from trimtab.gates.inputs import GateInputs
from trimtab.metric_catalog import METRICS
from trimtab.records.gate_reports import HeldOutWindow
from trimtab.stats.metrics import metric_value

LEAST_ROWS = 0.5
"""Windows with fewer rows than this share of the median window's are left out; live ones are merged with the next."""


def held_out_windows(
    inputs: GateInputs,
    *,
    metrics: Sequence[str],
    window: int,
    start: int,
    end: int,
) -> tuple[HeldOutWindow, ...]:
    """Return the candidate's gains over the champion, in windows that neither was trained on; none without a champion.

    metrics: by which they are compared. window: its length. start, end: the windows lie between them; neither model
    was trained on rows from `start` on, and the labels of rows before `end` were complete. Times are
    microseconds since 1970.
    """
    if inputs.champion_scores is None or not inputs.labelled:
        return ()
    numbers = inputs.timestamps.astype("datetime64[us]").astype(np.int64) // window
    found, sizes = np.unique(numbers, return_counts=True)
    least = LEAST_ROWS * float(np.median(sizes)) if len(sizes) else 0.0
    windows = []
    for number, size in zip(found.tolist(), sizes.tolist(), strict=True):
        first, last = number * window, (number + 1) * window
        if first < start or last > end or size < least:
            continue
        rows = numbers == number
        y, own, other = inputs.y[rows], inputs.scores[rows], inputs.champion_scores[rows]
        known = answered(own) & answered(other)
        gains = {}
        for name in metrics if known.any() else ():
            both = zip((own, other), inputs.thresholds, strict=True)
            values = (metric_value(name, y[known], scores[known], threshold=limit) for scores, limit in both)
            gains[name] = METRICS[name].gain(*values)
        gains = {name: gain for name, gain in gains.items() if np.isfinite(gain)}
        if gains:
            windows.append(
                HeldOutWindow(start=from_micros(first), end=from_micros(last), rows=int(known.sum()), gains=gains)
            )
    return tuple(windows)
