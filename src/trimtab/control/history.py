"""What happened before a decision, as far as the brakes need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, TypeVar

from trimtab.control.reviews import proposes_retraining
from trimtab.records.control import Decision, Resolution, WorkflowStep
from trimtab.records.record import Record
from trimtab.records.serving import Revision
from trimtab.records.training import DatasetVersion, Run
from trimtab.stores.metadata.contract import Metadata, newest_until
from trimtab.stores.metadata.training_sets import is_examples

MONTH = timedelta(days=30)
"""Budgets are counted over the trailing 30 days of event time."""

R = TypeVar("R", bound=Record)

STOP = "stop"
"""Step of a retraining's workflow that ended without a bundle. It refers to the gate report that refused the model, or
to no record when a stage failed."""


@dataclass(frozen=True, kw_only=True)
class ControlHistory:
    """The past of one model, seen from the end of the judged window (event time)."""

    champion: int | None = None
    """Version that serves as champion now; None when nothing was ever deployed (recordings)."""
    previous: int | None = None
    """Version that was champion before it; None when there was no other."""
    running: int = 0
    """Retrainings that have not ended: they train, wait for a person, or their challenger is being compared."""
    frozen: str | None = None
    """Who has frozen the model and why; None when it is not frozen."""
    frozen_until: datetime | None = None
    """Event time at which the freeze ends by itself."""
    no_search: str = ""
    """Of a prompt: why no search for a better one can be started."""
    last_retrain: datetime | None = None
    """End of the window whose decision asked for the newest retraining (automated or approved) that made a bundle, or
    is under way."""
    last_refused: datetime | None = None
    """The same of the newest retraining that ended without a bundle: refused by a gate, or a stage could not run."""
    refused: int = 0
    """How many retrainings in a row, the newest included, ended without a bundle."""
    why_refused: str = ""
    """Why the newest of them did."""
    failure: str | None = None
    """Which retraining ended by an error rather than by a gate, and how, while no person was asked since; else None."""
    retrains: int = 0
    """Retrainings of the trailing 30 days."""
    retrained_at: tuple[datetime, ...] = ()
    """Ends of the windows whose decisions asked for them, oldest first."""
    spent: float = 0.0
    """Money that trainings of the trailing 30 days cost."""
    spent_at: tuple[tuple[datetime, float], ...] = ()
    """Each of these trainings: the time as of which its data was read, and its cost; oldest first."""
    next_cost: float = 0.0
    """Cost of the newest training and of its fit on all rows, as the estimate for the next one."""
    open_review: str | None = None
    """Oldest decision that proposes a retraining and waits for a person."""
    noted_review: str | None = None
    noted_at: datetime | None = None
    """Newest unanswered review without a proposal, and the end of its window."""
    restored: bool = False
    """The present champion came back by a rollback."""


class ControlEvents:
    """The records of one model, read once: they never change, so later calls read the new ones only."""

    def __init__(self, metadata: Metadata, model: str) -> None:
        self._metadata = metadata
        self._model = model
        self._known: dict[str, list[Any]] = {}
        self._as_of: dict[str, datetime] = {}

    @property
    def revisions(self) -> Sequence[Revision]:
        """Newest first."""
        return self._all(Revision)

    @property
    def verdicts(self) -> dict[str, str]:
        """By decision."""
        return {r.decision: r.verdict for r in self._all(Resolution)}

    @property
    def stopped(self) -> dict[str | None, str]:
        """Why the retraining ended without a bundle, by decision."""
        return {step.decision: step.outcome for step in self._all(WorkflowStep, step=STOP)}

    @property
    def failed(self) -> set[str | None]:
        """Those of them that no gate has refused: a stage failed."""
        return {step.decision for step in self._all(WorkflowStep, step=STOP) if step.refers_to is None}

    @property
    def asked(self) -> list[Decision]:
        """Decisions to retrain or to ask a person, oldest first."""
        found = [*self._all(Decision, action="retrain"), *self._all(Decision, action="review")]
        return sorted(found, key=lambda d: d.number)

    @property
    def acting(self) -> list[Decision]:
        """Decisions that ask for an action or for a person, oldest first."""
        found = [*self.asked, *self._all(Decision, action="rollback")]
        return sorted(found, key=lambda d: d.number)

    @property
    def runs(self) -> Sequence[Run]:
        """Trainings, and searches for prompts, newest first. Evaluations of prompts retrain nothing."""
        return [run for run in self._all(Run) if run.purpose != "evaluate"]

    def as_of(self, run: Run) -> datetime:
        """Return the time as of which the training data of a run was read."""
        if is_examples(run.dataset):
            return run.created_at
        if run.dataset not in self._as_of:
            self._as_of[run.dataset] = self._metadata.get(DatasetVersion, run.dataset).as_of
        return self._as_of[run.dataset]

    def _all(self, kind: type[R], **where: object) -> list[R]:
        known = self._known.setdefault(f"{kind.KIND} {where}", [])
        newest = known[0].id if known else None
        known[:0] = newest_until(self._metadata, kind, lambda r: r.id == newest, model=self._model, **where)
        return known


def gather_history(
    events: ControlEvents,
    *,
    time: datetime,
    running: int,
    frozen: str | None = None,
    frozen_until: datetime | None = None,
    no_search: str = "",
) -> ControlHistory:
    """Return the history of a model at an event time."""
    revisions, verdicts, stopped = events.revisions, events.verdicts, events.stopped
    champion, previous = champions(revisions)
    asked, runs = events.asked, events.runs
    trainings = tuple(sorted((at, run.cost) for run in runs if (at := events.as_of(run)) > time - MONTH))
    retrained = [d for d in asked if d.action == "retrain" or _approved(d, verdicts)]
    refused = list(takewhile(lambda d: d.id in stopped, reversed(retrained)))
    waiting = [d for d in asked if d.action == "review" and d.id not in verdicts]
    proposals = [d for d in waiting if proposes_retraining(d)]
    notes = [d for d in waiting if not proposes_retraining(d) and champion in (None, d.version)]
    return ControlHistory(
        champion=champion,
        previous=previous,
        running=running,
        frozen=frozen,
        frozen_until=frozen_until,
        no_search=no_search,
        last_retrain=max((d.end for d in retrained if d.id not in stopped), default=None),
        last_refused=max((d.end for d in retrained if d.id in stopped), default=None),
        refused=len(refused),
        why_refused=stopped[refused[0].id] if refused else "",
        failure=_failure(events, refused, asked),
        retrains=sum(d.end > time - MONTH for d in retrained),
        retrained_at=tuple(sorted(d.end for d in retrained if d.end > time - MONTH)),
        spent=spent(((events.as_of(run), run.cost) for run in runs), time),
        spent_at=trainings,
        next_cost=sum(run.cost for run in takewhile(lambda run: _same_retraining(run, runs[0]), runs)),
        open_review=proposals[0].id if proposals else None,
        noted_review=notes[-1].id if notes else None,
        noted_at=notes[-1].end if notes else None,
        restored=_restored(revisions),
    )


def spent(costs: Iterable[tuple[datetime, float]], time: datetime) -> float:
    """Return what trainings of the 30 days before an event time cost. costs: as-of time and cost of each run."""
    return sum(cost for as_of, cost in costs if as_of > time - MONTH)


def _same_retraining(run: Run, newest: Run) -> bool:
    """Return True if a run and the newest one are of one retraining: a fit and the fit on all rows, or one search."""
    return run is newest or (run.dataset == newest.dataset and newest.purpose == "train")


def _failure(events: ControlEvents, refused: Sequence[Decision], asked: Sequence[Decision]) -> str | None:
    """Return the newest retraining that failed, as a sentence; None when a person was asked since, or none failed."""
    newest = refused[0] if refused else None
    if newest is None or newest.id not in events.failed:
        return None
    if any(d.action == "review" and d.number > newest.number for d in asked):
        return None
    return f"the retraining of {newest.id} failed: {events.stopped[newest.id]}"


def _approved(decision: Decision, verdicts: Mapping[str, str]) -> bool:
    return proposes_retraining(decision) and verdicts.get(decision.id) == "approve"


def champions(revisions: Sequence[Revision]) -> tuple[int | None, int | None]:
    """Return the versions of the present champion and of the one before. revisions: newest first."""
    versions = [v for r in revisions if (v := _champion(r)) is not None]
    if not versions:
        return None, None
    return versions[0], next((v for v in versions if v != versions[0]), None)


def _restored(revisions: Sequence[Revision]) -> bool:
    """Return True if a rollback made the present champion the champion. revisions: newest first."""
    since = list(takewhile(lambda r: _champion(r) == _champion(revisions[0]), revisions))
    return bool(since) and since[-1].action == "rollback"


def _champion(revision: Revision) -> int | None:
    return next((a.version for a in revision.assignments if a.role == "champion"), None)
