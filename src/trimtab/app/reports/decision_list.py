"""The decisions of a project with what became of each, and how often each cell of the matrix was met."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, get_args

import msgspec

from trimtab.app.loop.workflow_names import WORKFLOW, dead_decisions, workflow_id
from trimtab.app.project.workspace import Workspace
from trimtab.control.decision import MATRIX_SAYS
from trimtab.control.history import STOP
from trimtab.control.reviews import ESCALATE, proposes_retraining
from trimtab.policy.matrix import Matrix
from trimtab.records.control import Decision, Resolution, Trigger, WorkflowStep
from trimtab.records.record import Action, Level
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import Between
from trimtab.units import plural

LEVELS: tuple[Level, ...] = ("low", "medium", "high")

State = Literal[
    "nothing to do", "open", "rejected", "acknowledged", "not started", "running", "stopped", "died", "promoted",
    "abandoned", "replaced", "rolled back",
]  # fmt: skip
ENDS: dict[str, State] = {STOP: "stopped", "promote": "promoted", "abandon": "abandoned"}
"""By the last step of a workflow."""


Effect = Literal["as_said", "held_back", "raised"]
"""How the action of a decision compares with what the matrix or the refresh said: the same, softer, or stronger."""
ACTIONS: tuple[Action, ...] = get_args(Action)
"""From the softest to the strongest."""
BRAKES: Mapping[str, str] = MappingProxyType(
    {
        "replaced": "replaced",
        "frozen": "frozen",
        "nothing_to_tune": "nothing to tune",
        "no_harm_shown": "no harm shown",
        "broken_pipe": "broken pipe",
        "little_reference": "too little reference",
        "cooldown": "cooldown",
        "retry_after": "pause after a refusal",
        "budget": "budget",
        "review_open": "review open",
        "retraining_under_way": "retraining under way",
    }
)
"""Decision.held_by -> its word for readers."""
LED_BY: Mapping[Trigger, str] = MappingProxyType(
    {
        "routine": "the refresh",
        "data": "new data",
        "request": "a request",
        "lead": "a shadow that leads",
        "limit": "a broken limit",
        "failure": "a failed retraining",
    }
)
"""Trigger of a decision -> what led to it, for readers; `matrix` depends on the policy (`led_by`)."""
THE_MATRIX = "the matrix"
PAGE = 200
"""Decisions that are read together."""


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

    model: str | tuple[str, ...] | None = None
    """A name, or several."""
    action: Action | None = None
    trigger: Trigger | None = None
    since: datetime | None = None
    until: datetime | None = None
    band: str | None = None
    impact: Level | None = None
    cell: Action | None = None
    effect: Effect | None = None
    held_by: str | None = None
    """Name of a brake."""
    answered_by: str | None = None
    """Name of a person."""

    @property
    def where(self) -> dict[str, Any]:
        """What the metadata store can look for by itself."""
        names = ("model", "action", "band", "impact", "cell", "held_by")
        found: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        return found if self.until is None else found | {"start": Between(None, self.until)}

    @property
    def store_finds_all(self) -> bool:
        """Whether the metadata store finds what is wanted without a look at the decisions."""
        return (self.since, self.effect, self.trigger, self.answered_by) == (None,) * 4

    def matches(self, decision: Decision) -> bool:
        """Return True if a decision that the store has found is wanted; `answered_by` is not looked at."""
        return (
            self.trigger in (None, decision.trigger)
            and (self.since is None or decision.end > self.since)
            and self.effect in (None, effect_of(decision))
        )


class MatrixCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The cells of the matrix. note: how many windows they count, and which decisions they leave out."""

    cells: list[MatrixCell]
    note: str


class MatrixCell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the policy's matrix: what it says, and how many windows fell into it."""

    band: str
    impact: Level
    says: Action
    windows: int
    actions: dict[str, int]
    """What was done about them, after the brakes."""


def effect_of(decision: Decision) -> Effect:
    """Return how the action of a decision compares with its cell; a broken limit does not ask the matrix."""
    done, said = ACTIONS.index(decision.action), ACTIONS.index(decision.cell)
    if decision.trigger == "limit":
        return "held_back" if decision.action == "monitor" else "as_said"
    return "as_said" if done == said else "held_back" if done < said else "raised"


def led_by(trigger: Trigger, reasons: Sequence[str]) -> str:
    """Return what led to a decision, for readers.

    A policy with `retrain.refresh` does not ask its matrix about a window for which no refresh is due.
    """
    if trigger != "matrix":
        return LED_BY[trigger]
    return THE_MATRIX if any(r.startswith(MATRIX_SAYS) for r in reasons) else "the rules of retrain.refresh"


def policy_says(decision: Decision) -> str:
    """Return what the policy says of a window, such as: the matrix says review."""
    led = led_by(decision.trigger, decision.reasons)
    return f"{led if led == THE_MATRIX else 'the policy'} says {decision.cell}"


def list_decisions(
    workspace: Workspace,
    wanted: DecisionFilter,
    *,
    limit: int | None,
    before: str | None = None,
    died: Mapping[str, str] | None = None,
) -> list[DecisionOutcome]:
    """Return the decisions that match with their outcomes, newest first.

    Args:
        workspace: an open project.
        wanted: which decisions.
        limit: most decisions to return; None for all.
        before: id of the last decision of the page before.
        died: why the workflow ended without a result, by decision; None reads which did.

    Raises:
        NotFound: no decision has the id `before`.
    """
    return list(islice(all_decisions(workspace, wanted, limit=limit, before=before, died=died), limit))


def all_decisions(
    workspace: Workspace,
    wanted: DecisionFilter,
    *,
    limit: int | None = None,
    before: str | None = None,
    died: Mapping[str, str] | None = None,
) -> Iterator[DecisionOutcome]:
    """Yield the decisions that `list_decisions` returns, and read them while they are taken."""
    where, size = wanted.where, PAGE if limit is None else min(max(limit, 1), PAGE)
    answered = _answered(workspace, wanted)
    died = dead_decisions(workspace.workflows_url) if died is None else died
    while True:
        page = workspace.metadata.find(Decision, limit=size, before=before, **where)
        matching = [d for d in page if wanted.matches(d) and (answered is None or d.id in answered)]
        yield from outcomes_of(workspace, matching, died=died)
        if len(page) < size:
            return
        before = page[-1].id


def _answered(workspace: Workspace, wanted: DecisionFilter) -> set[str] | None:
    """Return the decisions that the wanted person has answered; None when anybody or no one may have."""
    if wanted.answered_by is None:
        return None
    where: dict[str, Any] = {} if wanted.model is None else {"model": wanted.model}
    answers = workspace.metadata.find(Resolution, **where)
    return {a.decision for a in answers if a.by == wanted.answered_by}


def count_cells(workspace: Workspace, wanted: DecisionFilter) -> MatrixCounts:
    """Return every cell of the policy's matrix with the windows that were judged by band and level alone.

    Windows about which something else decided (a refresh that was due, a request, a broken limit) are left out and
    counted in the note. Windows in a band that the policy no longer has come last, with the action that their matrix
    had named.
    """
    matrix: Matrix = workspace.project.policy.decide.matrix
    met: dict[tuple[str, Level], Counter[str]] = defaultdict(Counter)
    said: dict[tuple[str, Level], Action] = {
        (name, level): getattr(band, level) for name, band in matrix.root.items() for level in LEVELS
    }
    others: Counter[Trigger] = Counter()
    for decision in filter(wanted.matches, _loud(workspace, wanted)):
        if decision.trigger != "matrix":
            others[decision.trigger] += 1
            continue
        met[decision.band, decision.impact][decision.action] += 1
        said.setdefault((decision.band, decision.impact), decision.cell)
    for (band, impact), number in _quiet(workspace, wanted, tuple(said)).items():
        if number:
            met[band, impact]["monitor"] += number
    cells = [
        MatrixCell(
            band=band, impact=impact, says=says, windows=met[band, impact].total(), actions=dict(met[band, impact])
        )
        for (band, impact), says in said.items()
    ]
    return MatrixCounts(cells=cells, note=_note(sum(cell.windows for cell in cells), others))


def _note(windows: int, others: Counter[Trigger]) -> str:
    left_out = ", ".join(f"{number:,} by {LED_BY[trigger]}" for trigger, number in others.most_common())
    return f"{plural(windows, 'window')} in the cells" + (f"; decided otherwise: {left_out}" if left_out else "")


def _loud(workspace: Workspace, wanted: DecisionFilter) -> list[Decision]:
    """Return the decisions that did something, or would have without a brake; all of them where the store cannot count
    the others by itself."""
    where, find = wanted.where, workspace.metadata.find
    if not _counts_cells(wanted):
        return list(find(Decision, **where))
    acting, quiet = ACTIONS[1:], where | {"action": "monitor"}
    held = quiet | {"cell": "monitor", "held_by": tuple(BRAKES)}
    loud = ({**where, "action": acting}, {**quiet, "cell": acting}, held)
    return [decision for each in loud for decision in find(Decision, **each)]


def _quiet(
    workspace: Workspace, wanted: DecisionFilter, cells: Sequence[tuple[str, Level]]
) -> dict[tuple[str, Level], int]:
    """Return the number of decisions to monitor what the matrix says to monitor, by cell."""
    if not _counts_cells(wanted):
        return {}
    count, found = workspace.metadata.count, {}
    for band, impact in cells:
        where = wanted.where | {"band": band, "impact": impact, "action": "monitor", "cell": "monitor"}
        number = count(Decision, **where)
        found[band, impact] = number - (count(Decision, **where | {"held_by": tuple(BRAKES)}) if number else 0)
    return found


def _counts_cells(wanted: DecisionFilter) -> bool:
    """Return True if the metadata store can count the decisions of each cell."""
    own = (wanted.action, wanted.cell, wanted.band, wanted.impact, wanted.held_by)
    return wanted.store_finds_all and own == (None,) * 5


def outcomes_of(
    workspace: Workspace, decisions: Sequence[Decision], *, died: Mapping[str, str] | None = None
) -> list[DecisionOutcome]:
    """Return decisions with their answers and what became of them. died: as of `list_decisions`."""
    acted = tuple(d.id for d in decisions if d.action != "monitor")
    if not acted:
        return [DecisionOutcome(decision=d, resolution=None, state="nothing to do", became="") for d in decisions]
    metadata = workspace.metadata
    answers = {r.decision: r for r in metadata.find(Resolution, decision=acted)}
    rolled = {r.cause: r for r in metadata.find(Revision, cause=acted)}
    steps: dict[str | None, list[WorkflowStep]] = defaultdict(list)
    for step in metadata.find(WorkflowStep, oldest_first=True, workflow=tuple(map(workflow_id, acted))):
        steps[step.decision].append(step)
    ends = tuple({s.refers_to for found in steps.values() for s in found if s.step == "abandon" and s.refers_to})
    numbers = tuple(int(id_.rpartition("#")[2]) for id_ in ends)
    made = metadata.find(Revision, number=numbers) if numbers else ()
    own = {r.id for r in made if r.cause.startswith(f"{WORKFLOW}/")}
    died = dead_decisions(workspace.workflows_url) if died is None else died
    found = []
    for d in decisions:
        answer = answers.get(d.id)
        state, became = _outcome(d, answer, steps[d.id], rolled.get(d.id), own, died.get(d.id))
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
