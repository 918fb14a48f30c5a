"""Conformal intervals around the scores of a regression. Called by gateway.

An interval holds the true value in a share `coverage` of cases, whatever the model, as long as the rows are like those
of the calibration (split conformal prediction: Vovk, Gammerman and Shafer 2005; Lei et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from trimtab.serving.core.in_flight import Work
from trimtab.serving.core.routing import Lane
from trimtab.serving.requests import Refused


def check(lanes: Iterable[Lane], coverage: float) -> None:
    """Raise Refused when one of these lanes was not calibrated for it. Before any row is scored."""
    if not 0 < coverage < 1:
        raise Refused(400, f"coverage is {coverage:g}; expected a share between 0 and 1, such as 0.9")
    for lane in set(lanes):
        _half_width(lane, coverage)


def intervals(work: Work, coverage: float) -> tuple[list[float], list[float]] | tuple[None, None]:
    """Return lower and upper bounds, one a row; None where somebody stood in who was not calibrated for it."""
    try:
        widths = {lane: _half_width(lane, coverage) for lane in set(work.lanes)}
    except Refused:
        return None, None
    halves = [widths[lane] for lane in work.lanes]
    pairs = list(zip(work.scores, halves, strict=True))
    return [score - half for score, half in pairs], [score + half for score, half in pairs]


def _half_width(lane: Lane, coverage: float) -> float:
    spec = lane.bundle.spec
    if spec.task != "regression":
        raise Refused(400, f"model '{spec.model}' is a classifier: its answers carry a confidence, not an interval")
    if spec.calibration is None or lane.bundle.version == 0:
        raise Refused(400, f"model '{spec.model}' version {lane.bundle.version} carries no calibration")
    half = spec.calibration.half_width(coverage)
    if not math.isfinite(half):
        raise Refused(
            400, f"coverage {coverage:g} is more than the calibration of {spec.calibration.rows} rows can promise"
        )
    return half
