"""Business impact: how much money a day was lost that need not have been, as a level.

What a stormy day costs is no one's fault. So money counts that a better model would have saved: another version that
scored the same rows, or, where none did, the model itself by what it expected to lose on such rows. The lower end of a
95 % interval over the windows of `impact.over` decides, so that some bad days decide nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trimtab.control.cause import Cause
from trimtab.policy.decide import Impact
from trimtab.records.record import Level
from trimtab.stats.exact_tests import t_quantile

MIN_WINDOWS = 3
"""With fewer windows there is no interval: a stretch of `impact.over` that is shorter decides by its mean."""
HARM_P = 0.05
"""Below this the sequential p-value of the labels counts as measured harm."""


@dataclass(frozen=True, kw_only=True)
class JudgedImpact:
    """An impact with its level and the sentence that explains it."""

    per_day: float
    level: Level
    reason: str
    low: float | None = None
    """Lower end of the 95 % interval, from which the level follows; None when no money was compared."""


def judge(cause: Cause, policy: Impact) -> JudgedImpact:
    """Return the impact of a window: of its mistakes or of a KPI that counts as money lost, whichever is surely larger.

    The two are not added, since the same loss may show in both.
    """
    mistakes = _of_mistakes(cause, policy)
    kpi = _of_kpis(cause, policy)
    if kpi is None or (kpi.low or 0.0) <= max(0.0, mistakes.low or 0.0):
        return mistakes
    return replace(kpi, reason=f"{kpi.reason}; {mistakes.reason}")


def _of_kpis(cause: Cause, policy: Impact) -> JudgedImpact | None:
    """Return the impact of the KPI that is most surely worse than usual; None where none counts as money lost."""
    found = []
    for name, losses in cause.kpi_losses.items():
        over = max(cause.over, len(losses))
        mean, share = math.fsum(losses) / over, len(losses) / over
        found.append((_lower(losses, mean, share) if over >= MIN_WINDOWS else mean, mean, name, len(losses)))
    if not found:
        return None
    low, mean, name, windows = max(found)
    level = level_of(low, policy)
    stretch = _stretch(windows, max(cause.over, windows))
    return JudgedImpact(
        per_day=mean,
        level=level,
        reason=(
            f"KPI {name} is {mean:,.0f} {policy.currency} a day worse than usual (surely {low:,.0f} or more at 95%, "
            f"{stretch}): {level} impact"
        ),
        low=low,
    )


def _of_mistakes(cause: Cause, policy: Impact) -> JudgedImpact:
    """Return the impact of what the model's mistakes cost.

    Without costs in the policy and without an impact function of the project, or where that function failed, there is
    no money to compare: measured harm on labels then counts as medium.
    """
    if cause.no_money or not (policy.cost or cause.has_money):
        why = cause.no_money or "the policy names no costs for its task"
        harmed = cause.harm_p_seq < HARM_P
        said = "counts as medium impact" if harmed else "is not seen: low impact"
        return JudgedImpact(
            per_day=0.0,
            level="medium" if harmed else "low",
            reason=f"{why}; harm on labels (p_seq {cause.harm_p_seq:.2g}) {said}",
        )
    avoidable = _avoidable(cause)
    if avoidable is None:
        return JudgedImpact(
            per_day=0.0,
            level="low",
            reason=(
                "what mistakes cost beyond what is expected is not known: labels are missing, or the reference of the "
                "version does not count such mistakes (a new version of a model has it); that counts as low impact"
            ),
        )
    level = level_of(avoidable.low, policy)
    limit = {"low": f"medium begins at {policy.medium:,.0f}", "medium": f"from {policy.medium:,.0f}"}
    currency = policy.currency
    total = f"; {math.fsum(cause.totals) / len(cause.totals):,.0f} in all" if cause.totals else ""
    return JudgedImpact(
        per_day=avoidable.per_day,
        level=level,
        reason=(
            f"{avoidable.said(currency)} ({avoidable.sure}{avoidable.stretch}{total}): "
            f"{level} impact ({limit.get(level, f'from {policy.high:,.0f}')})"
        ),
        low=avoidable.low,
    )


@dataclass(frozen=True, kw_only=True)
class Avoidable:
    """Money a day that was lost and need not have been. low: lower end of its 95 % interval; per_day itself where a
    stretch of fewer than MIN_WINDOWS decides. rival: the version that would have lost less; None where none was
    compared, and the money is what was lost beyond what is expected for such inputs."""

    per_day: float
    low: float
    rival: int | None
    windows: int
    stretch: str

    def said(self, currency: str) -> str:
        """Return the money in words."""
        if self.rival is not None:
            more = "less" if self.per_day >= 0 else "more"
            return f"version {self.rival} would have lost {abs(self.per_day):,.0f} {currency} a day {more}"
        direction = "more" if self.per_day >= 0 else "less"
        return f"mistakes cost {abs(self.per_day):,.0f} {currency} a day {direction} than is expected for such inputs"

    @property
    def sure(self) -> str:
        """The interval in words."""
        if self.low == self.per_day:
            return ""
        return f"surely {self.low:,.0f} or more at 95%, " if math.isfinite(self.low) else "too few windows to be sure, "


def _avoidable(cause: Cause) -> Avoidable | None:
    """Return the avoidable money: against the best other version that was compared, else against the expectation."""
    compared = {version: gains for version, gains in cause.rivals.items() if len(gains) >= MIN_WINDOWS}
    if compared and cause.over >= MIN_WINDOWS:
        rival = max(compared, key=lambda version: (math.fsum(compared[version]) / len(compared[version]), version))
        gains = compared[rival]
        mean = math.fsum(gains) / max(cause.over, len(gains))
        share = len(gains) / max(cause.over, len(gains))
        stretch = _stretch(len(gains), cause.over)
        low = _lower(gains, mean, share)
        return Avoidable(per_day=mean, low=low, rival=rival, windows=len(gains), stretch=stretch)
    per_day = cause.impact_per_day
    if per_day is None:
        return None
    judged, whole = max(len(cause.losses), 1), sum(cause.lengths) or float(len(cause.losses) or 1)
    over = max(cause.over, whole)
    low = per_day if over < MIN_WINDOWS or not cause.losses else _lower(cause.losses, per_day, whole / over)
    return Avoidable(per_day=per_day, low=low, rival=None, windows=judged, stretch=_stretch(judged, over, whole))


def _lower(values: Sequence[float], mean: float, share: float) -> float:
    """Return the lower end of the 95 % interval of a mean, by Student's t. share: of the stretch that the values fill;
    the rest of it counts as 0."""
    if len(values) < MIN_WINDOWS:
        return -math.inf
    sd = statistics.stdev(values)
    return mean - share * t_quantile(0.95, len(values) - 1) * sd / math.sqrt(len(values))


def _stretch(judged: int, over: float, whole: float | None = None) -> str:
    """Return which windows the money is a mean of, in words. whole: the judged ones, in windows of the policy."""
    if (judged if whole is None else whole) >= over:
        return f"mean of {judged} windows"
    return f"mean of {over:.0f} windows; {judged} of them judged, the others count as usual"


def level_of(per_day: float, policy: Impact) -> Level:
    """Return the level of a loss a day."""
    if per_day >= policy.high:
        return "high"
    return "medium" if per_day >= policy.medium else "low"
