"""What becomes of a retrained bundle: the verdict on it, and which change ended its comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from trimtab.app.rollout.rollouts import CANDIDATES
from trimtab.clock import to_micros
from trimtab.control.way_back import judge_probation
from trimtab.errors import NotFound
from trimtab.metric_catalog import Task
from trimtab.monitoring.verdict import Stretch, is_suspected, judge_challenger
from trimtab.policy.rollout import Rollout
from trimtab.records.gate_reports import GateReport, HeldOutWindow
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import Metadata, latest

ENDED_OTHERWISE = ("promoted", "replaced")
"""Verdicts on a candidate whose comparison another change has ended."""
AUTOMATED = ("trimtab", "guard")
"""Names in the records of changes that were made on evidence, not by a person."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """continue, promote, or why it is abandoned; promoted and replaced: another change ended the comparison."""

    name: str
    reason: str = ""


def judge_candidate(
    metadata: Metadata,
    policy: Rollout,
    model: str,
    bundle: str,
    *,
    task: Task,
    window: int | None = None,
    suspected: Sequence[Stretch] = (),
) -> Verdict:
    """Return the verdict on a challenger or a shadow from matured labels; a canary is the guard's, until its end.

    window: length of the windows in microseconds (`decide.window`); evidence of windows of another length, from before
    a change of the policy, does not count. suspected: stretches of event time whose windows do not judge.
    """
    revision = latest(metadata, Revision, model=model)
    if revision is not None and revision.bundle_in("champion") == bundle:
        return Verdict(name="promoted")
    if revision is None or bundle not in [revision.bundle_in(role) for role in CANDIDATES]:
        return Verdict(name="replaced")
    if policy.strategy == "canary":
        return Verdict(name="continue")
    champion, challenger = metadata.get(Bundle, str(revision.bundle_in("champion"))), metadata.get(Bundle, bundle)
    metric = policy.promote_when.metric_for(task)
    before = held_out_evidence(metadata, challenger, champion, window=window, suspected=suspected)
    found = judge_challenger(
        metadata,
        model=model,
        champion=champion.version,
        challenger=challenger.version,
        policy=policy.promote_when,
        metric=metric,
        limits=policy.rollback_when,
        held_out=[w.gains[metric] for w in before if metric in w.gains],
        suspected=suspected,
    )
    return Verdict(name=str(found.verdict), reason=found.reason)


def judge_on_probation(
    metadata: Metadata, model: str, bundle: str, *, metric: str | None, suspected: Sequence[Stretch] = ()
) -> Verdict:
    """Return the verdict on a candidate after a way back: it must lead over some labelled windows before it serves."""
    revision = latest(metadata, Revision, model=model)
    champion = metadata.get(Bundle, str(revision.bundle_in("champion") if revision else None))
    version = metadata.get(Bundle, bundle).version
    name, reason = judge_probation(metadata, model, version, champion.version, metric=metric, suspected=suspected)
    return Verdict(name=name, reason=reason)


def held_out_evidence(
    metadata: Metadata,
    challenger: Bundle,
    champion: Bundle,
    *,
    window: int | None = None,
    suspected: Sequence[Stretch] = (),
) -> list[HeldOutWindow]:
    """Return the windows before a comparison that neither model was trained on, by the challenger's gate report.

    None when the gates compared it with another champion than this one.
    """
    try:
        report = metadata.get(GateReport, challenger.gate_report)
    except NotFound:
        return []
    if report.champion != champion.id:
        return []
    return [
        w
        for w in report.held_out
        if (window is None or to_micros(w.end) - to_micros(w.start) == window)
        and not is_suspected(w.start, w.end, suspected)
    ]


def promotion(metadata: Metadata, model: str, bundle: str) -> Revision | None:
    """Return the last revision by which a bundle became champion."""
    revisions = _oldest_first(metadata, model)
    made = [r for one, r in pairwise(revisions) if one.bundle_in("champion") != r.bundle_in("champion") == bundle]
    return made[-1] if made else None


def removal(metadata: Metadata, model: str, bundle: str) -> Revision | None:
    """Return the last revision that ended the service of a bundle."""
    revisions = _oldest_first(metadata, model)
    ends = [after for one, after in pairwise(revisions) if _has(one, bundle) and not _has(after, bundle)]
    return ends[-1] if ends else None


def lost(metadata: Metadata, model: str, bundle: str) -> str | None:
    """Return how a bundle's service ended when it was found worse, or None: it serves, or never lost.

    It lost when it was abandoned, rolled back, or replaced by a version that the evidence was for.
    """
    serving = latest(metadata, Revision, model=model)
    end = removal(metadata, model, bundle)
    if end is None or serving is None or _has(serving, bundle):
        return None
    what = {"abandon": "was abandoned", "rollback": "was rolled back", "promote": "lost its place as champion"}
    if end.action not in what or (end.action == "promote" and end.by not in AUTOMATED):
        return None
    return f"{bundle} {what[end.action]} on {end.created_at:%Y-%m-%d} by {end.by}: {end.reason}"


def _oldest_first(metadata: Metadata, model: str) -> Sequence[Revision]:
    return metadata.find(Revision, model=model, oldest_first=True)


def _has(revision: Revision, bundle: str) -> bool:
    return any(each.bundle == bundle for each in revision.assignments)
