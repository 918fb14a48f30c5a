"""What the gates of prompts judge by, and how they word it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trimtab.llm.evaluate.results import CANDIDATE, CHAMPION, Evaluation
from trimtab.policy.llm.section_llm import PromptEvaluation, PromptGates
from trimtab.records.gate_reports import GateResult
from trimtab.records.record import Verdict


@dataclass(frozen=True, kw_only=True)
class PromptInputs:
    """An evaluation, and the limits that it is held against.

    Attributes:
        evaluation: of the candidate, and of the champion where one serves.
        gates: limits of the policy.
        rules: how evaluations run.
        margin: loss of the quality that is tolerated.
        informs: judges that may not gate -> why not.
        corrected: by judge what people would say of the same answers, in words.
        same_as: the version that serves and equals the candidate.
    """

    evaluation: Evaluation
    gates: PromptGates
    rules: PromptEvaluation
    margin: float
    informs: Mapping[str, str] = field(default_factory=dict)
    corrected: Mapping[str, str] = field(default_factory=dict)
    same_as: str = ""

    @property
    def candidate(self) -> str:
        """Name of the candidate."""
        return self.evaluation.facts.sides[CANDIDATE].name

    @property
    def champion(self) -> str | None:
        """Name of the version that it is compared with; None when there is none."""
        sides = self.evaluation.facts.sides
        return sides[CHAMPION].name if len(sides) > 1 else None

    def details(self, name: str, **more: Any) -> dict[str, Any]:
        """Return what every result about an evaluator records."""
        facts, items = self.evaluation.facts, self.evaluation.judged(name)
        found: dict[str, Any] = {
            "n": len(items),
            "clusters": len({item.cluster for item in items}),
            "repeats": facts.repeats,
            "confidence": self.rules.confidence,
        }
        if (judging := self.evaluation.judging(name)).judge:
            found["judge_version"] = judging.version
        return found | more


def result(
    gate: str,
    metric: str,
    verdict: Verdict,
    reason: str,
    *,
    value: float = 0.0,
    bounds: tuple[float | None, float | None] = (None, None),
    threshold: float | None = None,
    details: Mapping[str, Any] | None = None,
) -> GateResult:
    """Return a result of a gate."""
    low, high = bounds
    return GateResult(
        gate=gate,
        metric=metric,
        verdict=verdict,
        value=value,
        low=low,
        high=high,
        threshold=threshold,
        reason=reason,
        details=dict(details or {}),
    )


def level(value: float, kind: Literal["pass_fail", "score"]) -> str:
    """Return a pass rate as percent, a score as it is."""
    return f"{value:.1%}" if kind == "pass_fail" else f"{value:.3f}"


def change(value: float, kind: Literal["pass_fail", "score"], *, unit: bool = False) -> str:
    """Return a difference: of pass rates in points, of scores as it is."""
    if kind == "score":
        return f"{value:+.3f}"
    return f"{100 * value:+.1f} points" if unit else f"{100 * value:+.1f}"


def amount(value: float, kind: Literal["pass_fail", "score"]) -> str:
    """Return the size of a difference."""
    return f"{value:.3f}" if kind == "score" else f"{100 * value:.1f} points"
