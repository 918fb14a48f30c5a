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


@dataclass(frozen=True, kw_only=True)
class ChallengerVerdict:
    """The verdict on a challenger. Differences are positive when the challenger is better, in the metric's unit."""

    verdict: Literal["promote", "futile", "continue", "expired"]
    windows: int
    labels: int
    """Paired labelled rows."""
    mean: float
    """NaN without windows."""
    lower: float
    upper: float
    """Bounds that hold however often one looks; infinite before min_windows."""
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
) -> ChallengerVerdict:
    """Compare two versions on the predictions that both scored, by windows whose labels matured.

    metric: by which they are compared (`policy.metric_for(task)`). limits: what the challenger's own windows must
    keep, to be promoted. since: only windows from this start on.
    """
    windows = _windows(metadata, model, challenger, since)
    name = gain_name(metric)
    paired = [w for w in windows if name in w.metrics and w.metrics.get("paired_version") == champion]
    labels = round(sum(w.metrics["paired_rows"] for w in paired))
    found = compare(
        [w.metrics[name] for w in paired],
        confidence=policy.confidence,
        min_windows=policy.min_windows,
        smallest_effect=policy.smallest_effect,
    )
    ran = _operations(windows)
    broken = _broken(ran, limits)
    verdict, reason = _verdict(found, policy, labels, len(windows), broken)
    return ChallengerVerdict(
        verdict=verdict,
        windows=found.n,
        labels=labels,
        mean=found.mean,
        lower=found.lower,
        upper=found.upper,
        error_rate=ran.error_rate if ran else None,
        p99_ms=ran.p99_low_ms if ran else None,
        broken=broken,
        reason=f"{reason} ({_evidence(found, policy, metric, labels)})",
    )


def _windows(metadata: Metadata, model: str, challenger: int, since: datetime | None) -> list[WindowReport]:
    found = metadata.find(WindowReport, model=model, version=challenger, stage="matured")
    kept = [w for w in found if w.role != "champion" and (since is None or w.start >= since)]
    return sorted(kept, key=lambda w: w.start)


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
    bounds = f", {policy.confidence:.0%} bounds {found.lower:+.4g} to {found.upper:+.4g}" if _finite(found) else ""
    return f"gain in {metric} {found.mean:+.4g} on {labels:,} labels in {found.n} windows{bounds}"


def _finite(found: PairedComparison) -> bool:
    return math.isfinite(found.lower) and math.isfinite(found.upper)
