"""The loop that steers: monitor, decide, act, wake what waits. One instance a project.

log -> windows and signals -> decisions -> actions. Only this file loops; the parts do one step each.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from trimtab.app import files
from trimtab.app.actions import LoopActions
from trimtab.app.compaction import LogKeeping
from trimtab.app.freshness import FeatureKeeping
from trimtab.app.monitors import open_monitor
from trimtab.app.outcomes import OutcomeKeeping
from trimtab.app.retraining import APPROVAL, MATURED, Retraining, workflow_id
from trimtab.app.rollout import CANDIDATES
from trimtab.app.workspace import Workspace
from trimtab.control import Controller
from trimtab.records import Decision, Resolution, Revision, WindowReport
from trimtab.stores.metadata import latest

log = logging.getLogger(__name__)

PROGRESS = "steering.json"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the loop has come; written after every step, for replays and people who watch."""

    pid: int
    watermark: int
    """Largest event time (microseconds) whose rows were taken in."""
    rows: int
    """Rows of the prediction log that were taken in since the start."""
    labels: int
    """Rows of the label log that were taken in, from its beginning on."""
    unmatched_labels: int = 0
    """Of these, given up: of predictions nobody knows, or of windows that had been judged."""
    busy: bool
    """True while a workflow is at work, rather than waiting for labels or a person."""


def read_progress(run_folder: Path) -> Progress | None:
    """Return the progress of the running loop, or None."""
    try:
        return msgspec.json.decode((run_folder / PROGRESS).read_bytes(), type=Progress)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


class Steering:
    """Monitor, controllers and workflows of one project."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._monitor = open_monitor(workspace)
        self._retraining = Retraining(workspace)
        self._log_keeping = LogKeeping(workspace)
        self._outcomes = OutcomeKeeping(workspace)
        self._features = FeatureKeeping(workspace)
        self._revisions: dict[str, str] = {}
        """By model: the revision that its workflows were told of."""
        self._controllers = {
            name: Controller(
                workspace.metadata,
                workspace.project.policy.for_task(model.task),
                name,
                LoopActions(workspace, self._retraining),
                workspace.clock,
            )
            for name, model in workspace.project.definitions.models.items()
        }

    def launch(self) -> None:
        """Begin; what a dead process left unfinished goes on."""
        self._retraining.launch()

    def close(self) -> None:
        """Stop; unfinished workflows go on at the next launch."""
        self._retraining.close()
        (self._workspace.run_folder / PROGRESS).unlink(missing_ok=True)

    def step(self) -> bool:
        """Take in what is new, decide, act; tell whether there was anything."""
        self._features.step()
        self._outcomes.step()
        reports = self._monitor.step()
        decisions: list[Decision] = []
        for controller in self._controllers.values():
            decisions.extend(controller.step())
        self._wake(reports)
        self._announce()
        self._log_keeping.step()
        return bool(reports or decisions)

    def _wake(self, reports: tuple[WindowReport, ...]) -> None:
        """Tell the workflows what they wait for: matured windows of a candidate, another revision, an answer."""
        matured = [r for r in reports if r.stage == "matured" and r.role in CANDIDATES]
        for model in self._controllers:
            news = [r.id for r in matured if r.model == model]
            revision = latest(self._workspace.metadata, Revision, model=model)
            if revision is not None and self._revisions.get(model) != revision.id:
                self._revisions[model] = revision.id
                news.append(revision.id)
            for workflow in self._retraining.active(model):
                if news:
                    self._retraining.tell(workflow, MATURED, news[-1])
                self._tell_resolution(model, workflow)

    def _tell_resolution(self, model: str, workflow: str) -> None:
        if not self._retraining.waits_for(workflow, APPROVAL):
            return
        for resolution in self._workspace.metadata.find(Resolution, model=model):
            if workflow_id(resolution.decision) == workflow:
                self._retraining.tell(workflow, APPROVAL, resolution.verdict)

    def _announce(self) -> None:
        progress = Progress(
            pid=files.own_pid(),
            watermark=self._monitor.watermark,
            rows=self._monitor.rows,
            labels=self._monitor.labels,
            unmatched_labels=self._monitor.unmatched_labels,
            busy=self._retraining.busy(),
        )
        files.write_atomically(self._workspace.run_folder / PROGRESS, msgspec.json.encode(progress))
