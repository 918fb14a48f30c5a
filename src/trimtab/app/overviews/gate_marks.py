"""The results of gates as marks of their chart."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.charts.choice_panels import GateMark
from trimtab.metric_catalog import METRICS
from trimtab.policy.gates import Accuracy
from trimtab.records.gate_reports import GateResult


def gate_marks(results: Sequence[GateResult]) -> list[GateMark]:
    """Return a mark for each result; results of one gate are numbered."""
    marks, seen = list[GateMark](), dict[str, int]()
    for each in results:
        place = seen[each.gate] = seen.get(each.gate, 0) + 1
        marks.append(
            GateMark(
                name=each.gate if place == 1 else f"{each.gate} {place}", value=each.value, threshold=each.threshold,
                low=each.low, high=each.high, verdict=each.verdict, higher_is_better=_higher_is_better(each),
            )
        )  # fmt: skip
    return marks


def _higher_is_better(result: GateResult) -> bool:
    """Return on which side of its threshold a gate passes.

    Results do not say it. That of accuracy follows from its metric; else what passed lies on the good side, and an
    interval that failed as a whole on the bad one. An interval around the threshold counts as one of a maximum, as
    most gates have.
    """
    if result.gate == Accuracy.GATE and result.metric in METRICS:
        return METRICS[result.metric].better == "more"
    limit = result.threshold
    if limit is None:
        return False
    if result.verdict == "pass":
        return result.value > limit
    return all(end < limit for end in (result.low, result.value, result.high) if end is not None)
