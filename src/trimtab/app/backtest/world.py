"""One policy on one history: a world with records and a log of its own, on manual time, window by window.

Monitor, Controller, Rollouts and the comparison are those of the live loop; they see a metadata store and a prediction
log in memory. At the end of a window, after the allowed lateness, labels known by then are in the log, the monitor and
the controller take a step, and what they ask for is done at once: a version that was trained serves from the next
window on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from msgspec import structs

from trimtab.app.backtest.candidates import Candidate, Recipe, make_candidate
from trimtab.app.backtest.labelled_history import NEVER, Floats, History
from trimtab.app.backtest.memory_metadata import MemoryMetadata
from trimtab.app.backtest.memory_predictions import MemoryPredictions
from trimtab.app.backtest.policy_run import (
    Change,
    Held,
    PolicyRun,
    Retrained,
    row_losses,
    window_sums,
)
from trimtab.app.backtest.traffic import Traffic
from trimtab.app.backtest.training_cache import TrainingCache, threshold_of
from trimtab.app.backtest.triggers import Trigger
from trimtab.app.gateway.turns import judging_policy
from trimtab.app.loop.monitors import reference_facts
from trimtab.app.rollout.candidate import ENDED_OTHERWISE, judge_candidate, judge_on_probation
from trimtab.app.rollout.rollouts import Rollouts
from trimtab.clock import ManualClock, from_micros, to_micros
from trimtab.control.controller import Controller
from trimtab.control.history import STOP
from trimtab.control.refresh import promotes_at_once, serves_at_once
from trimtab.control.resolve import resolve
from trimtab.control.reviews import pending_reviews
from trimtab.control.suspicion import held
from trimtab.control.way_back import on_probation
from trimtab.control.window_facts import WindowFacts
from trimtab.errors import GateRefused, TrimtabError
from trimtab.monitoring.mistakes import mistakes, pair_costs, row_costs
from trimtab.monitoring.monitor import Monitor
from trimtab.monitoring.reference import Reference
from trimtab.monitoring.row_money import RowMoney, prices
from trimtab.policy.gates import Gates
from trimtab.policy.model import Policy
from trimtab.records.control import Decision, Suspicion, WorkflowStep
from trimtab.records.gate_reports import GateReport
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.tasks import RULES

Step = Callable[[int, int], None]
"""What is done at the end of a window: its number, and its end in microseconds."""

GAIN_WINDOWS = 28
"""Windows after a retraining on which its version is compared with the one before."""
NO_GATES = Gates(accuracy=None, leakage=None, performance=None, custom=None)
"""For the first model, without which there is nothing to compare."""
BY = "trimtab"
APPROVED_BY = "backtest"
APPROVED_REASON = "approved at once, as the backtest was asked to"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A policy to try. trigger: asks for retrainings in place of monitor and controller; approve: reviews, at once."""

    name: str
    policy: Policy
    trigger: Trigger | None = None
    approve: bool = False


class World:
    """The loop of one model under one policy."""

    def __init__(self, plan: Plan, history: History, cache: TrainingCache, *, start: int) -> None:
        """start: event time of the first window that counts, in microseconds; the first model is trained as of it."""
        self._plan = plan
        self._history = history
        self._cache = cache
        self._policy = _simulated(judging_policy(plan.policy, history.task, measured=False))
        self._model = cache.model.name
        self._size = self._policy.decide.window
        self._recipe = Recipe(
            policy=self._policy, gates=_gates(plan.policy), monitored=plan.trigger is None, personal=cache.personal
        )
        self._metadata, self._log = MemoryMetadata(), MemoryPredictions()
        self._clock = ManualClock(from_micros(start))
        keep = self._policy.kept_shadows if plan.trigger is None else 0
        self._rollouts = Rollouts(self._metadata, self._policy.rollout, self._model, self._clock, keep=keep)
        self._traffic = Traffic(history, self._model, start=start)
        self._versions: dict[int, Candidate] = {}
        self._retrained: list[Retrained] = []
        self._challenging: tuple[str, str] | None = None
        """Cause and bundle of the version that is compared."""
        self._served = np.full(history.score_shape, np.nan)
        self._start = start
        self._last_asked = start
        self._first_window = start // self._size
        self._last_window = int(history.at[-1]) // self._size
        self._champions: list[int] = []
        """Champion of each window, from the first on."""

    def run(self) -> PolicyRun:
        """Go through all windows and return what happened. Raises StageError when the first model cannot be made."""
        self._deploy_first()
        step = self._with_controller() if self._plan.trigger is None else self._with_trigger(self._plan.trigger)
        for window in range(self._first_window, self._last_window + 1):
            self._serve(window)
            end = (window + 1) * self._size
            self._clock.move_to(from_micros(end + self._policy.decide.lateness))
            step(window, end)
        return self._result()

    # --- what a step does

    def _with_controller(self) -> Step:
        money = self._cache.model.money
        monitor = Monitor(
            self._metadata,
            self._log,
            self._policy,
            self._reference,
            self._clock,
            impact_functions={} if money is None else {self._model: money},
        )
        controller = Controller(
            self._metadata, self._policy, self._model, self, self._clock, before=self._windows_before
        )

        def step(window: int, end: int) -> None:
            self._log.extend_labels(self._traffic.labels(to_micros(self._clock.now())))
            monitor.step(watermark=self._clock.now())
            controller.step()
            self._approve()
            self._compare()

        return step

    def _with_trigger(self, trigger: Trigger) -> Step:
        watch = trigger.watch()
        waiting: list[int] = []

        def step(window: int, end: int) -> None:
            nonlocal watch
            waiting.append(window)
            while waiting and self._is_judged(waiting[0], to_micros(self._clock.now())):
                watch.judged(self._losses_of(waiting.pop(0)))
            if reason := watch.asks(end, self._last_asked):
                number = len(self._retrained) + 1
                self._last_asked = end
                self._train(cause=f"{self._plan.name}/{number}", trigger=self._plan.name, reason=reason, asked_at=end)
                watch = trigger.watch()
                waiting.clear()

        return step

    def _is_judged(self, window: int, now: int) -> bool:
        """Return True if all labels of a window are known, or have had the time to become known."""
        if (window + 1) * self._size + self._policy.decide.labels_mature_after <= now:
            return True
        rows = self._rows(window)
        return bool((self._history.known_at[rows] <= now).all())

    def _losses_of(self, window: int) -> Floats:
        rows = self._rows(window)
        known = self._history.labelled[rows] & (self._history.known_at[rows] <= to_micros(self._clock.now()))
        return row_losses(self._history.y[rows][known], self._served[rows][known], self._history.task)

    def _rows(self, window: int) -> slice:
        first, last = np.searchsorted(self._history.at, [window * self._size, (window + 1) * self._size])
        return slice(int(first), int(last))

    def _serve(self, window: int) -> None:
        """Score the rows of a window by everything that serves, and log them."""
        revision = self._rollouts.current()
        assert revision is not None
        rows = self._rows(window)
        champion = next(each.version for each in revision.assignments if each.role == "champion")
        self._champions.append(champion)
        scores = {
            each.version: self._versions[each.version].scores.of(rows.start, rows.stop) for each in revision.assignments
        }
        answered_by = self._traffic.answered_by(revision, rows)
        for version in scores:
            own = answered_by == version
            self._served[rows][own] = scores[version][own]
        if self._plan.trigger is None:
            self._log.extend(self._traffic.predictions(revision, rows, scores, answered_by))

    # --- the actions of the controller

    def retrain(self, decision: Decision) -> None:
        """Train, judge and deploy at once."""
        self._train(
            cause=decision.id,
            trigger=decision.trigger,
            reason=decision.reasons[-1] if decision.reasons else "",
            asked_at=to_micros(decision.end),
            decision=decision,
        )

    def review(self, decision: Decision) -> None:
        """Leave a review open; `_approve` answers it where the plan says so."""

    def rollback(self, decision: Decision) -> None:
        """Restore what served before the version that was judged, or the shadow that leads it."""
        reason, judged = "; ".join(decision.reasons), decision.version
        if decision.to_version is None:
            self._rollouts.rollback(cause=decision.id, reason=reason, by=BY, judged=judged)
        else:
            self._rollouts.way_back(decision.to_version, cause=decision.id, reason=reason, by=BY, judged=judged)

    def escalate(self, decision: Decision, reason: str) -> None:
        """Do nothing: no person is there to be told."""

    def running(self, model: str) -> int:
        """Return how many challengers are being compared."""
        return int(self._challenging is not None)

    def _approve(self) -> None:
        for decision in pending_reviews(self._metadata, self._model) if self._plan.approve else ():
            resolve(self._metadata, decision.id, "approve", reason=APPROVED_REASON, by=APPROVED_BY, clock=self._clock)
            self.retrain(decision)

    def _compare(self) -> None:
        """Promote or abandon the challenger when the verdict is there."""
        if self._challenging is None:
            return
        cause, bundle = self._challenging
        rollout, suspected = self._policy.rollout, held(self._metadata, self._model, as_of=self._clock.now())
        verdict = judge_candidate(
            self._metadata,
            rollout,
            self._model,
            bundle,
            task=self._history.task,
            window=self._size,
            suspected=suspected,
        )
        on_trial = serves_at_once(self._policy) and on_probation(self._metadata, self._model)
        if on_trial and verdict.name not in ENDED_OTHERWISE:
            metric = rollout.promote_when.metric
            verdict = judge_on_probation(self._metadata, self._model, bundle, metric=metric, suspected=suspected)
        if verdict.name == "continue":
            return
        judged = self._metadata.get(Bundle, bundle).version
        if verdict.name == "promote":
            self._rollouts.promote(cause=f"{cause}/promote", reason=verdict.reason, by=BY, judged=judged)
            self._note_service(judged)
        elif verdict.name not in ENDED_OTHERWISE:
            self._rollouts.abandon(cause=f"{cause}/abandon", reason=verdict.reason, by=BY, judged=judged)
        self._challenging = None

    # --- training

    def _deploy_first(self) -> None:
        candidate = make_candidate(self._cache, replace(self._recipe, gates=NO_GATES), as_of=self._start)
        bundle = self._register(candidate, cause="first")
        self._rollouts.deploy(bundle, cause="first", reason="the first model", by=APPROVED_BY)

    def _train(self, *, cause: str, trigger: str, reason: str, asked_at: int, decision: Decision | None = None) -> None:
        now = to_micros(self._clock.now()) - self._policy.decide.lateness
        made = Retrained(asked_at=asked_at, began_at=now, trigger=trigger, reason=reason, version=None)
        role = self._role()
        try:
            candidate = make_candidate(
                self._cache,
                self._recipe,
                as_of=now,
                without=() if decision is None else self._without(to_micros(decision.end), now),
                champion=None if decision is None else self._versions[self._champions[-1]],
                compared=role != "champion",
            )
        except TrimtabError as error:
            if decision is not None:
                self._note_stop(decision, error)
            self._retrained.append(structs.replace(made, refused=str(error)))
            return
        bundle = self._register(candidate, cause=cause)
        self._retrained.append(structs.replace(made, version=bundle.version, cpu_seconds=candidate.cpu_seconds))
        revision = self._rollouts.deploy(bundle, cause=f"{cause}/challenge", reason=reason, by=BY, role=role)
        if revision.bundle_in("champion") == bundle.id:
            self._note_service(bundle.version)
        else:
            self._challenging = (cause, bundle.id)

    def _without(self, judged_until: int, now: int) -> tuple[tuple[int, int], ...]:
        """Return the stretches whose rows are left out: suspected ones, and those that are not judged yet."""
        if self._policy.retrain.refresh is None or not self._policy.retrain.quarantine.enabled:
            return ()
        found = held(self._metadata, self._model, as_of=from_micros(now))
        return (*((to_micros(start), to_micros(end)) for start, end in found), (judged_until, NEVER))

    def _role(self) -> Role | None:
        """Return what a version that passed its gates becomes; None: as the policy's strategy says."""
        if self._plan.trigger is not None or promotes_at_once(self._policy, self._metadata, self._model):
            return "champion"
        on_trial = serves_at_once(self._policy) and on_probation(self._metadata, self._model)
        return "shadow" if on_trial else None

    def _register(self, candidate: Candidate, *, cause: str) -> Bundle:
        """Write the records of a training, and keep its model by version."""
        version = len(self._versions) + 1
        self._versions[version] = candidate
        history, now = self._history, self._clock.now()
        key = f"{self._model}-{version}"
        start = np.flatnonzero(candidate.frame)[0]
        late = candidate.known & (history.at >= candidate.split_at)
        dataset = DatasetVersion(
            id=f"dataset-{key}",
            created_at=now,
            model=self._model,
            start=from_micros(int(history.at[start])),
            as_of=now,
            split_at=from_micros(candidate.split_at),
            rows=int(candidate.frame.sum()),
            labelled=int(candidate.known.sum()),
            holdout_rows=int(late.sum()),
            label_mean=float(history.y[candidate.known].mean()),
            tables={},
            views=(),
            code_hash="",
            features=history.names,
            path="",
            without=tuple((from_micros(a), from_micros(min(b, to_micros(now)))) for a, b in candidate.without),
        )
        run = Run(
            id=f"run-{key}",
            created_at=now,
            key=cause,
            model=self._model,
            dataset=dataset.id,
            experiment="",
            seed=self._policy.training.seed,
            params=dict(self._policy.training.params),
            metrics={},
            code_version="",
            environment_hash="",
            cpu_seconds=0.0,
            wall_seconds=0.0,
            peak_memory_mb=0.0,
            cost=0.0,
            model_hash=candidate.training.key,
            staging="",
        )
        report = GateReport(
            id=f"run-{key}/gates",
            created_at=now,
            model=self._model,
            run=run.id,
            champion=self._compared_with(candidate),
            verdict="warn" if any(each.verdict == "warn" for each in candidate.results) else "pass",
            results=candidate.results,
            held_out=candidate.held_out,
        )
        bundle = Bundle(
            id=f"{self._model}/{version}",
            created_at=now,
            model=self._model,
            version=version,
            run=run.id,
            dataset=dataset.id,
            gate_report=report.id,
            digest=candidate.training.key,
            path="",
            features=history.names,
            views=(),
            threshold=threshold_of(self._policy, self._history.task, candidate.training),
        )
        self._metadata.put(dataset, run, report, bundle)
        return bundle

    def _compared_with(self, candidate: Candidate) -> str | None:
        """Return the id of the champion's bundle, for a candidate that is compared with it."""
        if not self._champions or not candidate.held_out:
            return None
        return f"{self._model}/{self._champions[-1]}"

    def _reference(self, model: str, version: int) -> Reference | None:
        return self._versions[version].reference

    def _windows_before(self) -> tuple[WindowFacts, ...]:
        """Return the windows before service, for the quarantine."""
        reference = self._versions[1].reference
        return () if reference is None else reference_facts(reference)

    def _note_stop(self, decision: Decision, error: TrimtabError) -> None:
        """Record that a retraining ended without a bundle. refers_to: a gate report when a gate refused it."""
        self._metadata.put(
            WorkflowStep(
                id=f"{decision.id}/{STOP}",
                created_at=self._clock.now(),
                workflow=decision.id,
                model=self._model,
                decision=decision.id,
                step=STOP,
                outcome=str(error),
                refers_to=f"{decision.id}/gates" if isinstance(error, GateRefused) else None,
            )
        )

    def _note_service(self, version: int) -> None:
        """Note that the version of a retraining serves from the next window on."""
        serves = len(self._champions) + self._first_window
        for place, each in enumerate(self._retrained):
            if each.version == version and each.served_at is None:
                self._retrained[place] = structs.replace(each, served_at=serves * self._size)

    # --- the result

    def _result(self) -> PolicyRun:
        history, policy = self._history, self._policy
        known = history.labelled & np.isfinite(RULES[history.task].main_score(self._served))
        y, score = history.outcomes[known], self._served[known]
        values = [np.ones(len(y)), row_losses(y, score, history.task)]
        function = self._cache.model.money
        costs = prices(policy.impact, history.task, function)
        if costs:
            columns = {name: history.X[known, place] for place, name in enumerate(history.names)}
            own = RowMoney.of(function, columns, names={}, classes=history.classes)
            threshold = threshold_of(policy, history.task, self._versions[1].training)
            made = mistakes(y, score, task=history.task, threshold=threshold, own=own)
            lost = row_costs(made, costs)
            if RULES[history.task].by_class:
                lost += pair_costs(y, score.argmax(axis=1), history.classes, costs)
            values.append(lost)
        numbers, sums = window_sums(history.at[known] // self._size, values)
        decisions = Counter(d.action for d in self._metadata.find(Decision, model=self._model))
        return PolicyRun(
            name=self._plan.name,
            task=history.task,
            starts=[number * self._size for number in numbers],
            rows=[round(rows) for rows in sums[0]],
            losses=sums[1],
            money=sums[2] if costs else None,
            windows=len(self._champions),
            retrained=[self._with_gain(each) for each in self._retrained],
            changes=[_change(r) for r in self._metadata.find(Revision, model=self._model, oldest_first=True)],
            held=[_held(each) for each in self._metadata.find(Suspicion, model=self._model, oldest_first=True)],
            decisions=dict(sorted(decisions.items())),
        )

    def _with_gain(self, made: Retrained) -> Retrained:
        """Return a retraining with what its version saved against the champion of its time."""
        if made.version is None:
            return made
        first = made.began_at // self._size
        rows = slice(self._rows(first).start, self._rows(first + GAIN_WINDOWS - 1).stop)
        known = self._history.labelled[rows]
        if not known.any():
            return made
        before = self._champions[first - 1 - self._first_window]
        y = self._history.outcomes[rows][known]
        losses = [
            row_losses(y, self._versions[v].scores.of(rows.start, rows.stop)[known], self._history.task)
            for v in (before, made.version)
        ]
        windows = len(np.unique(self._history.at[rows][known] // self._size))
        return structs.replace(made, gain=float((losses[0] - losses[1]).mean()), gain_windows=windows)


def _simulated(policy: Policy) -> Policy:
    """Return the policy without what only live traffic can decide: a canary's steps."""
    if policy.rollout.strategy != "canary":
        return policy
    rollout = policy.rollout.model_copy(update={"strategy": "blue-green"})
    return policy.model_copy(update={"rollout": rollout})


def _gates(policy: Policy) -> Gates:
    return policy.gates.model_copy(update={"performance": None, "custom": None})


def _champion(revision: Revision) -> int:
    return next(each.version for each in revision.assignments if each.role == "champion")


def _change(revision: Revision) -> Change:
    return Change(
        at=to_micros(revision.created_at),
        action=revision.action,
        champion=_champion(revision),
        reason=revision.reason,
    )


def _held(suspicion: Suspicion) -> Held:
    return Held(start=to_micros(suspicion.start), end=to_micros(suspicion.end), reason=suspicion.reason)
