"""The steering loop: monitor, decide, act, notify waiting workflows. One instance per project.

log -> windows and signals -> decisions -> actions. Only this file loops; the parts do one step each.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial

import msgspec

from trimtab.app.gateway.turns import judging_policy, read_turn
from trimtab.app.labels.importing import OutcomeImporter
from trimtab.app.llm.live_comparison import LiveComparisons
from trimtab.app.llm.spend.closed_periods import SpendUpkeep
from trimtab.app.llm.watching.judging import LiveJudging
from trimtab.app.loop.actions import LoopActions, Retrainings
from trimtab.app.loop.comparisons import Comparisons
from trimtab.app.loop.monitors import open_monitor, windows_before_service
from trimtab.app.loop.retraining import APPROVAL, MATURED, Retraining
from trimtab.app.loop.scheduled_compaction import ScheduledCompaction, ScheduledUpkeep
from trimtab.app.loop.trigger_steps import Triggers
from trimtab.app.loop.watch import Watch
from trimtab.app.loop.workflow_names import workflow_id
from trimtab.app.loop.workflows import Workflows
from trimtab.app.project import process_files
from trimtab.app.project.ledger_checks import note_policy
from trimtab.app.project.process_files import PROGRESS, Progress
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.rollouts import CANDIDATES
from trimtab.app.stages.freshness import FeatureRefresher
from trimtab.clock import from_micros
from trimtab.control.controller import Controller
from trimtab.control.holds import event_time, hold_reason
from trimtab.monitoring.event_windows import BEGINNING
from trimtab.records.control import Decision, Resolution
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.stores.metadata.chain import LedgerBroken
from trimtab.stores.metadata.contract import latest

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
POLL_SECONDS_IN_REPLAY = 0.004
PATIENCE = timedelta(seconds=5)
"""In a turn: how long rows that are still to come are waited for after the last one came, or the turn began."""


def decide_once(workspace: Workspace) -> list[Decision]:
    """Take in what is new, decide on the windows that are ready, and act; retrainings are queued for `trimtab up`.

    No workflow runs or is resumed here.
    """
    note_policy(workspace)
    FeatureRefresher(workspace).step()
    OutcomeImporter(workspace).step()
    LiveJudging(workspace).step(wait=True)
    open_monitor(workspace).step()
    Watch(workspace).step()
    with closing(Workflows(workspace.workflows_url)) as workflows:
        controllers = _controllers(workspace, workflows)
        decisions = [d for controller in controllers.values() for d in controller.step()]
        comparisons = Comparisons(workspace.metadata, workspace.clock)
        for name, controller in controllers.items():
            comparisons.step(name, workspace.served(name).task, controller.policy)
        compare_prompts(workspace, LiveComparisons(workspace), controllers)
        return decisions


def _controllers(workspace: Workspace, retrainings: Retrainings) -> dict[str, Controller]:
    actions = LoopActions(workspace, retrainings, searches=retrainings)
    return {
        name: Controller(
            workspace.metadata,
            judging_policy(workspace.project.policy, model.task, measured=True),
            name,
            actions,
            workspace.clock,
            tables=model.source_tables,
            before=partial(windows_before_service, workspace, name),
            no_search=partial(actions.no_search, name),
        )
        for name, model in workspace.project.definitions.served.items()
    }


def compare_prompts(workspace: Workspace, live: LiveComparisons, controllers: Mapping[str, Controller]) -> int:
    """Compare the challengers of prompts, and act on verdicts; return how many comparisons were written."""
    prompts = workspace.project.definitions.prompts
    return sum(len(live.step(name, each.policy)) for name, each in controllers.items() if name in prompts)


class Steering:
    """Monitor, controllers and workflows of one project."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._monitor = open_monitor(workspace)
        self._retraining = Retraining(workspace)
        self._triggers = Triggers(workspace)
        self._compaction = ScheduledCompaction(workspace)
        self._upkeep = ScheduledUpkeep(workspace)
        self._spend = SpendUpkeep(workspace)
        self._outcomes = OutcomeImporter(workspace)
        self._features = FeatureRefresher(workspace, lambda: read_turn(workspace.run_folder) is not None)
        self._watch = Watch(workspace)
        self._judging = LiveJudging(workspace)
        self._comparisons = Comparisons(workspace.metadata, workspace.clock)
        self._live = LiveComparisons(workspace)
        self._compared = False
        """Whether the comparisons of all windows are written."""
        self.poll_seconds = POLL_SECONDS
        """How long to wait after a step that found nothing to do."""
        self._ledger_is_broken = False
        self._turn = 0
        self._busy = False
        """Whether a workflow was at work at the end of the last step."""
        self._told: Progress | None = None
        """What was written last."""
        self._asked = 0
        """Number of the turn that a replay has asked for last."""
        self._newest: tuple[int, datetime] = (0, workspace.now())
        """Rows taken in, and when the last ones came in this turn, or it began."""
        self._revisions: dict[str, str] = {}
        """By model: the revision that its workflows were told of."""
        self._held: dict[str, bool] = {}
        """By model: whether a freeze or the quiet hours hold it back, as its workflows were told."""
        self._controllers = _controllers(workspace, self._retraining)

    def launch(self) -> None:
        """Start; workflows that a dead process left unfinished go on."""
        self._retraining.launch()

    def close(self) -> None:
        """Stop; unfinished workflows go on at the next launch."""
        self._judging.close()
        self._retraining.close()
        (self._workspace.run_folder / PROGRESS).unlink(missing_ok=True)

    def step(self) -> bool:
        """Read new rows, decide, act; return True if there was anything to do. During a replay only in its turn."""
        turn = read_turn(self._workspace.run_folder)
        self._decide_by_measurements(turn is None or turn.measured)
        self.poll_seconds = POLL_SECONDS if turn is None else POLL_SECONDS_IN_REPLAY
        if turn is not None and turn.number == self._turn:
            return False
        if turn is not None and turn.number != self._asked:
            self._asked, self._newest = turn.number, (self._monitor.rows, self._workspace.now())
        found = self._work(replaying=turn is not None)
        if self._busy:
            self.poll_seconds = POLL_SECONDS  # a training in this process needs the processor
        elif turn is not None and not found and self._has(turn.rows):
            self._turn = turn.number
            self._announce()
        return found

    def _decide_by_measurements(self, measured: bool) -> None:
        """Say whether latency and money for processor time decide; both differ from machine to machine."""
        if self._retraining.measured == measured:
            return
        self._retraining.measured = measured
        policy, models = self._workspace.project.policy, self._workspace.project.definitions.served
        for name, controller in self._controllers.items():
            controller.policy = judging_policy(policy, models[name].task, measured=measured)

    def _has(self, rows: int) -> bool:
        """Return True if so many rows were read, or no more are expected."""
        now = self._workspace.now()
        if self._monitor.rows != self._newest[0]:
            self._newest = self._monitor.rows, now
        if self._monitor.rows >= rows:
            return True
        if now - self._newest[1] < PATIENCE:
            return False
        log.warning("%d predictions were not scored for comparison", rows - self._monitor.rows)
        return True

    def _work(self, *, replaying: bool) -> bool:
        self._features.step()
        self._outcomes.step()
        reports = self._monitor.step()
        if self._monitor.watermark > BEGINNING:
            self._retraining.now = from_micros(self._monitor.watermark)
        self._watch.step()
        self._judging.step()
        self._compared = self._compared and not any(r.stage == "matured" and r.role in CANDIDATES for r in reports)
        decisions: list[Decision] = []
        fired = compared = 0
        try:
            fired = self._triggers.step(replaying=replaying)
            for controller in self._controllers.values():
                decisions.extend(controller.step())
            if not self._compared:  # after the controllers, which suspect windows
                for name, controller in self._controllers.items():
                    self._comparisons.step(name, self._workspace.served(name).task, controller.policy)
                self._compared = True
            compared = compare_prompts(self._workspace, self._live, self._controllers)
        except LedgerBroken as error:  # serving goes on, and so does monitoring
            if not self._ledger_is_broken:
                log.error("nothing is decided any more: %s", error)
            self._ledger_is_broken = True
        else:
            self._ledger_is_broken = False
        unfinished = self._retraining.unfinished()
        woken = self._wake(reports, unfinished)
        self._busy = self._retraining.busy(unfinished) or self._triggers.busy
        self._announce()
        self._compaction.step()
        self._upkeep.step()
        self._spend.step()
        return bool(reports or decisions or woken or fired or compared)

    def _wake(self, reports: tuple[WindowReport, ...], unfinished: Mapping[str, str]) -> int:
        """Tell the workflows what they wait for: matured windows of a candidate, another revision, an answer, the end
        of a freeze or of the quiet hours.

        unfinished: workflow -> model. Return how many messages were sent.
        """
        sent = 0
        matured = [r for r in reports if r.stage == "matured" and r.role in CANDIDATES]
        for model in self._controllers:
            messages = [r.id for r in matured if r.model == model]
            revision = latest(self._workspace.metadata, Revision, model=model)
            if revision is not None and self._revisions.get(model) != revision.id:
                self._revisions[model] = revision.id
                messages.append(revision.id)
            if self._is_free_again(model):
                messages.append("held back no longer")
            for workflow in [workflow for workflow, of in unfinished.items() if of == model]:
                if messages:
                    self._retraining.tell(workflow, MATURED, messages[-1])
                    sent += 1
                sent += self._tell_resolution(model, workflow)
        return sent

    def _is_free_again(self, model: str) -> bool:
        """Return True once when a freeze or the quiet hours of a model have ended."""
        metadata, clock, decide = self._workspace.metadata, self._workspace.clock, self._workspace.project.policy.decide
        now = self._retraining.now or event_time(metadata, model, clock)
        before, held = self._held.get(model, False), hold_reason(metadata, decide, model, now) is not None
        self._held[model] = held
        return before and not held

    def _tell_resolution(self, model: str, workflow: str) -> int:
        if not self._retraining.waits_for(workflow, APPROVAL):
            return 0
        sent = 0
        for resolution in self._workspace.metadata.find(Resolution, model=model):
            if workflow_id(resolution.decision) == workflow:
                self._retraining.tell(workflow, APPROVAL, resolution.verdict)
                sent += 1
        return sent

    def _announce(self) -> None:
        progress = Progress(
            pid=process_files.own_pid(),
            watermark=self._monitor.watermark,
            rows=self._monitor.rows,
            labels=self._monitor.labels,
            unmatched_labels=self._monitor.unmatched_labels,
            busy=self._busy,
            turn=self._turn,
        )
        if progress == self._told:
            return
        self._told = progress
        process_files.write_atomically(self._workspace.run_folder / PROGRESS, msgspec.json.encode(progress))
