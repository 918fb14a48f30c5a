"""Sums of runs and windows by month of event time, read once: later calls read the records that were written since.

Only the sums are kept, so 100,000 runs take as much memory as ten.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from trimtab.app.overviews.model_brief import saved_by_window
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.answer_money import answer_money
from trimtab.records.control import WorkflowStep
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Record
from trimtab.records.training import REFIT, DatasetVersion, Run
from trimtab.stores.metadata.training_sets import is_examples

R = TypeVar("R", bound=Record)

PART = 500
"""Records that are read at once."""
KEPT_COSTS = timedelta(days=60)
"""Costs of single runs are kept so long before the newest one, for budgets of 30 days."""


@dataclass
class MonthSum:
    """One month. Money is in the policy's currency. lost, saved: None while no window says so."""

    training: float = 0.0
    training_cpu_seconds: float = 0.0
    trainings: int = 0
    evaluations: int = 0
    """Of prompts."""
    tunes: int = 0
    """Searches for better prompts."""
    serving: float = 0.0
    predictions: int = 0
    lost: float | None = None
    counted: int = 0
    saved: float | None = None


@dataclass
class ModelSums:
    """What one model has cost up to the newest record that was read."""

    months: dict[datetime, MonthSum] = field(default_factory=dict)
    """By first day."""
    costs: list[tuple[datetime, float]] = field(default_factory=list)
    """As-of time and cost of the newest runs."""
    decisions: set[str] = field(default_factory=set)
    """That started a training."""
    of_decisions: float = 0.0
    """What these trainings cost."""
    _read: dict[str, str] = field(default_factory=dict)
    _as_of: dict[str, datetime] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self, workspace: Workspace, model: str) -> None:
        """Read what was written since the last call."""
        with self._lock:
            for runs in self._new(workspace, Run, model=model):
                self._add_runs(workspace, runs)
            for windows in self._new(workspace, WindowReport, model=model, stage="closed"):
                for window in windows:
                    month = self._month(window.start)
                    month.serving += window.metrics.get("cost", 0.0)
                    month.predictions += window.served_rows
            for windows in self._new(workspace, WindowReport, model=model, stage="matured"):
                gains = [(w.start, gain) for w in windows if w.role == "champion" for gain in _gains(workspace, w)]
                for window in windows:
                    if (known := answer_money(window)) is not None:
                        month = self._month(window.start)
                        month.lost = (month.lost or 0.0) + known[0]
                        month.counted += known[1]
                for start, gain in gains:
                    month = self._month(start)
                    month.saved = (month.saved or 0.0) + gain

    def _add_runs(self, workspace: Workspace, runs: list[Run]) -> None:
        runs = [run for run in runs if run.made_in is None]
        if not runs:
            return
        keys = tuple({run.key.removesuffix(REFIT) for run in runs})
        started = {
            step.workflow: step.decision
            for step in workspace.metadata.find(WorkflowStep, workflow=keys)
            if step.decision is not None
        }
        for run in runs:
            as_of = self._as_of_run(workspace, run)
            month = self._month(as_of)
            month.training += run.cost
            month.training_cpu_seconds += run.cpu_seconds
            month.trainings += run.refit_of is None and run.purpose == "train"
            month.evaluations += run.purpose == "evaluate"
            month.tunes += run.purpose == "tune"
            self.costs.append((as_of, run.cost))
            if decision := started.get(run.key.removesuffix(REFIT)):
                self.decisions.add(decision)
                self.of_decisions += run.cost
        newest = max(as_of for as_of, _ in self.costs)
        self.costs = [(as_of, cost) for as_of, cost in self.costs if as_of > newest - KEPT_COSTS]

    def _as_of_run(self, workspace: Workspace, run: Run) -> datetime:
        if is_examples(run.dataset):
            return run.created_at
        if run.dataset not in self._as_of:
            self._as_of[run.dataset] = workspace.metadata.get(DatasetVersion, run.dataset).as_of
        return self._as_of[run.dataset]

    def _new(self, workspace: Workspace, kind: type[R], **where: Any) -> Iterator[list[R]]:
        """Yield what was written since, in parts. A part counts as read when the next one is asked for, so one whose
        other records cannot be read comes again."""
        name = f"{kind.KIND} {where}"
        while True:
            before = self._read.get(name)
            found = list(workspace.metadata.find(kind, oldest_first=True, before=before, limit=PART, **where))
            if not found:
                return
            yield found
            self._read[name] = found[-1].id

    def _month(self, at: datetime) -> MonthSum:
        return self.months.setdefault(first_day(at), MonthSum())


def _gains(workspace: Workspace, champion: WindowReport) -> list[float]:
    """Return what the champion of a window saved compared with the version before it; of two champions in it, the
    first one says it for both."""
    where = {"model": champion.model, "stage": "matured", "start": champion.start}
    reports = workspace.metadata.find(WindowReport, **where)  # type: ignore[arg-type]  # keys
    first = next(each for each in reversed(reports) if each.role == "champion")
    return saved_by_window(reports) if first.id == champion.id else []


def first_day(at: datetime) -> datetime:
    """Return the first instant of a month of UTC."""
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def model_sums(workspace: Workspace, model: str) -> ModelSums:
    """Return the sums of a model, with what was written since the last call in this process."""
    key = (workspace.root.absolute(), workspace.environment.metadata or "", model)
    found = _KNOWN.setdefault(key, ModelSums())
    found.update(workspace, model)
    return found


_KNOWN: dict[tuple[Path, str, str], ModelSums] = {}
