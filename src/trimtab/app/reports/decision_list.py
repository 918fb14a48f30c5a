"""The decisions of a project with what became of each, and how often each cell of the matrix was met."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from trimtab.app.loop.workflows import WORKFLOW, Workflows
from trimtab.app.project.workspace import Workspace
from trimtab.control.controller import ESCALATE
from trimtab.control.history import STOP
from trimtab.control.reviews import proposes_retraining
from trimtab.policy.matrix import Matrix
from trimtab.records.control import Decision, Resolution, Trigger, WorkflowStep
from trimtab.records.record import Action, Level
from trimtab.records.serving import Revision

LEVELS: tuple[Level, ...] = ("low", "medium", "high")

State = Literal[
    "nothing to do", "open", "rejected", "acknowledged", "not started", "running", "stopped", "died", "promoted",
    "abandoned", "replaced", "rolled back",
]  # fmt: skip
ENDS: dict[str, State] = {STOP: "stopped", "promote": "promoted", "abandon": "abandoned"}
"""By the last step of a workflow."""


class DecisionOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """A decision, the answer to it, and what became of it."""

    decision: Decision
    resolution: Resolution | None
    state: State
    """open: waits for a person. running: its workflow trains, or its challenger is being compared. stopped: its
    workflow ended without a bundle. died: it ended by an error. replaced: another change ended its comparison."""
    became: str
    """The same in one line, with evidence."""


@dataclass(frozen=True, kw_only=True)
class DecisionFilter:
    """Which decisions are wanted; None means any.

    since, until: a decision matches when its window ends after `since` and starts before `until` (event time).
    """

    model: str | None = None
    action: Action | None = None
    trigger: Trigger | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, decision: Decision) -> bool:
        """Return True if a decision of the wanted model and action is wanted."""
        return (
            self.trigger in (None, decision.trigger)
            and (self.since is None or decision.end > self.since)
            and (self.until is None or decision.start < self.until)
        )


class MatrixCell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the policy's matrix: what it says, and how many windows fell into it."""

    band: str
    impact: Level
    says: Action
    windows: int
    actions: dict[str, int]
    """What was done about them, after the brakes."""


def list_decisions(workspace: Workspace, wanted: DecisionFilter, *, limit: int | None) -> list[DecisionOutcome]:
    """Return the decisions that match with their outcomes, newest first.

    Args:
        workspace: an open project.
        wanted: which decisions.
        limit: most decisions to return; None for all.
    """
    found = [d for d in _find(workspace, wanted) if wanted.matches(d)]
    return _with_outcomes(workspace, found[:limit])


def count_cells(workspace: Workspace, wanted: DecisionFilter) -> list[MatrixCell]:
    """Return every cell of the policy's matrix with the windows that fell into it.

    Windows in a band that the policy no longer has come last, with the action that their matrix had named.
    """
    matrix: Matrix = workspace.project.policy.decide.matrix
    met: dict[tuple[str, Level], Counter[str]] = defaultdict(Counter)
    said: dict[tuple[str, Level], Action] = {
        (name, level): getattr(band, level) for name, band in matrix.root.items() for level in LEVELS
    }
    for decision in _find(workspace, wanted):
        if decision.trigger == "matrix" and wanted.matches(decision):
            met[decision.band, decision.impact][decision.action] += 1
            said.setdefault((decision.band, decision.impact), decision.cell)
    return [
        MatrixCell(
            band=band, impact=impact, says=says, windows=met[band, impact].total(), actions=dict(met[band, impact])
        )
        for (band, impact), says in said.items()
    ]


def _find(workspace: Workspace, wanted: DecisionFilter) -> list[Decision]:
    where: dict[str, Any] = {"model": wanted.model, "action": wanted.action}
    return list(workspace.metadata.find(Decision, **{key: value for key, value in where.items() if value is not None}))


def _with_outcomes(workspace: Workspace, decisions: Sequence[Decision]) -> list[DecisionOutcome]:
    if not decisions:
        return []
    metadata = workspace.metadata
    models = tuple(sorted({d.model for d in decisions}))
    answers = {r.decision: r for r in metadata.find(Resolution, model=models)}
    revisions = {r.cause: r for r in metadata.find(Revision, model=models)}
    own = {r.id for r in revisions.values() if r.cause.startswith(f"{WORKFLOW}/")}
    steps: dict[str | None, list[WorkflowStep]] = defaultdict(list)
    for step in metadata.find(WorkflowStep, oldest_first=True, model=models):
        steps[step.decision].append(step)
    with closing(Workflows(workspace.workflows_url)) as workflows:
        died = {each.decision: each.reason for each in workflows.dead()}
    found = []
    for d in decisions:
        answer = answers.get(d.id)
        state, became = _outcome(d, answer, steps[d.id], revisions.get(d.id), own, died.get(d.id))
        found.append(DecisionOutcome(decision=d, resolution=answer, state=state, became=became))
    return found


def _outcome(
    decision: Decision,
    answer: Resolution | None,
    steps: Sequence[WorkflowStep],
    revision: Revision | None,
    own: Container[str],
    died: str | None,
) -> tuple[State, str]:
    if decision.action == "monitor":
        return "nothing to do", ""
    if decision.action == "rollback":
        if revision is None:
            return "not started", "nothing was rolled back"
        serves = ", ".join(f"{a.role} {a.version}" for a in revision.assignments)
        return "rolled back", f"revision {revision.number}: {serves}"
    if decision.action == "review":
        if answer is None:
            what = "an answer" if proposes_retraining(decision) else "a person to look"
            escalated = "".join(f"; escalated: {step.outcome}" for step in steps if step.step == ESCALATE)
            return "open", f"waits for {what}{escalated}"
        said = f"{answer.verdict} by {answer.by}: {answer.reason}"
        if answer.verdict != "approve":
            return ("acknowledged" if answer.verdict == "acknowledge" else "rejected"), said
        state, became = _of_workflow(steps, own, died)
        return state, f"{said}; {became}"
    return _of_workflow(steps, own, died)


def _of_workflow(steps: Sequence[WorkflowStep], own: Container[str], died: str | None) -> tuple[State, str]:
    """Return what became of a retraining. steps: oldest first; own: ids of revisions that workflows made."""
    if died is not None:
        return "died", f"ended by an error: {died}"
    steps = [step for step in steps if step.step != ESCALATE]
    if not steps:
        return "not started", "its retraining has not begun"
    last = steps[-1]
    if last.step not in ENDS:
        return "running", f"{last.step}: {last.outcome}"
    state = ENDS[last.step]
    if state == "abandoned" and (last.refers_to is None or last.refers_to not in own):
        state = "replaced"
    return state, _joined(_evidence(steps), last.outcome)


def _evidence(steps: Iterable[WorkflowStep]) -> str:
    return next((step.outcome for step in steps if step.step == "compare"), "")


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)
