"""The way back: a former champion that stayed as a shadow serves again when it clearly leads the models after it.

Evidence are the windows in which the shadow and the champion of that window scored the same labelled rows. Both were
trained before these windows; suspected windows do not count, nor those that an earlier way back was decided on, and
some must be of the present champion. The lead is judged in standard errors that count the correlation of a window with
the one before it: an AR(1) series of n values with correlation r has a mean whose variance is (1 + r)/(1 - r) times
that of independent ones (Bartlett 1946, doi:10.2307/2983611).
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from trimtab.control.suspicion import Stretch, overlaps
from trimtab.metric_catalog import BY_TASK
from trimtab.records.control import Decision
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import Metadata, latest

LEAD = 3.0
"""Standard errors by which a shadow must lead to serve again."""
MIN_WINDOWS = 10
MIN_CHAMPION_WINDOWS = 3
"""A champion with fewer labelled windows is not judged: the models before it say little about it."""
MAX_WINDOWS = 28
"""The newest windows that count."""
MOST_CORRELATED = 0.9
"""Largest correlation that is counted; a larger one of so few windows is not told from it."""


@dataclass(frozen=True, kw_only=True)
class Lead:
    """How far a shadow leads the champions since. gain: mean a window, positive when the shadow is better."""

    version: int
    windows: int
    gain: float
    errors: float
    """The gain in standard errors; 0 before MIN_WINDOWS."""
    over_champion: float | None
    """Mean gain over the present champion alone; None when no window of it has labels."""
    champion_windows: int = 0
    """Labelled windows of the present champion among them."""

    @property
    def leads(self) -> bool:
        """Whether the shadow is better in the mean."""
        return self.windows > 0 and self.gain > 0 and (self.over_champion is None or self.over_champion > 0)

    @property
    def clearly(self) -> bool:
        """Whether it leads so far that it serves again."""
        enough = self.windows >= MIN_WINDOWS and self.champion_windows >= MIN_CHAMPION_WINDOWS
        return self.leads and enough and self.errors >= LEAD

    @property
    def text(self) -> str:
        """The lead in words."""
        return (
            f"version {self.version}, a shadow, was better than the champions of the last {self.windows} labelled "
            f"windows by {self.gain:.4g} in the mean, {self.errors:.1f} standard errors ({LEAD:g} are needed)"
        )


def standard_errors(gains: Sequence[float]) -> float:
    """Return the mean of a series in standard errors that count its lag-1 correlation; 0 for fewer than 3 values.

    A series without any spread is infinitely many from 0, unless it is 0.
    """
    if len(gains) < 3:
        return 0.0
    mean, sd = statistics.fmean(gains), statistics.stdev(gains)
    if sd <= 1e-12 * max(abs(mean), 1e-300):
        return math.copysign(math.inf, mean) if mean else 0.0
    centred = [gain - mean for gain in gains]
    r = sum(map(operator.mul, centred[1:], centred[:-1])) / sum(gain * gain for gain in centred)
    r = min(max(r, 0.0), MOST_CORRELATED)
    return mean / (sd * math.sqrt((1 + r) / (1 - r) / len(gains)))


def leads(
    metadata: Metadata,
    model: str,
    *,
    until: datetime,
    metric: str | None = None,
    suspected: Sequence[Stretch] = (),
) -> tuple[Lead, ...]:
    """Return the leads of the kept shadows that serve now, the farthest first.

    until: end of the judged window; later ones do not count. metric: by which versions are compared; None takes that
    of the task.
    """
    revision = latest(metadata, Revision, model=model)
    if revision is None:
        return ()
    champion = next(a.version for a in revision.assignments if a.role == "champion")
    kept = [a.version for a in revision.assignments if a.kept]
    before = latest_way_back(metadata, model)
    since = before.end if before is not None else None
    found = [_lead(metadata, model, version, champion, (since, until), metric, suspected) for version in kept]
    return tuple(sorted(found, key=lambda lead: (-lead.errors, -lead.gain, -lead.version)))


def latest_way_back(metadata: Metadata, model: str) -> Decision | None:
    """Return the newest decision by which a shadow served again, or None."""
    found = metadata.find(Decision, model=model, action="rollback")
    return next((d for d in found if d.trigger == "lead"), None)


def on_probation(metadata: Metadata, model: str) -> bool:
    """Return True if the present champion came back by its lead: the next model must lead before it serves."""
    revisions = metadata.find(Revision, model=model)
    champion = revisions[0].bundle_in("champion") if revisions else None
    made = None
    for revision in revisions:
        if revision.bundle_in("champion") != champion:
            break
        made = revision
    if made is None or made.action != "rollback":
        return False
    found = metadata.find(Decision, model=model, action="rollback")
    return any(d.id == made.cause and d.trigger == "lead" for d in found)


def judge_probation(
    metadata: Metadata,
    model: str,
    version: int,
    champion: int,
    *,
    metric: str | None = None,
    suspected: Sequence[Stretch] = (),
) -> tuple[Literal["promote", "expired", "continue"], str]:
    """Return the verdict on a retrained model after a way back, and why: it must lead over MIN_WINDOWS.

    After MAX_WINDOWS without a lead it is abandoned. suspected: stretches whose windows do not judge.
    """
    found = metadata.find(WindowReport, model=model, version=version, stage="matured")
    gains = [
        gain
        for w in found
        if w.role != "champion"
        and w.metrics.get("paired_version") == champion
        and not overlaps(w, suspected)
        and (gain := paired_gain(w, metric)) is not None
    ]
    mean = statistics.fmean(gains) if gains else 0.0
    text = f"on probation: gain {mean:+.4g} in the mean of {len(gains)} labelled windows, {MIN_WINDOWS} are needed"
    if len(gains) >= MIN_WINDOWS and mean > 0:
        return "promote", text
    return ("expired", text) if len(gains) >= MAX_WINDOWS else ("continue", text)


def _lead(
    metadata: Metadata,
    model: str,
    version: int,
    champion: int,
    between: tuple[datetime | None, datetime],
    metric: str | None,
    suspected: Sequence[Stretch],
) -> Lead:
    found = metadata.find(WindowReport, model=model, version=version, stage="matured")
    since, until = between
    ended = sorted(
        (w for w in found if w.role == "shadow" and w.end <= until and (since is None or w.start >= since)),
        key=lambda w: w.start,
    )
    measured = [(w, gain) for w in ended if (gain := paired_gain(w, metric)) is not None and not overlaps(w, suspected)]
    counted = measured[-MAX_WINDOWS:]
    gains = [gain for _, gain in counted]
    own = [gain for w, gain in counted if w.metrics.get("paired_version") == champion]
    return Lead(
        version=version,
        windows=len(gains),
        gain=statistics.fmean(gains) if gains else 0.0,
        errors=standard_errors(gains) if len(gains) >= MIN_WINDOWS else 0.0,
        over_champion=statistics.fmean(own) if own else None,
        champion_windows=len(own),
    )


def paired_gain(window: WindowReport, metric: str | None) -> float | None:
    """Return how much better a version was than the champion of a window; None when it was not compared."""
    names = (metric,) if metric is not None else tuple(of.promotion for of in BY_TASK.values())
    return next((g for name in names if (g := window.metrics.get(f"paired_{name}_gain")) is not None), None)
