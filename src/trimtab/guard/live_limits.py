"""Tests a version's counts against the live limits of the policy. Pure: counts in, a breach out.

error_rate       exact binomial test of the failed requests
p99              the same test of the requests beyond the limit, of which one in a hundred may be; it must hold
                 whichever second of the stretch is left out, since a pause of the machine slows many requests at once
output_jump      compares the lower confidence bound of the distance with the limit
constant_output  a plain count: no test
a canary         without error_rate: Fisher's exact test against its champion, and the binomial test of USUAL_ERRORS

False-alarm probability per evaluation <= ALPHA (1e-9), so that the guard may evaluate twice a second for years. The
tests assume independent requests: a failure that many requests share, such as an outage of a service, counts in full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from trimtab.policy.rollout import RollbackWhen
from trimtab.stats.distinct_counts import distinct
from trimtab.stats.exact_tests import ALPHA, at_least_apart, binomial_tail, fisher_tail
from trimtab.stats.gateway_counts import (
    LATENCY_BORDERS_US,
    Snapshot,
    VariantCounts,
    VariantKey,
    difference,
    latency_quantile,
    merge,
    together,
)

SLOW_SHARE = 0.01
"""p99 is the time that at most this share of the requests may exceed."""
USUAL_ERRORS = 0.01
"""Without `error_rate`, the share of failures that any canary may have, even if its champion has fewer."""
PAUSE_US = 1_000_000
"""Slow requests that all lie within this long are a pause of the machine and no breach."""
TOTAL_FAILURE = 10
"""Requests that suffice for a breach, even below `min_requests`, if all of them failed."""

Kind = Literal["error", "latency", "quality", "prediction"]


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that a version broke. rows: predictions counted; p: p-value of the test, None where there is no test."""

    kind: Kind
    statistic: str
    value: float
    limit: float
    rows: int
    p: float | None
    reason: str


class CanaryResult(msgspec.Struct, frozen=True, kw_only=True):
    """A canary compared with its champion. breach: set when it fails more often and the policy has no `error_rate`."""

    answered: int
    """Rows whose answers clients got from it, plus all rows that it failed on."""
    rows: int
    """All rows that it scored or failed on, comparisons included."""
    errors: int
    allowed: float
    """Share of the rows that may fail."""
    breach: Breach | None

    @property
    def passes(self) -> bool:
        """Return True if it fails no more often than allowed."""
        return self.errors <= self.allowed * self.rows


def judge(
    stretch: Sequence[Snapshot],
    model: str,
    version: int,
    role: str,
    limits: RollbackWhen,
    before: Sequence[float] = (),
) -> Breach | None:
    """Return the first limit that a version broke in a stretch of time; None without one.

    stretch: the counts of the gateway at each evaluation in it, oldest first. before: score histogram of the previous
    champion, on the same borders; empty where scores are not to be compared.
    """
    key = (model, version, role)
    variants = _variants(difference(stretch[-1], stretch[0]), key)
    served = next((variant for each, variant in variants.items() if each.served), VariantCounts())
    own = list(variants.values())
    failing = _failing(own, limits)
    if failing is not None or sum(variant.rows for variant in own) < limits.min_requests:
        return failing
    slow = _slow(variants, limits)
    if slow is not None and not _lasts(stretch, key, limits):
        slow = None
    return slow or _constant(own, limits) or _jump(served, limits, before)


def judge_canary(seen: Snapshot, model: str, canary: int, champion: int, limits: RollbackWhen) -> CanaryResult:
    """Compare a canary with the champion of the same time. seen: the counts since its revision began."""
    own = {key: variant for key, variant in seen.variants.items() if key[:3] == (model, canary, "challenger")}
    others = [variant for key, variant in seen.variants.items() if key[:3] == (model, champion, "champion")]
    variants = list(own.values())
    rows, errors = sum(variant.rows for variant in variants), sum(variant.errors for variant in variants)
    usual = sum(variant.errors for variant in others) / max(1, sum(variant.rows for variant in others))
    return CanaryResult(
        answered=sum(variant.rows if key.served else variant.errors for key, variant in own.items()),
        rows=rows,
        errors=errors,
        allowed=max(usual, USUAL_ERRORS) if limits.error_rate is None else limits.error_rate,
        breach=_worse(variants, others, usual) if limits.error_rate is None and _judged(variants, limits) else None,
    )


def _judged(variants: Sequence[VariantCounts], limits: RollbackWhen) -> bool:
    """Return True if there are enough predictions for a test of failures."""
    failed, requests = _independent_failures(variants)
    return sum(variant.rows for variant in variants) >= limits.min_requests or TOTAL_FAILURE <= failed == requests


def _independent_failures(variants: Sequence[VariantCounts]) -> tuple[int, int]:
    """Return the failed requests, and all rows in units of a failed request's mean size.

    The rows of one request fail together, so a failed request counts once, whatever its number of rows.
    """
    rows, errors = sum(variant.rows for variant in variants), sum(variant.errors for variant in variants)
    failed = min(errors, sum(variant.failed for variant in variants) or errors)
    return failed, math.ceil(rows * failed / errors) if errors else rows


def _failing(variants: Sequence[VariantCounts], limits: RollbackWhen) -> Breach | None:
    if limits.error_rate is None or not _judged(variants, limits):
        return None
    p = binomial_tail(*_independent_failures(variants), limits.error_rate)
    return _errors(variants, p, limits.error_rate, f"the limit is {limits.error_rate:.2%}")


def _worse(variants: Sequence[VariantCounts], others: Sequence[VariantCounts], usual: float) -> Breach | None:
    """Return a breach if the canary fails more often than its champion and more often than USUAL_ERRORS."""
    own, reference = _independent_failures(variants), _independent_failures(others)
    p = max(binomial_tail(*own, USUAL_ERRORS), fisher_tail(*own, *reference))
    return _errors(variants, p, max(usual, USUAL_ERRORS), f"the champion failed on {usual:.2%}")


def _errors(variants: Sequence[VariantCounts], p: float, limit: float, than: str) -> Breach | None:
    rows, errors = sum(variant.rows for variant in variants), sum(variant.errors for variant in variants)
    if p > ALPHA or errors <= limit * rows:
        return None
    return Breach(
        kind="error",
        statistic="error_rate",
        value=errors / rows,
        limit=limit,
        rows=rows,
        p=p,
        reason=f"{errors:,} of {rows:,} predictions failed; {than}",
    )


def _lasts(stretch: Sequence[Snapshot], key: tuple[str, int, str], limits: RollbackWhen) -> bool:
    """Return True if a version is too slow whichever PAUSE_US of the stretch are left out."""
    looks = [Snapshot(taken_at=each.taken_at, variants=_variants(each, key)) for each in stretch]
    end = 0
    for first in looks:
        while end < len(looks) - 1 and looks[end].taken_at - first.taken_at < PAUSE_US:
            end += 1
        rest = merge([difference(first, looks[0]), difference(looks[-1], looks[end])])
        if _slow(rest.variants, limits) is None:
            return False
        if end == len(looks) - 1:
            break
    return True


def _variants(snapshot: Snapshot, key: tuple[str, int, str]) -> dict[VariantKey, VariantCounts]:
    return {each: variant for each, variant in snapshot.variants.items() if each[:3] == key}


def _waited_for(variants: Mapping[VariantKey, VariantCounts]) -> VariantCounts:
    """Return the requests that clients waited for: answered ones, and those that a fallback took over."""
    counted = [
        variant if key.served else VariantCounts(requests=sum(variant.late), latency=variant.late)
        for key, variant in variants.items()
    ]
    return together(counted or [VariantCounts()])


def _slow(variants: Mapping[VariantKey, VariantCounts], limits: RollbackWhen) -> Breach | None:
    variant = _waited_for(variants)
    if limits.p99 is None or not variant.requests:
        return None
    first = next((n for n, border in enumerate(LATENCY_BORDERS_US) if border >= limits.p99), len(LATENCY_BORDERS_US))
    slow = sum(variant.latency[first + 1 :])  # bins that lie beyond the limit as a whole
    p = binomial_tail(slow, variant.requests, SLOW_SHARE)
    if p > ALPHA:
        return None
    p99_ms = latency_quantile(variant, 0.99) * 1000
    return Breach(
        kind="latency",
        statistic="p99_ms",
        value=p99_ms,
        limit=limits.p99 / 1000,
        rows=max(variant.rows, variant.requests),
        p=p,
        reason=f"{slow:,} of {variant.requests:,} requests took longer than {limits.p99 / 1000:g} ms; "
        "at most one in a hundred may",
    )


def _constant(variants: Sequence[VariantCounts], limits: RollbackWhen) -> Breach | None:
    scoring = [variant for variant in variants if variant.rows]  # a variant without rows has no current run
    longest = max(scoring, key=lambda variant: distinct(variant.run_inputs), default=VariantCounts())
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


def _jump(variant: VariantCounts, limits: RollbackWhen, before: Sequence[float]) -> Breach | None:
    if limits.output_jump is None or not before or sum(before) < limits.min_requests:
        return None
    moved = at_least_apart(variant.scores, before)
    if moved <= limits.output_jump:
        return None
    return Breach(
        kind="prediction",
        statistic="output_jump",
        value=moved,
        limit=limits.output_jump,
        rows=variant.rows,
        p=None,
        reason=f"{moved:.0%} or more of the predictions lie elsewhere than those of the champion before; "
        f"the limit is {limits.output_jump:.0%}",
    )
