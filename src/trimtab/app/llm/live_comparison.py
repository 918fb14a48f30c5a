"""Compares the challenger of a prompt with its champion on live traffic, and acts on the verdict.

The evidence is that of stats/live: first bad events of conversations, or pairs of users, which may be looked at at any
time. It follows from the logs and the revisions alone, in event time, so a process that starts anew reaches the same
verdict after the same event. Each event-time window, and the verdict, is written as a Comparison. A judged shadow is
compared by the rule of models (app/loop/comparisons.py); here its verdict is acted on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trimtab.app.llm.judge_standing import judge_standing
from trimtab.app.llm.judged_difference import JudgedDifference, judged_difference
from trimtab.app.llm.split_evidence import LiveEvidence, Pairing, crude_ratio, in_words, weigh
from trimtab.app.llm.split_traffic import Conversation, SplitTraffic
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.aliases import follow
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.clock import from_micros, to_micros
from trimtab.control.holds import event_time, hold_reason
from trimtab.errors import ActionError, Conflict, nearest
from trimtab.policy.model import Policy
from trimtab.records.monitoring import Comparison
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import Metadata, latest
from trimtab.units import MICROS

log = logging.getLogger(__name__)

LOOKS_IN_A_WINDOW = 24
"""So often it looks at least, as pairs of users become complete by the passing of time."""
LOOKS_PER_EVENT = 100
"""It looks when there is 1 % more evidence. What decides is the same event, however often it looks."""


@dataclass(slots=True)
class _Open:
    """A comparison that is under way."""

    pairing: Pairing
    traffic: SplitTraffic
    written: int
    """End of the last window that is written, microseconds since 1970; 0 before the first."""
    decided: Comparison | None
    looked_at: tuple[int, ...] = ()
    """What the last look depended on, apart from bad events."""
    next_look: int = 0
    """Number of bad events from which on it looks again."""


class LiveComparisons:
    """The comparisons of the prompts of one project."""

    def __init__(
        self, workspace: Workspace, *, aliases: Callable[[Callable[[], Workspace], str], object] = follow
    ) -> None:
        """aliases: makes the registry say what serves of a prompt."""
        self._aliases = aliases
        self._workspace = workspace
        self._open: dict[str, _Open] = {}
        self._pairings: dict[str, tuple[str, Pairing | None]] = {}
        """By prompt: the newest revision, and what it splits."""
        self._corrected: dict[str, tuple[str, JudgedDifference | None]] = {}
        """By prompt: the newest comparison of a judged shadow, and its correction."""
        self._failed: dict[str, str] = {}
        """By comparison: why its verdict could not be acted on."""

    def step(self, prompt: str, policy: Policy) -> list[Comparison]:
        """Read what is new, write comparisons, and act on a verdict. Return the comparisons that were written.

        policy: that by which the prompt is judged. Raises StoreError.
        """
        known = self._open.get(prompt)
        if known is not None:
            known.traffic.read()  # before the revisions: those of all rows that were read are there then
        revision = latest(self._workspace.metadata, Revision, model=prompt)
        if revision is None:
            return []
        pairing = self._pairing(revision)
        if pairing is None:
            self._open.pop(prompt, None)
            self._act_on_shadow(revision, policy)
            return []
        if known is None or known.pairing.first != pairing.first:
            known = self._open[prompt] = self._begin(pairing, policy)
            known.traffic.read()
        known.pairing = pairing
        made = self._write(known, policy)
        if known.decided is not None:
            self._act(known.decided, policy)
        return made

    def _pairing(self, revision: Revision) -> Pairing | None:
        """Return what the newest revision splits, with its share and those before."""
        known = self._pairings.get(revision.model)
        if known is None or known[0] != revision.id:
            found = split_pairing(self._workspace.metadata.find(Revision, model=revision.model))
            known = self._pairings[revision.model] = revision.id, found
        return known[1]

    def _begin(self, pairing: Pairing, policy: Policy) -> _Open:
        metric = policy.llm.promote.metric
        traffic = SplitTraffic(self._workspace.predictions, pairing.prompt, metric, pairing.first)
        written = comparisons_of(self._workspace.metadata, pairing)
        decided = next((c for c in written if c.verdict != "continue"), None)
        last = max((to_micros(c.end) for c in written if c.verdict == "continue"), default=0)
        return _Open(pairing=pairing, traffic=traffic, written=last, decided=decided)

    def _write(self, known: _Open, policy: Policy) -> list[Comparison]:
        """Write a comparison for each window that is over, and one for the verdict."""
        traffic, size = known.traffic, policy.decide.window
        if known.decided is not None or not traffic.conversations:
            return []
        look = size // LOOKS_IN_A_WINDOW or 1
        full = len(traffic.conversations) >= policy.llm.promote.max_conversations
        seen = (traffic.reached // look, len(known.pairing.shares), full)
        if seen == known.looked_at and traffic.bad_events < known.next_look:
            return []
        known.looked_at, known.next_look = seen, traffic.bad_events + max(1, traffic.bad_events // LOOKS_PER_EVENT)
        conversations = [c for c in traffic.conversations.values() if c.revision in known.pairing.shares]
        if not conversations:
            return []
        now = weigh(conversations, known.pairing, policy, traffic.reached)
        begun = min(c.first for c in conversations) // size * size
        ends = range(max(known.written, begun) + size, traffic.reached // size * size + 1, size)
        made = []
        for end in ends:
            if now.verdict != "continue" and now.decided_at < end:
                break
            then = weigh(conversations, known.pairing, policy, end, before=end)
            made.append(self._comparison(known, then, conversations, begun, end - size, end, policy))
        if now.verdict != "continue":
            start = now.decided_at // size * size
            now = weigh(conversations, known.pairing, policy, now.decided_at, before=now.decided_at + 1)
            known.decided = self._comparison(known, now, conversations, begun, start, now.decided_at, policy)
            made.append(known.decided)
        self._workspace.metadata.put(*made)
        if ends:
            known.written = ends[-1]
        return made

    def _comparison(
        self,
        known: _Open,
        found: LiveEvidence,
        conversations: Sequence[Conversation],
        begun: int,
        start: int,
        end: int,
        policy: Policy,
    ) -> Comparison:
        """Return the record of a window. conversations: all. begun: start of the first window. start, end: of this."""
        pairing, size = known.pairing, policy.decide.window
        own = [c for c in conversations if start <= c.first < max(end, start + 1)]
        turns = sum(c.turns for c in own)
        at = from_micros(start)
        text = at.isoformat().replace("+00:00", "Z")
        kind = "verdict" if found.verdict != "continue" else text
        version = f"{pairing.prompt}/v{pairing.challenger}"
        return Comparison(
            id=f"{version}/comparison/v{pairing.champion}/r{pairing.first}/{kind}",
            created_at=self._workspace.now(),
            model=pairing.prompt,
            version=pairing.challenger,
            against=pairing.champion,
            window=f"{version}/{text}/closed",
            start=at,
            end=from_micros(end),
            metric=policy.llm.promote.metric,
            gain=_gain(crude_ratio(own)),
            mean=_gain(found.bounds.ratio),
            low=_gain(found.bounds.high),
            high=_gain(found.bounds.low) if found.bounds.low > 0 else None,
            windows=(start - begun) // size + 1,
            held_out=0,
            labels=sum(found.conversations),
            predictions_per_day=turns * MICROS["d"] / max(end - start, 1),
            money_per_day=None,
            money_per_day_low=None,
            money_per_day_high=None,
            verdict=found.verdict,
            reason=in_words(found, policy),
            unit=found.unit,
            revision=pairing.first,
        )

    def _act_on_shadow(self, revision: Revision, policy: Policy) -> None:
        """Promote or abandon a judged shadow that has a verdict."""
        if policy.llm.promote.evidence_for(policy.rollout.strategy) != "judge":
            return
        shadow = next((a for a in revision.assignments if a.role == "shadow" and not a.kept), None)
        champion = next((a for a in revision.assignments if a.role == "champion"), None)
        if shadow is None or champion is None:
            return
        found = latest(
            self._workspace.metadata,
            Comparison,
            model=revision.model,
            version=shadow.version,
            against=champion.version,
        )
        begun = revision.as_of
        if found is None or found.verdict == "continue" or (begun is not None and found.end <= begun):
            return
        people = self._by_people(found, policy)
        if found.verdict == "promote" and people is not None and people.interval.high < 0:
            self._tell(found, f"its verdict, promote, changes nothing: {people}")
            return
        self._act(found, policy, "" if people is None else f"; {people}")

    def _by_people(self, found: Comparison, policy: Policy) -> JudgedDifference | None:
        """Return the correction of a judge by people; it is computed once for each comparison that is written."""
        kind, _, judge = policy.llm.promote.metric.partition(":")
        if kind != "judge":
            return None
        known = self._corrected.get(found.model)
        if known is None or known[0] != found.id:
            people = judged_difference(self._workspace, found.model, found.version, judge)
            known = self._corrected[found.model] = found.id, people
        return known[1]

    def _act(self, decided: Comparison, policy: Policy, more: str = "") -> None:
        """Promote or take back what a comparison has decided on; what serves may have changed meanwhile.

        more: is added to its reason.
        """
        metadata, model = self._workspace.metadata, decided.model
        promotes = decided.verdict == "promote"
        if why := self._not_calibrated(policy):
            self._tell(decided, f"its verdict, {decided.verdict}, changes nothing: {why}")
            return
        if promotes:
            if policy.rollout.strategy == "canary":
                return  # its steps and the guard decide
            if hold_reason(metadata, policy.decide, model, event_time(metadata, model, self._workspace.clock)):
                return
        rollouts = open_rollouts(self._workspace, model)
        change = rollouts.promote if promotes else rollouts.abandon
        cause = f"{decided.id}/{'promote' if promotes else 'abandon'}"
        try:
            revision = change(cause=cause, reason=f"{decided.reason}{more}", by="trimtab", judged=decided.version)
        except (ActionError, Conflict) as error:  # something else came to serve meanwhile: the next step looks again
            self._tell(decided, str(error))
            return
        log.info("prompt %s: %s by revision %d: %s", model, revision.action, revision.number, decided.reason)
        self._aliases(lambda: self._workspace, model)

    def _not_calibrated(self, policy: Policy) -> str:
        """Return why the judge whose verdicts count may inform only; empty where it may decide, or none judges."""
        kind, _, name = policy.llm.promote.metric.partition(":")
        if kind != "judge":
            return ""
        judges = self._workspace.project.definitions.judges
        if name not in judges:
            return f"definitions.py has no judge '{name}' (llm.promote.metric).{nearest(name, judges)}"
        refused = judge_standing(self._workspace, judges[name]).refused
        return f"judge '{name}' may not decide: {refused}" if refused else ""

    def _tell(self, decided: Comparison, why: str) -> None:
        """Log once why a verdict could not be acted on."""
        if self._failed.get(decided.id) != why:
            self._failed[decided.id] = why
            log.warning("%s: %s", decided.id, why)


def split_pairing(revisions: Sequence[Revision]) -> Pairing | None:
    """Return the champion and the challenger that share the traffic now, or None. revisions: newest first."""
    shares: dict[int, float] = {}
    sides: tuple[str, str] | None = None
    first = None
    for revision in revisions:
        found = _sides(revision)
        if found is None or (sides is not None and found[:2] != sides):
            break
        sides, first = found[:2], revision
        shares[revision.number] = found[2]
    if first is None:
        return None
    versions = {a.role: a.version for a in first.assignments if not a.kept}
    return Pairing(
        prompt=first.model,
        champion=versions["champion"],
        challenger=versions["challenger"],
        first=first.number,
        shares=shares,
    )


def comparisons_of(metadata: Metadata, pairing: Pairing) -> list[Comparison]:
    """Return what was written of a comparison, oldest first."""
    found = metadata.find(
        Comparison, model=pairing.prompt, version=pairing.challenger, against=pairing.champion, oldest_first=True
    )
    return [c for c in found if c.revision == pairing.first]


def _sides(revision: Revision) -> tuple[str, str, float] | None:
    """Return the bundles of champion and challenger and the challenger's share, or None where nothing is split."""
    found = {a.role: a for a in revision.assignments if not a.kept}
    if "champion" not in found or "challenger" not in found:
        return None
    champion, challenger = found["champion"], found["challenger"]
    if not champion.weight > 0 or not challenger.weight > 0:
        return None
    return champion.bundle, challenger.bundle, challenger.weight / (champion.weight + challenger.weight)


def _gain(ratio: float) -> float | None:
    """Return by which share bad events are fewer; None where it is not known."""
    return 1 - ratio if math.isfinite(ratio) else None
