"""What becomes of a retrained bundle: the verdict on it, and which change ended its comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from trimtab.app.rollout.rollouts import CANDIDATES
from trimtab.metric_catalog import Task
from trimtab.monitoring.verdict import judge_challenger
from trimtab.policy.rollout import Rollout
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import Metadata, latest

AUTOMATED = ("trimtab", "guard")
"""Names in the records of changes that were made on evidence, not by a person."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """continue, promote, or why it is abandoned; promoted and replaced: another change ended the comparison."""

    name: str
    reason: str = ""


def judge_candidate(metadata: Metadata, policy: Rollout, model: str, bundle: str, *, task: Task) -> Verdict:
    """Return the verdict on a challenger or a shadow from matured labels; a canary is the guard's, until its end."""
    revision = latest(metadata, Revision, model=model)
    if revision is not None and revision.bundle_in("champion") == bundle:
        return Verdict(name="promoted")
    if revision is None or bundle not in [revision.bundle_in(role) for role in CANDIDATES]:
        return Verdict(name="replaced")
    if policy.strategy == "canary":
        return Verdict(name="continue")
    champion = metadata.get(Bundle, str(revision.bundle_in("champion")))
    found = judge_challenger(
        metadata,
        model=model,
        champion=champion.version,
        challenger=metadata.get(Bundle, bundle).version,
        policy=policy.promote_when,
        metric=policy.promote_when.metric_for(task),
        limits=policy.rollback_when,
    )
    return Verdict(name=str(found.verdict), reason=found.reason)


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
