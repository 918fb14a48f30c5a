"""Sees within seconds that a version fails, is slow, or answers nonsense. Pure: called by app with two sums of counts.

A limit on a share (failed predictions, slow ones) is broken when what was counted is all but impossible below the
limit: Chernoff's bound on the binomial tail (Hoeffding 1963, Theorem 1) must be under ALPHA. It holds for few
requests and for many, and the guard may look every second for years without crying wolf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from trimtab.policy import RollbackWhen
from trimtab.serving.telemetry.counts import LATENCY_BORDERS_US, LaneCounts, Snapshot, latency_quantile, together
from trimtab.serving.telemetry.distinct import distinct

ALPHA = 1e-6
SLOW_SHARE = 0.01
"""p99 is the time that at most this share of the requests may exceed."""
USUAL_ERRORS = 0.01
"""Without a limit, a canary may fail as often as its champion, and at least this share: what few rows cannot deny."""

Kind = Literal["error", "latency", "quality", "prediction"]


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that one version broke. rows: predictions it was seen on; p: bound on its probability, where known."""

    kind: Kind
    statistic: str
    value: float
    limit: float
    rows: int
    p: float | None
    reason: str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How a canary did beside its champion. breach: of one that fails more often, where no limit is set."""

    answered: int
    """Rows that clients were answered with, and all of its failures."""
    rows: int
    """With those that were scored beside others' answers."""
    errors: int
    allowed: float
    """Share of the rows that may fail."""
    breach: Breach | None

    @property
    def holds_out(self) -> bool:
        """Tell whether it fails no more often than it may."""
        return self.errors <= self.allowed * self.rows


def judge(
    seen: Snapshot, model: str, version: int, role: str, limits: RollbackWhen, before: Sequence[float] = ()
) -> Breach | None:
    """Return the first limit that a version broke in what was seen, or None.

    seen: difference of two snapshots. before: score histogram of the champion before, on the same borders.
    """
    lanes = {key: lane for key, lane in seen.lanes.items() if key[:3] == (model, version, role)}
    served = next((lane for key, lane in lanes.items() if key.served), LaneCounts())
    own = list(lanes.values())
    rows = sum(lane.rows for lane in own)
    if rows < limits.min_requests:
        return None
    late = [lane for key, lane in lanes.items() if not key.served]
    return (
        (None if limits.error_rate is None else _errors(own, rows, limits.error_rate))
        or _slow(_waited_for(served, late), limits)
        or _constant(own, limits)
        or _jump(served, limits, before)
    )


def try_canary(seen: Snapshot, model: str, canary: int, champion: int, limits: RollbackWhen) -> Trial:
    """Return how a canary did in what was seen, beside the champion at the same time."""
    own = {key: lane for key, lane in seen.lanes.items() if key[:3] == (model, canary, "challenger")}
    others = [lane for key, lane in seen.lanes.items() if key[:3] == (model, champion, "champion")]
    rows, errors = sum(lane.rows for lane in own.values()), sum(lane.errors for lane in own.values())
    usual_rows = sum(lane.rows for lane in others)
    usual = sum(lane.errors for lane in others) / usual_rows if usual_rows else 0.0
    allowed = max(usual, USUAL_ERRORS) if limits.error_rate is None else limits.error_rate
    judged = limits.error_rate is None and usual_rows and rows >= limits.min_requests
    return Trial(
        answered=sum(lane.rows if key.served else lane.errors for key, lane in own.items()),
        rows=rows,
        errors=errors,
        allowed=allowed,
        breach=_errors(list(own.values()), rows, allowed, f"the champion failed on {usual:.2%}") if judged else None,
    )


def tail_bound(count: int, n: int, share: float) -> float:
    """Return an upper bound on P(X >= count) for X binomial(n, share): exp(-n KL(count/n || share))."""
    seen = count / n if n else 0.0
    if seen <= share:
        return 1.0
    if share <= 0:
        return 0.0
    distance = seen * math.log(seen / share)
    if seen < 1:
        distance += (1 - seen) * math.log((1 - seen) / (1 - share))
    return math.exp(-n * distance)


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the total variation distance of two histograms, less what chance explains of it.

    Chance: half the sum over the bins of the standard deviation of the difference of two shares.
    """
    n, m = sum(one), sum(other)
    if not n or not m or len(one) != len(other):
        return 0.0
    found = chance = 0.0
    for a, b in zip(one, other, strict=True):
        share = (a + b) / (n + m)
        found += abs(a / n - b / m) / 2
        chance += math.sqrt(share * (1 - share) * (1 / n + 1 / m)) / 2
    return max(0.0, found - 2 * chance)


def _errors(lanes: Sequence[LaneCounts], rows: int, share: float, than: str = "") -> Breach | None:
    errors = sum(lane.errors for lane in lanes)
    p = tail_bound(errors, rows, share)
    if p > ALPHA:
        return None
    return Breach(
        kind="error",
        statistic="error_rate",
        value=errors / rows,
        limit=share,
        rows=rows,
        p=p,
        reason=f"{errors:,} of {rows:,} predictions failed; {than or f'the limit is {share:.2%}'}",
    )


def _waited_for(served: LaneCounts, late: Sequence[LaneCounts]) -> LaneCounts:
    """Return the requests that clients waited for: those answered, and those that took too long to be."""
    return together([served, *(LaneCounts(requests=sum(each.late), latency=each.late) for each in late)])


def _slow(lane: LaneCounts, limits: RollbackWhen) -> Breach | None:
    if limits.p99 is None or not lane.requests:
        return None
    first = next((n for n, border in enumerate(LATENCY_BORDERS_US) if border >= limits.p99), len(LATENCY_BORDERS_US))
    slow = sum(lane.latency[first + 1 :])  # bins that lie beyond the limit whole
    p = tail_bound(slow, lane.requests, SLOW_SHARE)
    if p > ALPHA:
        return None
    p99_ms = latency_quantile(lane, 0.99) * 1000
    return Breach(
        kind="latency",
        statistic="p99_ms",
        value=p99_ms,
        limit=limits.p99 / 1000,
        rows=max(lane.rows, lane.requests),
        p=p,
        reason=f"{slow:,} of {lane.requests:,} requests took longer than {limits.p99 / 1000:g} ms; "
        "at most one in a hundred may",
    )


def _constant(lanes: Sequence[LaneCounts], limits: RollbackWhen) -> Breach | None:
    scoring = [lane for lane in lanes if lane.rows]  # the run of another has ended, whatever it was
    longest = max(scoring, key=lambda lane: distinct(lane.run_inputs), default=LaneCounts())
    inputs = distinct(longest.run_inputs)
    if limits.constant_output is None or inputs < limits.constant_output:
        return None
    return Breach(
        kind="quality",
        statistic="constant_output",
        value=float(inputs),
        limit=float(limits.constant_output),
        rows=longest.rows,
        p=None,
        reason=f"the last {longest.run:,} predictions, of {inputs:,} different inputs, are all {longest.run_score:g}; "
        f"{limits.constant_output:,} different inputs in a row are too many",
    )


def _jump(lane: LaneCounts, limits: RollbackWhen, before: Sequence[float]) -> Breach | None:
    if limits.output_jump is None or not before or sum(before) < limits.min_requests:
        return None
    moved = distance(lane.scores, before)
    if moved <= limits.output_jump:
        return None
    return Breach(
        kind="prediction",
        statistic="output_jump",
        value=moved,
        limit=limits.output_jump,
        rows=lane.rows,
        p=None,
        reason=f"{moved:.0%} of the predictions lie elsewhere than those of the champion before; "
        f"the limit is {limits.output_jump:.0%}",
    )
