"""Champion or challenger: the verdict on the records of matured windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from trimtab.monitoring.failure_bounds import error_rate_at_least
from trimtab.monitoring.matured import gain_name
from trimtab.policy.rollout import PromoteWhen, RollbackWhen
from trimtab.records.monitoring import WindowReport
from trimtab.stats.paired_sequence import PairedComparison, compare
from trimtab.stores.metadata.contract import Metadata
from trimtab.units import MICROS

Stretch = tuple[datetime, datetime]
"""Start and end in event time."""


@dataclass(frozen=True, kw_only=True)
class ChallengerVerdict:
    """The verdict on a challenger. Differences are positive when the challenger is better, in the metric's unit."""

    verdict: Literal["promote", "futile", "continue", "expired"]
    windows: int
    """Live windows with paired labels."""
    held_out: int
    """Windows before the comparison, which neither model was trained on."""
    labels: int
    """Paired labelled rows of live windows."""
    mean: float
    """Of live and held-out windows; NaN without any."""
    lower: float
    upper: float
    """Bounds that hold at all looks together; infinite before min_windows."""
    error_rate: float | None
    p99_ms: float | None
    """Of the challenger: over all its windows, and the lower bound of its worst window."""
    broken: tuple[str, ...]
    """Limits that the challenger exceeds; it is not promoted while it does."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Operations:
    """How the challenger ran: the share of failures, and lower bounds (failure_bounds.py)."""

    error_rate: float
    error_rate_low: float
    p99_low_ms: float


def judge_challenger(
    metadata: Metadata,
    *,
    model: str,
    champion: int,
    challenger: int,
    policy: PromoteWhen,
    metric: str,
    limits: RollbackWhen | None = None,
    since: datetime | None = None,
    held_out: Sequence[float] = (),
    suspected: Sequence[Stretch] = (),
) -> ChallengerVerdict:
    """Compare two versions on the predictions that both scored, by windows whose labels matured.

    metric: by which they are compared (`policy.metric_for(task)`). limits: what the challenger's own windows must
    keep, to be promoted. since: only windows from this start on. held_out: gains in the metric, in order of time, in
    windows before, which neither version was trained on. suspected: stretches of event time whose windows do not judge.

    The verdict is that of the first look, one after each window, that decides: it does not depend on how often this is
    called.
    """
    windows = compared_windows(metadata, model, challenger, since)
    looks = range(min(1, len(windows)), max(1, len(windows)) + 1)
    for look in looks:
        found = look_at(
            windows[:look],
            champion=champion,
            policy=policy,
            metric=metric,
            limits=limits,
            held_out=held_out,
            suspected=suspected,
        )
        if found.verdict != "continue":
            break
    return found


def judge_former_champion(
    metadata: Metadata,
    *,
    model: str,
    champion: int,
    former: int,
    policy: PromoteWhen,
    metric: str,
    since: datetime | None = None,
    suspected: Sequence[Stretch] = (),
) -> ChallengerVerdict:
    """Compare the champion before, which stays as a shadow, with the champion since a promotion: "promote" = it leads.

    The same score as that of a challenger, with nothing tolerated and no evidence from before the promotion. It is
    valid for the first `max_windows` windows since then, and "expired" behind them. since: only windows from this start
    on (event time); left out, all in which the former champion was compared with this one.
    """
    return judge_challenger(
        metadata,
        model=model,
        champion=champion,
        challenger=former,
        policy=for_former_champion(policy),
        metric=metric,
        since=since,
        suspected=suspected,
    )


def for_former_champion(policy: PromoteWhen) -> PromoteWhen:
    """Return the rule by which a former champion is judged: nothing is tolerated."""
    return policy.model_copy(update={"tolerate": 0.0})


def look_at(
    windows: Sequence[WindowReport],
    *,
    champion: int,
    policy: PromoteWhen,
    metric: str,
    limits: RollbackWhen | None = None,
    held_out: Sequence[float] = (),
    suspected: Sequence[Stretch] = (),
) -> ChallengerVerdict:
    """Return the verdict of one look, after the last of some windows of the challenger, in order of time.

    The other arguments are those of `judge_challenger`, whose verdict is that of the first look that decides.
    """
    gain = gain_name(metric)
    paired = paired_windows(windows, gain, champion, suspected)
    labels = round(sum(w.metrics["paired_rows"] for w in paired))
    found = compare(
        [w.metrics[gain] for w in paired],
        held_out=held_out,
        confidence=policy.confidence,
        min_windows=policy.min_windows,
        min_live_windows=policy.min_live_windows,
        max_windows=policy.max_windows,
        smallest_effect=policy.smallest_effect,
        tolerate=policy.tolerate,
    )
    ran = _operations(windows)
    broken = _broken(ran, limits)
    verdict, reason = _verdict(found, policy, labels, len(windows), broken)
    return ChallengerVerdict(
        verdict=verdict,
        windows=len(paired),
        held_out=found.held_out,
        labels=labels,
        mean=found.mean,
        lower=found.lower,
        upper=found.upper,
        error_rate=ran.error_rate if ran else None,
        p99_ms=ran.p99_low_ms if ran else None,
        broken=broken,
        reason=f"{reason} ({_evidence(found, policy, metric, labels)})",
    )


def is_suspected(start: datetime, end: datetime, suspected: Sequence[Stretch]) -> bool:
    """Return True if a window overlaps a suspected stretch."""
    return any(start < last and first < end for first, last in suspected)


def compared_windows(
    metadata: Metadata, model: str, challenger: int, since: datetime | None = None
) -> list[WindowReport]:
    """Return the matured windows in which a version was no champion, in order of time. since: from this start on."""
    found = metadata.find(WindowReport, model=model, version=challenger, stage="matured")
    kept = [w for w in found if w.role != "champion" and (since is None or w.start >= since)]
    return sorted(kept, key=lambda w: w.start)


def paired_windows(
    windows: Sequence[WindowReport], gain: str, champion: int, suspected: Sequence[Stretch]
) -> list[WindowReport]:
    """Return the windows in which the challenger has a gain over the champion and that are not suspected."""
    compared = [w for w in windows if gain in w.metrics and w.metrics.get("paired_version") == champion]
    return [w for w in compared if not is_suspected(w.start, w.end, suspected)]


def _operations(windows: Sequence[WindowReport]) -> _Operations | None:
    rows = sum(w.rows for w in windows)
    if not rows:
        return None
    errors = [w.metrics.get("error_rate", 0.0) * w.rows for w in windows]
    requests = sum(w.metrics.get("failed_requests", own) for w, own in zip(windows, errors, strict=True))
    return _Operations(
        error_rate=sum(errors) / rows,
        error_rate_low=error_rate_at_least(sum(errors), rows, failed_requests=requests),
        p99_low_ms=max(w.metrics.get("p99_low_ms", w.metrics.get("p99_ms", 0.0)) for w in windows),
    )


def _broken(ran: _Operations | None, limits: RollbackWhen | None) -> tuple[str, ...]:
    if ran is None or limits is None:
        return ()
    found = []
    if limits.error_rate is not None and ran.error_rate_low > limits.error_rate:
        found.append(
            f"{ran.error_rate:.2%} of its predictions failed, which proves {ran.error_rate_low:.2%} or more; "
            f"the limit is {limits.error_rate:.2%}"
        )
    if limits.p99 is not None and ran.p99_low_ms * MICROS["ms"] > limits.p99:
        found.append(
            f"its slowest 1% took {ran.p99_low_ms:.1f} ms or more, the limit is {limits.p99 / MICROS['ms']:g} ms"
        )
    return tuple(found)


def _verdict(
    found: PairedComparison, policy: PromoteWhen, labels: int, seen: int, broken: Sequence[str]
) -> tuple[Literal["promote", "futile", "continue", "expired"], str]:
    """Return the verdict; a comparison that may not promote yet still ends when it is futile or too old."""
    if found.verdict == "promote" and not broken and labels >= policy.min_labels:
        return "promote", found.reason
    if found.verdict == "futile":
        return "futile", found.reason
    if seen >= policy.max_windows:
        return "expired", f"no verdict after {seen} windows, {policy.max_windows} are allowed"
    if broken:
        return "continue", f"the challenger may not be promoted: {'; '.join(broken)}"
    if found.verdict == "promote":
        return "continue", f"{found.reason}, but only {labels:,} of at least {policy.min_labels:,} labels are there"
    return "continue", found.reason


def _evidence(found: PairedComparison, policy: PromoteWhen, metric: str, labels: int) -> str:
    if not found.n:
        return "no paired labels yet"
    live = f"{labels:,} labels in {found.n - found.held_out} windows"
    before = f" and in {found.held_out} windows held out before" if found.held_out else ""
    bounds = f", {policy.confidence:.0%} bounds {found.lower:+.4g} to {found.upper:+.4g}" if _finite(found) else ""
    return f"gain in {metric} {found.mean:+.4g} on {live}{before}{bounds}"


def _finite(found: PairedComparison) -> bool:
    return math.isfinite(found.lower) and math.isfinite(found.upper)
