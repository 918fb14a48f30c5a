"""The retraining workflow: snapshot, train, gates, register, challenge, compare, promote or abandon.

A DBOS workflow: each step is recorded when it is done, and a process that dies goes on at the first
step that was not. Every step is safe to run again: it asks for its record by a key before it makes one.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from trimtab import units
from trimtab.app.gateway.turns import unmeasured
from trimtab.app.jobs import training_places
from trimtab.app.jobs.passing_failures import MayPass, may_pass
from trimtab.app.llm import prompt_stages
from trimtab.app.llm.prompt_tuning import tune
from trimtab.app.loop.workflow_names import WORKFLOW, workflow_id
from trimtab.app.loop.workflows import (
    APPLICATION,
    QUEUE,
    STEPS_VERSION,
    UNFINISHED,
    engine_options,
    store_errors,
)
from trimtab.app.project.locks import only_training
from trimtab.app.project.mlflow_access import set_aliases
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.candidate import ENDED_OTHERWISE, judge_candidate, judge_on_probation, promotion, removal
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import pipeline
from trimtab.clock import from_micros, to_micros
from trimtab.control.failures import last_good_data
from trimtab.control.history import STOP
from trimtab.control.holds import active_freeze, event_time, freeze_reason, hold_reason
from trimtab.control.refresh import promotes_at_once, serves_at_once
from trimtab.control.suspicion import held
from trimtab.control.way_back import on_probation
from trimtab.errors import ActionError, Conflict, GateRefused, StageError, StoreError, TrimtabError
from trimtab.lazy_library import LazyLibrary
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Role
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stores.metadata.contract import latest

if TYPE_CHECKING:
    import dbos
else:  # commands that look at a loop import this file, and run no workflow
    dbos = LazyLibrary("dbos")

log = logging.getLogger(__name__)

APPROVAL = "approval"
MATURED = "matured"
WAIT_SECONDS = 3600.0
"""Longest single wait; a wait that ends without a message is begun again."""
POLL_SECONDS = 0.05
QUEUE_POLL_SECONDS = 0.5
EXECUTOR = "local"
"""The one that runs workflows; another name would never resume those of this one."""

P = ParamSpec("P")
T = TypeVar("T")


def _in_words(step: Callable[..., object], error: Exception) -> str:
    if isinstance(error, TrimtabError):
        return str(error)
    return f"{step.__name__.strip('_')}: {type(error).__name__}: {error}"


class Retraining:
    """Runs retraining workflows of one workspace. One instance a process."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._waiting: dict[str, str] = {}
        self._unread: Counter[tuple[str, str]] = Counter()
        """By workflow and topic: messages that were sent and not taken yet."""
        self.measured = True
        """Whether what this machine measured (latency, memory) may refuse or hold back a bundle."""
        self.now: datetime | None = None
        """Event time, by which freezes and quiet hours end; None: the end of the model's newest window."""
        self._lock = threading.Lock()
        self._url = workspace.workflows_url
        config: dbos.DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._url,
            "db_engine_kwargs": engine_options(self._url),
            "application_version": STEPS_VERSION,
            "executor_id": EXECUTOR,
            "log_level": "ERROR",
            "notification_listener_polling_interval_sec": POLL_SECONDS,
        }
        self._dbos = dbos.DBOS(config=config)

        @dbos.DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)  # one that waits may see any number of launches
        def retrain(model: str, decision: str, as_of: int, approved: bool) -> str:
            return self._retrain(model, decision, as_of, approved)

        self._workflow = retrain

    def launch(self) -> None:
        """Start DBOS; workflows that a dead process left behind, and queued ones, go on. Raises StoreError."""
        try:
            with store_errors(self._url):
                dbos.DBOS.launch()
                dbos.DBOS.register_queue(QUEUE, polling_interval_sec=QUEUE_POLL_SECONDS)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Stop; unfinished workflows go on at the next launch."""
        logging.getLogger("dbos").setLevel(logging.CRITICAL)  # its threads complain that it is gone, until they are too
        dbos.DBOS.destroy(workflow_completion_timeout_sec=0)

    def start(self, decision: Decision, *, as_of: datetime, approved: bool) -> str:
        """Start the workflow of a decision, or find it when it was started before; return its id."""
        workflow = workflow_id(decision.id)
        with dbos.SetWorkflowID(workflow):
            dbos.DBOS.start_workflow(self._workflow, decision.model, decision.id, to_micros(as_of), approved)
        return workflow

    def tell(self, workflow: str, topic: str, message: str) -> None:
        """Send a workflow a message, and mark the workflow busy until it has taken it and waits again."""
        with self._lock:
            self._unread[workflow, topic] += 1
        dbos.DBOS.send(workflow, message, topic)

    def waits_for(self, workflow: str, topic: str) -> bool:
        """Return True if a workflow waits for a topic now."""
        with self._lock:
            return self._waiting.get(workflow) == topic and not self._unread[workflow, topic]

    def unfinished(self) -> dict[str, str]:
        """Return the workflows that have not ended, oldest first: id -> model."""
        found = dbos.DBOS.list_workflows(name=WORKFLOW, status=UNFINISHED, load_output=False)
        return {w.workflow_id: w.input["args"][0] if w.input else "" for w in found}

    def active(self, model: str) -> list[str]:
        """Return the ids of this model's workflows that have not ended, oldest first."""
        return [workflow for workflow, of in self.unfinished().items() if of == model]

    def busy(self, unfinished: Iterable[str]) -> bool:
        """Return True if any of some workflows is working, rather than waiting for labels or a person."""
        with self._lock:
            return any(map(self._is_at_work, unfinished))

    def _is_at_work(self, workflow: str) -> bool:
        topic = self._waiting.get(workflow)
        return topic is None or self._unread[workflow, topic] > 0

    # --- the workflow: only steps and waits, nothing that could differ when it is run again

    def _retrain(self, model: str, decision: str, as_of: int, approved: bool) -> str:
        workflow = str(dbos.DBOS.workflow_id)
        if not approved:
            verdict = self._wait(workflow, APPROVAL)
            if not self._do(self._approval, workflow, model, decision, verdict):
                return "rejected"
        self._wait_for_hold(workflow, model, decision, approved)
        if model in self._workspace.project.definitions.prompts:
            return self._tune(workflow, model, decision)
        try:
            dataset = self._do(self._snapshot, workflow, model, decision, as_of)
            run = self._do(self._train, workflow, model, decision, dataset)
            report = self._do(self._gates, workflow, model, decision, run)
            serves = self._do(self._refit, workflow, model, decision, run)
            bundle = self._do(self._register, workflow, model, decision, run, report, serves)
            self._wait_for_hold(workflow, model, decision, True)
            self._do(self._challenge, workflow, model, decision, bundle)
        except TrimtabError as error:
            self._do(self._stop, workflow, model, decision, str(error), isinstance(error, GateRefused))
            return "stopped"
        while True:
            verdict = self._do(self._compare, workflow, model, decision, bundle)
            if verdict == "continue":
                self._wait(workflow, MATURED)
                continue
            try:
                if verdict == "promoted":
                    return str(self._do(self._end, workflow, model, decision, bundle))
                if verdict == "promote":
                    return str(self._do(self._promote, workflow, model, decision, bundle))
                return str(self._do(self._abandon, workflow, model, decision, bundle, verdict))
            except (ActionError, Conflict) as error:  # something else came to serve meanwhile: look again
                log.warning("%s: %s", workflow, error)

    def _tune(self, workflow: str, model: str, decision: str) -> str:
        """Search for a better version of a prompt, and let it challenge; live comparisons end that."""
        try:
            bundle = self._do(self._search, workflow, model, decision)
            if bundle is None:
                return "nothing better"
            self._wait_for_hold(workflow, model, decision, True)
            self._do(self._challenge, workflow, model, decision, bundle)
        except TrimtabError as error:
            self._do(self._stop, workflow, model, decision, str(error), isinstance(error, GateRefused))
            return "stopped"
        return "challenges"

    def _wait_for_hold(self, workflow: str, model: str, decision: str, quiet: bool) -> None:
        """Wait while the model is frozen, and with `quiet` while the quiet hours last."""
        while self._do(self._hold, workflow, model, decision, quiet) is not None:
            self._wait(workflow, MATURED)

    def _do(
        self,
        step: Callable[Concatenate[str, str, str, P], T],
        workflow: str,
        model: str,
        decision: str,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a step, again after a pause while it fails by what may pass (`retrain.retries` times).

        Whatever it raises then stops the workflow with a reason, and leaves the loop alone.
        """
        attempt = 1
        while True:
            try:
                return self._once(step, workflow, model, decision, *args, **kwargs)
            except MayPass as error:
                name = step.__name__.strip("_")
                pause = self._once(self._pause, workflow, model, decision, name, attempt, str(error))
                if pause is None:
                    raise
                dbos.DBOS.sleep(pause)
            attempt += 1

    def _once(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return step(*args, **kwargs)
            except Exception as error:  # a border: the worker
                if may_pass(error):
                    log.warning("step %s failed, which may pass: %s", step.__name__, error)
                    raise MayPass(_in_words(step, error)) from error
                if isinstance(error, TrimtabError):
                    raise
                log.exception("step %s failed", step.__name__)
                raise StageError(_in_words(step, error)) from error

        return dbos.DBOS.run_step({"name": step.__name__.strip("_")}, guarded, *args, **kwargs)

    def _wait(self, workflow: str, topic: str) -> str:
        with self._lock:
            self._waiting[workflow] = topic
        try:
            while (message := dbos.DBOS.recv(topic, timeout_seconds=WAIT_SECONDS)) is None:
                pass
        finally:
            with self._lock:
                self._waiting.pop(workflow, None)
                if self._unread[workflow, topic]:  # none of this process's: an earlier one had sent it
                    self._unread[workflow, topic] -= 1
        return str(message)

    # --- the steps

    def _approval(self, workflow: str, model: str, decision: str, verdict: str) -> bool:
        self._note(workflow, model, decision, "approval", f"the answer to the review: {verdict}")
        return verdict == "approve"

    def _pause(self, workflow: str, model: str, decision: str, step: str, attempt: int, reason: str) -> float | None:
        """Return after how many seconds a failed step is tried again, or None when it was tried often enough."""
        policy = self._workspace.project.policy.retrain
        if attempt > policy.retries:
            return None
        pause = policy.backoff << (attempt - 1)
        outcome = f"{step} failed ({attempt} of {policy.retries + 1} attempts), again in {units.short(pause)}: {reason}"
        with suppress(TrimtabError):  # the store may be what fails
            self._note(workflow, model, decision, f"retry_{step}_{attempt}", outcome)
        return pause / units.MICROS["s"]

    def _hold(self, workflow: str, model: str, decision: str, quiet: bool) -> str | None:
        """Return what holds the workflow back, or None; note the first thing that does."""
        metadata, policy = self._workspace.metadata, self._workspace.project.policy.decide
        now = self.now or event_time(metadata, model, self._workspace.clock)
        if quiet:
            found = hold_reason(metadata, policy, model, now)
        else:
            freeze = active_freeze(metadata, model, now)
            found = None if freeze is None else freeze_reason(freeze)
        if found is not None:
            self._note(workflow, model, decision, "hold", found)
        return found

    def _snapshot(self, workflow: str, model: str, decision: str, as_of: int) -> str:
        closed = latest(self._workspace.metadata, WindowReport, model=model, stage="closed")
        known_by = max(from_micros(as_of), closed.end) if closed else from_micros(as_of)
        refreshed = self._workspace.project.policy.retrain.refresh is not None
        until = from_micros(as_of) if refreshed else None  # where the quarantine's rules act, what is not judged waits
        dataset = pipeline.snapshot(self._workspace, model, as_of=known_by, judged_until=until)
        line = f"{dataset.labelled:,} labelled rows known by {dataset.as_of:%Y-%m-%d %H:%M}"
        line += "".join(f"; without {a:%Y-%m-%d %H:%M} to {b:%Y-%m-%d %H:%M}" for a, b in dataset.without)
        line += "".join(f"; warning: {warning}" for warning in dataset.warnings)
        tables = self._workspace.model(model).source_tables
        line += "".join(f"; {text}" for text in last_good_data(self._workspace.metadata, tables))
        self._note(workflow, model, decision, "snapshot", line, dataset.id)
        return dataset.id

    def _train(self, workflow: str, model: str, decision: str, dataset: str) -> str:
        version = self._workspace.metadata.get(DatasetVersion, dataset)
        timeout = self._workspace.project.policy.retrain.timeout
        with only_training(self._workspace, model, workflow, wait=True):  # a person's own is let finish
            run = training_places.train(self._workspace, model, version, key=workflow, timeout=timeout)
        self._note(workflow, model, decision, "train", f"run {run.id[:8]}, {run.cpu_seconds:.1f} CPU seconds", run.id)
        return run.id

    def _gates(self, workflow: str, model: str, decision: str, run: str) -> str:
        report = pipeline.evaluate(self._workspace, self._workspace.metadata.get(Run, run), measured=self.measured)
        outcome = "; ".join(f"{r.gate} {r.verdict}" for r in report.results)
        self._note(workflow, model, decision, "gates", outcome, report.id)
        pipeline.refuse(report)
        return report.id

    def _refit(self, workflow: str, model: str, decision: str, run: str) -> str:
        """Fit on all rows what passed the gates; return the run that serves."""
        timeout, judged = self._workspace.project.policy.retrain.timeout, self._workspace.metadata.get(Run, run)
        with only_training(self._workspace, model, workflow, wait=True):
            serves, outcome = training_places.refit(self._workspace, judged, timeout=timeout)
        self._note(workflow, model, decision, "refit", outcome, serves.id)
        return serves.id

    def _register(self, workflow: str, model: str, decision: str, run: str, report: str, serves: str) -> str:
        metadata = self._workspace.metadata
        bundle = pipeline.register(
            self._workspace, metadata.get(Run, run), metadata.get(GateReport, report), serves=metadata.get(Run, serves)
        )
        self._note(workflow, model, decision, "register", f"version {bundle.version}", bundle.id)
        return bundle.id

    def _search(self, workflow: str, model: str, decision: str) -> str | None:
        """Return the registered version that a search found; None where it found nothing better."""
        with only_training(self._workspace, model, workflow, wait=True):
            found = tune(self._workspace, model, tell=lambda text: log.info("%s: %s", model, text))
        searched = found.found
        outcome = (
            f"{searched.proposals} proposals: {searched.before:.3f} before and {searched.after:.3f} after on the "
            "validation items"
        )
        if found.judged is None or not found.accepted:
            self._note(workflow, model, decision, "search", f"{outcome}; {found.champion} stays")
            return None
        bundle = prompt_stages.register(self._workspace, found.judged)
        self._note(workflow, model, decision, "search", f"{outcome}; version {bundle.version}", bundle.id)
        return bundle.id

    def _challenge(self, workflow: str, model: str, decision: str, bundle: str) -> None:
        metadata, policy = self._workspace.metadata, self._workspace.project.policy
        role: Role | None = None
        if promotes_at_once(policy, metadata, model):
            role = "champion"
        elif serves_at_once(policy) and on_probation(metadata, model):
            role = "shadow"
        done = "tuned" if model in self._workspace.project.definitions.prompts else "retrained"
        revision = pipeline.deploy(
            self._workspace,
            metadata.get(Bundle, bundle),
            cause=f"{workflow}/challenge",
            reason=f"{done} by decision {decision}",
            by="trimtab",
            role=role,
        )
        outcome = f"revision {revision.number}: {revision.action}"
        self._note(workflow, model, decision, "challenge", outcome, revision.id)

    def _compare(self, workflow: str, model: str, decision: str, bundle: str) -> str:
        policy = self._workspace.project.policy
        if not self.measured:
            policy = unmeasured(policy)
        task, window = self._workspace.served(model).task, policy.decide.window
        metadata = self._workspace.metadata
        suspected = held(metadata, model, as_of=self.now or event_time(metadata, model, self._workspace.clock))
        verdict = judge_candidate(
            metadata, policy.rollout, model, bundle, task=task, window=window, suspected=suspected
        )
        if serves_at_once(policy) and verdict.name not in ENDED_OTHERWISE and on_probation(metadata, model):
            verdict = judge_on_probation(
                metadata, model, bundle, metric=policy.rollout.promote_when.metric, suspected=suspected
            )
        if verdict.name == "promote" and self._hold(workflow, model, decision, True) is not None:
            return "continue"
        if verdict.reason and verdict.name != "continue":
            self._note(workflow, model, decision, "compare", verdict.reason)
        return verdict.name

    def _promote(self, workflow: str, model: str, decision: str, bundle: str) -> str:
        reason = self._reason(workflow)
        judged = self._workspace.metadata.get(Bundle, bundle).version
        revision = open_rollouts(self._workspace, model).promote(
            cause=f"{workflow}/promote", reason=reason, by="trimtab", judged=judged
        )
        set_aliases(self._workspace, revision)
        self._note(workflow, model, decision, "promote", f"{bundle} is champion", revision.id)
        return "promoted"

    def _end(self, workflow: str, model: str, decision: str, bundle: str) -> str:
        """Note that a canary came through, or that another change promoted the bundle."""
        by = promotion(self._workspace.metadata, model, bundle)
        why = f", by {by.by}: {by.reason}" if by else ""
        self._note(workflow, model, decision, "promote", f"{bundle} is champion{why}", by.id if by else None)
        return "promoted"

    def _abandon(self, workflow: str, model: str, decision: str, bundle: str, verdict: str) -> str:
        if verdict == "replaced":
            by = removal(self._workspace.metadata, model, bundle)
            outcome = f"{bundle} no longer challenges" + (f"; taken out by {by.by}: {by.reason}" if by else "")
            self._note(workflow, model, decision, "abandon", outcome, by.id if by else None)
            return "replaced"
        reason = self._reason(workflow)
        judged = self._workspace.metadata.get(Bundle, bundle).version
        revision = open_rollouts(self._workspace, model).abandon(
            cause=f"{workflow}/abandon", reason=reason, by="trimtab", judged=judged
        )
        set_aliases(self._workspace, revision)
        self._note(workflow, model, decision, "abandon", f"{bundle} is abandoned", revision.id)
        return "abandoned"

    def _stop(self, workflow: str, model: str, decision: str, reason: str, refused: bool) -> None:
        """Note why the workflow ends. refused: by a gate, whose report the note then refers to."""
        gates = latest(self._workspace.metadata, WorkflowStep, workflow=workflow, step="gates") if refused else None
        self._note(workflow, model, decision, STOP, reason, gates.refers_to if gates else None)

    def _reason(self, workflow: str) -> str:
        step = latest(self._workspace.metadata, WorkflowStep, workflow=workflow, step="compare")
        return step.outcome if step else "compared on matured labels"

    def _note(
        self, workflow: str, model: str, decision: str, step: str, outcome: str, refers_to: str | None = None
    ) -> None:
        if latest(self._workspace.metadata, WorkflowStep, workflow=workflow, step=step):
            return  # the step is run again after a crash; what it said first stays
        note = WorkflowStep(
            id=f"{workflow}/{step}",
            created_at=self._workspace.now(),
            workflow=workflow,
            model=model,
            decision=decision,
            step=step,
            outcome=outcome,
            refers_to=refers_to,
        )
        self._workspace.metadata.put(note)
