"""Conformal intervals around the scores of a regression.

An interval holds the true value in a share `coverage` of cases, whatever the model, as long as the rows are like those
of the calibration (split conformal prediction: Vovk, Gammerman and Shafer 2005; Lei et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from trimtab.serving.core.in_flight import InFlightRequest
from trimtab.serving.core.routing import Variant
from trimtab.serving.requests import Refused
from trimtab.tasks import RULES


def check(variants: Iterable[Variant], coverage: float) -> None:
    """Raise Refused if one of these variants was not calibrated for a coverage. Runs before any row is scored."""
    if not 0 < coverage < 1:
        raise Refused(400, f"coverage is {coverage:g}; expected a share between 0 and 1, such as 0.9")
    for variant in set(variants):
        _half_width(variant, coverage)


def intervals(request: InFlightRequest, coverage: float) -> tuple[list[float], list[float]] | tuple[None, None]:
    """Return lower and upper bounds, one a row; None if a fallback answered that was not calibrated for it."""
    try:
        widths = {variant: _half_width(variant, coverage) for variant in set(request.answered_by)}
    except Refused:
        return None, None
    halves = [widths[variant] for variant in request.answered_by]
    pairs = list(zip(request.outcome.scores, halves, strict=True))
    return [score - half for score, half in pairs], [score + half for score, half in pairs]


def _half_width(variant: Variant, coverage: float) -> float:
    spec = variant.bundle.spec
    if spec.task != "regression":
        carries = "a confidence" if RULES[spec.task].confidence is not None else "a score and a label"
        raise Refused(400, f"model '{spec.model}' is no regression: its answers carry {carries}, not an interval")
    if spec.calibration is None or variant.bundle.version == 0:
        raise Refused(400, f"model '{spec.model}' version {variant.bundle.version} carries no calibration")
    half = spec.calibration.half_width(coverage)
    if not math.isfinite(half):
        raise Refused(
            400, f"coverage {coverage:g} is more than the calibration of {spec.calibration.rows} rows can promise"
        )
    return half
