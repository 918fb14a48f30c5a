"""Writes what the suspicion rules find when a champion's window is judged, and ends what has lasted too long.

What is written depends on the records of the window and of earlier ones alone; written again it is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from trimtab.clock import Clock
from trimtab.control.cause import Cause
from trimtab.control.suspicion import Finding, Known, Quarantined, SuspicionRules, overlaps, read
from trimtab.control.window_facts import Before, WindowFacts
from trimtab.control.window_history import WindowHistory
from trimtab.policy.decide import Quarantine
from trimtab.policy.model import Policy
from trimtab.records.control import Suspicion, SuspicionEnd
from trimtab.stores.metadata.contract import Metadata

BY = "policy"
"""`by` of ends that the policy decided."""


class QuarantineSteps:
    """The quarantine of one model. before: gives the windows before service."""

    def __init__(self, metadata: Metadata, model: str, clock: Clock, before: Before = tuple) -> None:
        self._metadata = metadata
        self._model = model
        self._clock = clock
        self._history = WindowHistory(metadata, model, before)
        self._rules = SuspicionRules()

    def judge(self, cause: Cause, policy: Policy) -> Quarantined:
        """Write the suspicions that the window shows, and their ends; return them. Without a refresh there are none."""
        section, end = policy.retrain.quarantine, cause.window.end
        if policy.retrain.refresh is None or not section.enabled:
            return Quarantined()
        everything = read(self._metadata, self._model)
        known = everything.before(end)
        windows = self._history.until(end, everything.suspicions)
        if not windows or windows[-1].end != end:
            return Quarantined()  # too few rows: the next window brings them along
        open_now = [(s.start, s.end) for s in known.open()]
        found: list[Suspicion] = []
        if not overlaps(windows[-1], open_now):
            findings = self._rules.find(windows, known, cause.signals, section)
            found = list(self._suspicions(findings, known, end))
        after = Known((*known.suspicions, *found), known.ends)
        run = _run(windows, after)
        ended = self._ends(windows, after, run, section, end)
        self._metadata.put(*found, *ended)
        return Quarantined(
            found=tuple(found),
            ended=tuple(ended),
            suspected=overlaps(windows[-1], [(s.start, s.end) for s in after.open() if s.id not in _ids(ended)]),
            run=len(run),
        )

    def _suspicions(self, findings: Iterable[Finding], known: Known, known_at: datetime) -> Iterable[Suspicion]:
        written = {s.id for s in known.suspicions}
        for finding in findings:
            for window in finding.windows:
                id_ = suspicion_id(self._model, window.start)
                if id_ in written:  # held already, or let in by a person
                    continue
                written.add(id_)
                yield Suspicion(
                    id=id_,
                    created_at=self._clock.now(),
                    model=self._model,
                    start=window.start,
                    end=window.end,
                    rule=finding.rule,
                    subject=finding.subject,
                    value=finding.value,
                    limit=finding.limit,
                    known_at=known_at,
                    reason=finding.reason,
                )

    def _ends(
        self,
        windows: Sequence[WindowFacts],
        known: Known,
        run: Sequence[Suspicion],
        policy: Quarantine,
        known_at: datetime,
    ) -> list[SuspicionEnd]:
        """Return the ends of a stretch that lasted too long, else of a rule that suspects too much."""
        if len(run) >= policy.lasts:
            why = (
                f"{len(run)} windows in a row are suspected: that is no fault but a new world "
                f"(retrain.quarantine.lasts {policy.lasts}), so all their rows are used again"
            )
            return [self._end(s, "new_world", known_at, why) for s in run]
        for rule in ("inputs", "missing", "loss", "absolute"):
            own = [(s.start, s.end) for s in known.suspicions if s.rule == rule]
            suspected = sum(overlaps(w, own) for w in windows) if own and rule not in known.dropped() else 0
            if suspected > max(policy.max_share * len(windows), policy.lasts):
                why = (
                    f"the rule '{rule}' suspected {suspected} of {len(windows)} windows, more than "
                    f"{policy.max_share:.0%} (retrain.quarantine.max_share): it does not fit this data and is dropped"
                )
                return [self._end(s, "rule_dropped", known_at, why) for s in known.open() if s.rule == rule]
        return []

    def _end(self, suspicion: Suspicion, outcome: str, known_at: datetime, reason: str) -> SuspicionEnd:
        return SuspicionEnd(
            id=f"{suspicion.id}/end",
            created_at=self._clock.now(),
            model=self._model,
            start=suspicion.start,
            suspicion=suspicion.id,
            outcome="new_world" if outcome == "new_world" else "rule_dropped",
            known_at=known_at,
            reason=reason,
            by=BY,
        )


def suspicion_id(model: str, start: datetime) -> str:
    """Return the id of the suspicion of a window that a rule found."""
    return f"{model}/suspicion/{start.isoformat().replace('+00:00', 'Z')}"


def _run(windows: Sequence[WindowFacts], known: Known) -> list[Suspicion]:
    """Return the suspicions of the last windows in a row that the rules suspect."""
    mine = [s for s in known.open() if s.rule != "person"]
    found: list[Suspicion] = []
    for window in reversed(windows):
        own = [s for s in mine if overlaps(window, [(s.start, s.end)])]
        if not own:
            break
        found += own
    return found


def _ids(ended: Iterable[SuspicionEnd]) -> set[str]:
    return {end.suspicion for end in ended}
