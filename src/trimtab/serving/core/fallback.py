"""Who answers for a lane that fails or is slow: the champion, the champion before, a fixed score. Called by desk."""

from __future__ import annotations

from pathlib import Path

from trimtab.serving.core.runtime import LoadedBundle
from trimtab.serving.core.table import Lane, ModelTable
from trimtab.serving.core.work import Part
from trimtab.serving.options import Fallbacks


class Fallback:
    """Finds the next part for one that failed."""

    def __init__(self, policy: Fallbacks) -> None:
        self._policy = policy

    def instead_of(self, failed: Part) -> Part | None:
        """Return the part that answers for a failed or overdue one, or None when nobody is left.

        A fixed score comes filled in; other parts are to be scored.
        """
        work = failed.work
        work.tried.add(failed.lane.bundle)
        lanes = work.table.fallbacks(failed.lane, previous_champion=self._policy.previous_champion)
        lane = next((lane for lane in lanes if lane.bundle not in work.tried and _fits(lane, work.table, failed)), None)
        if lane is None and (self._policy.value is None or failed.lane.bundle.version == 0):
            return None
        then = Part(work, lane or _fixed(work.table), failed.indices, instead_of=failed)
        if lane is None:
            then.scores = [self._policy.value or 0.0] * then.rows
        failed.served = False
        why = "took too long" if failed.overdue else failed.error or "failed"
        work.fallback = work.fallback or f"version {failed.lane.bundle.version}: {why}"
        return then


def _fits(lane: Lane, table: ModelTable, failed: Part) -> bool:
    """Features that came with the request are in the order of the champion's list."""
    return failed.work.features is None or lane.bundle.spec.features == table.spec.features


def _fixed(table: ModelTable) -> Lane:
    """A lane of version 0, so that the log tells its rows from any model's."""
    return Lane(
        "fallback",
        LoadedBundle(
            id=f"{table.model}/fixed",
            version=0,
            digest="",
            spec=table.spec,
            scorer=table.champion.bundle.scorer,
            vectorizer=table.champion.bundle.vectorizer,
            recipe=(),
            folder=Path(),
        ),
    )
