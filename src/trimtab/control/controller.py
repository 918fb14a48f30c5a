"""The controller of one model: judges champion windows, writes decisions, starts what they ask for.

A decision is in the ledger before its action is started. When the process dies in between, the first step of the
next one starts it; actions are idempotent by the decision's id, so an action happens once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from trimtab import units
from trimtab.clock import Clock, to_micros
from trimtab.control.cause import Cause, gather
from trimtab.control.decision import Draft
from trimtab.control.failures import ask_about_failure, last_good_data
from trimtab.control.history import ControlEvents, ControlHistory, champions, gather_history
from trimtab.control.holds import active_freeze, freeze_reason
from trimtab.control.ledger import Ledger
from trimtab.control.quarantine_steps import QuarantineSteps
from trimtab.control.refresh import due, labelled_rows
from trimtab.control.resolve import expire, supersede
from trimtab.control.retrain_requests import about, decide_request, open_requests
from trimtab.control.reviews import ESCALATE, pending_reviews, proposes_retraining
from trimtab.control.rollback import broken_limits, decide_rollback
from trimtab.control.routine import Situation, decide_window
from trimtab.control.suspicion import Stretch, held
from trimtab.control.way_back import Lead, leads
from trimtab.control.window_facts import Before
from trimtab.errors import Conflict, Temporary, TrimtabError
from trimtab.policy.model import Policy
from trimtab.records.control import Decision, Resolution, Trigger, WorkflowStep
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import Metadata, latest, newest_until, newest_where

GUARDED = "/guarded"
"""Suffix of the ids of windows that the gateway's guard decides on, at any time."""

ANY_CHAMPION: tuple[Trigger, ...] = ("routine", "data", "request")
"""Triggers of retrainings that are no answer to what a champion did, so another champion does not end them."""

log = logging.getLogger(__name__)


class Actions(Protocol):
    """The actions of a controller. Each is idempotent by the decision's id: called twice, it happens once."""

    def retrain(self, decision: Decision) -> None:
        """Start a retraining."""
        ...

    def review(self, decision: Decision) -> None:
        """Ask a person whether to retrain, and retrain when the answer is yes."""
        ...

    def rollback(self, decision: Decision) -> None:
        """Restore what served before."""
        ...

    def escalate(self, decision: Decision, reason: str) -> None:
        """Record that a review has waited too long for an answer."""
        ...

    def running(self, model: str) -> int:
        """Return how many retrainings of the model have not ended."""
        ...


class Controller:
    """Judges each champion window of one model once: when its labels matured, and operations when it closed."""

    def __init__(
        self,
        metadata: Metadata,
        policy: Policy,
        model: str,
        actions: Actions,
        clock: Clock,
        *,
        tables: Sequence[str] = (),
        before: Before = tuple,
        no_search: Callable[[], str] = str,
    ) -> None:
        """tables: names of the tables that the model's training sets are made of. before: gives the windows before
        service, which the quarantine compares with. no_search: of a prompt, gives why no search for a better one can be
        started; empty when one can."""
        self._no_search = no_search
        self._metadata = metadata
        self.policy = policy
        """The policy from the next step on."""
        self._model = model
        self._actions = actions
        self._clock = clock
        self._tables = tables
        self._ledger = Ledger(metadata, model)
        self._events = ControlEvents(metadata, model)
        self._quarantine = QuarantineSteps(metadata, model, clock, before)
        self._seen: str | None = None
        """The newest window of the last step."""
        self._reading: str | None = None
        self._unstarted: list[Decision] | None = None

    def step(self) -> tuple[Decision, ...]:
        """Decide on every window that became ready, oldest first, and start the actions."""
        if self._unstarted is None:
            self._unstarted = self._never_started()
        self._start()
        made: list[Decision] = []
        for window in self._new_windows():
            self._keep_reviews(window)
            draft = self._judge(window)
            made += self._decided_on(draft) if draft else ()
        self._seen = self._reading
        made += self._answer_requests()
        return tuple(made)

    def _answer_requests(self) -> list[Decision]:
        """Decide on the requests to retrain, one after the other: while a retraining runs they wait."""
        made: list[Decision] = []
        for request in open_requests(self._metadata, self._model):
            if self._actions.running(self._model):
                break
            window = about(self._metadata, request)
            made += self._decided_on(decide_request(request, window, self.policy, self._history(window)))
        return made

    def _decided_on(self, draft: Draft) -> tuple[Decision, ...]:
        """Write a decision and start its action; return it, or nothing when another process has decided meanwhile."""
        decision = self._ledger.append(draft, clock=self._clock)
        if decision is None:
            return ()
        self._unstarted = [*(self._unstarted or ()), decision]
        self._start()
        return (decision,)

    def _new_windows(self) -> list[WindowReport]:
        """Return the champion windows that are not decided on, in the order they were written."""
        seen = self._seen or self._decided()
        found = newest_until(self._metadata, WindowReport, lambda w: w.id == seen, model=self._model)
        self._reading = found[0].id if found else seen
        champion = [w for w in reversed(found) if w.role == "champion"]
        decided = self._ledger.on(champion)
        champion = [w for w in champion if w.id not in decided]
        return [w for w in champion if w.stage == "matured" or (w.stage == "closed" and not _later_closed(w, champion))]

    def _decided(self) -> str | None:
        """Return the last window that a controller decided on; earlier ones need no decision."""
        last = newest_where(self._metadata, Decision, _is_of_the_log, model=self._model)
        return last.window if last else None

    def _judge(self, window: WindowReport) -> Draft | None:
        if window.stage == "matured":
            history = self._history(window)
            return self._noted(ask_about_failure(self._judge_matured(window, history), history))
        if not broken_limits(window, self.policy.rollout.rollback_when):
            return None
        return decide_rollback(self._cause(window), self.policy, self._history(window))

    def _noted(self, draft: Draft) -> Draft:
        """Add to a decision that may lead to a retraining which older data it would use."""
        if draft.action == "monitor" or draft.cell == "monitor":
            return draft
        return replace(draft, reasons=(*draft.reasons, *last_good_data(self._metadata, self._tables)))

    def _judge_matured(self, window: WindowReport, history: ControlHistory) -> Draft:
        cause, policy = self._cause(window), self.policy
        by_rows = policy.retrain.refresh is not None or policy.retrain.on_new_data is not None
        watched = policy.retrain.refresh is not None or policy.rollout.watch is not None
        situation = Situation()
        if by_rows or watched:
            quarantined = self._quarantine.judge(cause, policy)
            suspected = held(self._metadata, self._model, as_of=window.end)
            ahead = self._leads(window, suspected) if watched else ()
            situation = Situation(quarantined=quarantined, leads=ahead)
            if by_rows:
                rows = labelled_rows(self._metadata, self._model, history, until=window.end, suspected=suspected)
                situation = replace(situation, due=due(cause, policy, rows))
        return decide_window(cause, policy, history, situation)

    def _leads(self, window: WindowReport, suspected: Sequence[Stretch]) -> tuple[Lead, ...]:
        metric = self.policy.rollout.promote_when.metric
        return leads(self._metadata, self._model, until=window.end, metric=metric, suspected=suspected)

    def _cause(self, window: WindowReport) -> Cause:
        policy = self.policy
        return gather(self._metadata, window, over=policy.impact.over, size=policy.decide.window)

    def _history(self, window: WindowReport) -> ControlHistory:
        known_at = window.end + timedelta(microseconds=self.policy.decide.labels_mature_after)
        freeze = active_freeze(self._metadata, self._model, known_at)
        return gather_history(
            self._events,
            time=window.end,
            running=self._actions.running(self._model),
            frozen=None if freeze is None else freeze_reason(freeze),
            frozen_until=None if freeze is None else freeze.until,
            no_search=self._no_search(),
        )

    def _keep_reviews(self, window: WindowReport) -> None:
        """Reject the reviews that have expired by the end of a window, and escalate those that have waited long."""
        times = self.policy.decide.reviews
        for review in pending_reviews(self._metadata, self._model):
            waited = to_micros(window.end) - to_micros(review.end)
            if times.expire is not None and waited >= times.expire:
                expire(self._metadata, review, after=times.expire, clock=self._clock)
            elif times.escalate is not None and waited >= times.escalate:
                self._actions.escalate(review, f"no answer for {units.short(times.escalate)} (decide.reviews.escalate)")

    def _never_started(self) -> list[Decision]:
        """Return the decisions of an ended process whose actions were not started and still apply."""
        champion, _ = champions(self._events.revisions)
        wanted = [
            d
            for d in self._events.acting
            if _needs_action(d) and (d.trigger in ANY_CHAMPION or champion in (None, d.version))
        ]
        if not wanted:
            return []
        steps = self._metadata.find(WorkflowStep, model=self._model)
        begun = {step.decision for step in steps if step.step != ESCALATE}
        answered = {r.decision for r in self._metadata.find(Resolution, model=self._model) if r.verdict == "reject"}
        return [
            d
            for d in wanted
            if d.id not in begun | answered and latest(self._metadata, Revision, model=self._model, cause=d.id) is None
        ]

    def _start(self) -> None:
        """Start the decided actions. Those that may succeed later are tried by the next step; others are logged."""
        waiting, self._unstarted = self._unstarted or [], []
        for place, decision in enumerate(waiting):
            try:
                self._act(decision)
            except TrimtabError as error:
                again = isinstance(error, Conflict | Temporary)
                if again:
                    self._unstarted.append(decision)
                outcome = "is tried again" if again else "could not be done"
                log.warning("%s: %s %s: %s", decision.id, decision.action, outcome, error)
            except BaseException:
                self._unstarted = [*self._unstarted, *waiting[place:]]
                raise

    def _act(self, decision: Decision) -> None:
        if decision.action == "retrain":
            supersede(self._metadata, decision, clock=self._clock)
            self._actions.retrain(decision)
        elif decision.action == "rollback":
            self._actions.rollback(decision)
        elif proposes_retraining(decision):
            self._actions.review(decision)


def _is_of_the_log(decision: Decision) -> bool:
    """Return True if a decision is about a window of the log, rather than of the guard or about a request."""
    return not decision.window.endswith(GUARDED) and decision.trigger != "request"


def _needs_action(decision: Decision) -> bool:
    return decision.action in ("retrain", "rollback") or proposes_retraining(decision)


def _later_closed(window: WindowReport, windows: list[WindowReport]) -> bool:
    return any(w.version == window.version and w.start > window.start for w in windows)
