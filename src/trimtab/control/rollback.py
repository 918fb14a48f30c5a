"""Rollback at once when a closed window broke an operational limit. Pure."""

from __future__ import annotations

from datetime import datetime

from trimtab.clock import from_micros, to_micros
from trimtab.control.brakes import NAMES, already_open
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft
from trimtab.control.history import ControlHistory
from trimtab.policy.model import Policy
from trimtab.policy.rollout import RollbackWhen
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Action
from trimtab.units import MICROS


def broken_limits(window: WindowReport, limits: RollbackWhen) -> tuple[str, ...]:
    """Return one sentence for each limit that the version exceeds beyond doubt.

    Limits are compared with the lower bounds of the window (`_low`); reports of older releases have the raw values
    only.
    """
    found = []
    rate = window.metrics.get("error_rate")
    if limits.error_rate is not None and rate is not None:
        low = window.metrics.get("error_rate_low", rate)
        if low > limits.error_rate:
            found.append(
                f"{rate:.2%} of {window.rows:,} predictions failed, which proves {low:.2%} or more; "
                f"the limit is {limits.error_rate:.2%}"
            )
    p99 = window.metrics.get("p99_low_ms", window.metrics.get("p99_ms"))
    if limits.p99 is not None and p99 is not None and p99 * MICROS["ms"] > limits.p99:
        found.append(f"the slowest 1% took {p99:.1f} ms or more; the limit is {limits.p99 / MICROS['ms']:g} ms")
    return tuple(found)


def decide_rollback(cause: Cause, policy: Policy, history: ControlHistory) -> Draft | None:
    """Return a rollback for a closed champion window that broke a limit, or None.

    Without an earlier champion, or when the champion itself came back by a rollback (rolling back again would
    restore what failed before), a person is asked to look instead.
    """
    window = cause.window
    broken = broken_limits(window, policy.rollout.rollback_when)
    if not broken or (history.champion is not None and history.champion != window.version):
        return None
    band, row = policy.decide.matrix.band(cause.p_seq)
    action: Action = "rollback"
    if history.previous is None:
        action, why = "review", "no other version has served, so there is nothing to roll back to"
    elif history.restored:
        action, why = "review", f"version {window.version} was itself restored by a rollback; a person should look"
    else:
        why = f"version {history.previous}, which served before, is restored"
    noted, held_by, until = history.noted_at, "", None
    if action == "review" and noted is not None and _since(window, noted) <= policy.decide.cooldown:
        action, why = "monitor", f"{why}; a review is already open ({history.noted_review})"
        held_by, until = NAMES[already_open], from_micros(to_micros(noted) + policy.decide.cooldown)
    return Draft(
        cause=cause,
        band=band,
        impact_per_day=0.0,
        impact="low",
        cell=row.low,
        action=action,
        reasons=(*broken, why, "labels are not here yet, so business impact was not judged"),
        trigger="limit",
        held_by=held_by,
        held_until=until,
    )


def _since(window: WindowReport, time: datetime) -> int:
    return to_micros(window.end) - to_micros(time)
