"""What each model costs and what its mistakes cost: by month of event time, run, decision and 1,000,000 answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from trimtab.app.llm.spend.spend_report import ScopeSpend, served_spend, spend_report
from trimtab.app.overviews import wording
from trimtab.app.overviews.cost.month_sums import ModelSums, model_sums
from trimtab.app.overviews.system.storage import FolderSize, storage
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.answer_money import cost_per_million
from trimtab.control.history import spent
from trimtab.control.holds import event_time
from trimtab.records.control import WorkflowStep
from trimtab.records.training import REFIT, Run
from trimtab.stores.metadata.training_sets import training_set
from trimtab.units import plural

NO_COSTS = "the policy names no costs of mistakes (impact.cost)"
NO_SHADOW = "no earlier version serves as a shadow"


class MonthCost(msgspec.Struct, frozen=True, kw_only=True):
    """One model in one month of event time. Money is in the policy's currency."""

    month: datetime
    """Its first day."""
    model: str
    training: float
    training_cpu_seconds: float
    serving: float
    predictions: int
    """Rows that clients got answers to."""
    trainings: int
    lost: float | None
    """By mistakes in answers, in windows whose labels are complete; None: not known."""
    counted: int
    """Labelled answers that `lost` counts, of `predictions`."""
    saved: float | None
    """Compared with the version before, where that one is scored as a shadow; None: not known."""
    evaluations: int = 0
    tunes: int = 0

    @property
    def cost(self) -> float:
        """Training and serving together."""
        return self.training + self.serving


class ModelCost(msgspec.Struct, frozen=True, kw_only=True):
    """One model in all time, and how much of its budget is used."""

    model: str
    training: float
    serving: float
    trainings: int
    predictions: int
    per_million: float | None
    """Serving cost of 1,000,000 answers to clients; None without answers."""
    decisions: int
    """That started a training."""
    per_decision: float | None
    budget: float
    """Of the policy, for the trainings of 30 days."""
    spent: float
    """Of it, in the 30 days up to `until`."""
    until: datetime
    evaluations: int = 0
    """Of a prompt."""
    tunes: int = 0
    """Searches for a better prompt."""
    turns: dict[str, Any] | None = None
    """Of a prompt: what its turns cost by the store of spend, as `served_spend` says; None for a model. `serving` has
    turns of closed windows alone."""

    @property
    def runs(self) -> str:
        """The runs that were paid, in words."""
        of_prompt = (plural(self.evaluations, "evaluation"), plural(self.tunes, "search", "searches"))
        counts = zip((self.evaluations, self.tunes), of_prompt, strict=True)
        said = [text for number, text in counts if number]
        return " and ".join(([wording.count(self.trainings)] if self.trainings or not said else []) + said)

    @property
    def left(self) -> float:
        """What the trainings of the 30 days may still cost."""
        return max(0.0, self.budget - self.spent)


class RunCost(msgspec.Struct, frozen=True, kw_only=True):
    """One training."""

    run: str
    model: str
    as_of: datetime
    """Its data was known then: event time."""
    created_at: datetime
    decision: str | None
    """That started it; None: a person did."""
    refit_of: str | None
    cpu_seconds: float
    wall_seconds: float
    peak_memory_mb: float
    cost: float


class CostOverview(msgspec.Struct, frozen=True, kw_only=True):
    """What the project costs."""

    sentence: str
    currency: str
    priced: bool
    """False: the policy's prices are 0, and pages show CPU seconds."""
    month: datetime | None
    """First day of the newest month of event time; None: nothing has happened yet."""
    cost: float
    lost: float | None
    counted: str
    """How many of the month's answers `lost` counts; empty where it is not known."""
    saved: float | None
    why_lost: str
    """Why `lost` is not known; empty when it is."""
    why_saved: str
    models: tuple[ModelCost, ...]
    months: tuple[MonthCost, ...]
    """Oldest first, by model."""
    storage: tuple[FolderSize, ...]
    prompts: tuple[ScopeSpend, ...] = ()
    """What calls of language models cost in the present period of each prompt; for all models, also of the project and
    by purpose."""


def cost_overview(workspace: Workspace, models: Sequence[str] = ()) -> CostOverview:
    """Return what models cost. models: empty for all. Raises DefinitionError for an unknown one."""
    names = [workspace.served(name).name for name in models] or sorted(workspace.project.definitions.served)
    months, costs = list[MonthCost](), list[ModelCost]()
    for name in names:
        sums = model_sums(workspace, name)
        of_model = [MonthCost(month=month, model=name, **vars(each)) for month, each in sorted(sums.months.items())]
        months += of_model
        costs.append(_model(workspace, name, sums, of_model))
    currency, of_policy = workspace.project.policy.impact.currency, workspace.project.policy.prices
    priced = bool(of_policy.cpu_hour or of_policy.memory_gb_hour)
    newest = max((each.month for each in months), default=None)
    present = [each for each in months if each.month == newest]
    lost, saved = _total(each.lost for each in present), _total(each.saved for each in present)
    priced_mistakes = any(_prices_mistakes(workspace, name) for name in names)
    return CostOverview(
        sentence=_sentence(names, present, currency, priced=priced),
        currency=currency,
        priced=priced,
        month=newest,
        cost=sum(each.cost for each in present),
        lost=lost,
        counted="" if lost is None else _counted(present),
        saved=saved,
        why_lost="" if lost is not None else "no window of the month has its labels" if priced_mistakes else NO_COSTS,
        why_saved="" if saved is not None else NO_SHADOW if priced_mistakes else NO_COSTS,
        models=tuple(costs),
        months=tuple(sorted(months, key=lambda each: (each.month, each.model))),
        storage=storage(workspace),
        prompts=_prompts(workspace, names, whole=not models),
    )


def _prompts(workspace: Workspace, names: Sequence[str], *, whole: bool) -> tuple[ScopeSpend, ...]:
    """Return what prompts have spent. whole: also the project, and by purpose."""
    prompts = workspace.project.definitions.prompts
    if not prompts:
        return ()
    wanted = {f"prompt:{name}" for name in names if name in prompts}
    return tuple(
        each
        for each in spend_report(workspace).scopes
        if each.scope in wanted or (whole and each.scope.partition(":")[0] in ("project", "purpose"))
    )


def run_costs(
    workspace: Workspace, models: Sequence[str] = (), *, before: str | None = None, limit: int | None = 50
) -> list[RunCost]:
    """Return what trainings cost, newest first. models: empty for all. before: id of the last run before the page."""
    where: dict[str, Any] = {"model": tuple(models)} if models else {}
    found = workspace.metadata.find(Run, limit=limit, before=before, **where)
    runs = [run for run in found if run.made_in is None]
    decisions = _decisions(workspace, runs)
    sets = {run.id: training_set(workspace.metadata, run).as_of for run in runs}
    return [
        RunCost(
            run=run.id,
            model=run.model,
            as_of=sets[run.id],
            created_at=run.created_at,
            decision=decisions.get(run.key.removesuffix(REFIT)),
            refit_of=run.refit_of,
            cpu_seconds=run.cpu_seconds,
            wall_seconds=run.wall_seconds,
            peak_memory_mb=run.peak_memory_mb,
            cost=run.cost,
        )
        for run in runs
    ]


def _decisions(workspace: Workspace, runs: Sequence[Run]) -> dict[str, str]:
    """Return by key of a workflow the decision that started it."""
    keys = tuple({run.key.removesuffix(REFIT) for run in runs})
    steps = workspace.metadata.find(WorkflowStep, workflow=keys) if keys else ()
    return {step.workflow: step.decision for step in steps if step.decision is not None}


def _model(workspace: Workspace, model: str, sums: ModelSums, months: Sequence[MonthCost]) -> ModelCost:
    until = event_time(workspace.metadata, model, workspace.clock)
    predictions, serving = sum(each.predictions for each in months), sum(each.serving for each in months)
    return ModelCost(
        model=model,
        training=sum(each.training for each in months),
        serving=serving,
        trainings=sum(each.trainings for each in months),
        predictions=predictions,
        per_million=cost_per_million(serving, predictions),
        decisions=len(sums.decisions),
        per_decision=sums.of_decisions / len(sums.decisions) if sums.decisions else None,
        budget=workspace.project.policy.decide.budget.cost,
        spent=spent(sums.costs, until),
        until=until,
        evaluations=sum(each.evaluations for each in months),
        tunes=sum(each.tunes for each in months),
        turns=served_spend(workspace, model),
    )


def _sentence(names: Sequence[str], present: Sequence[MonthCost], currency: str, *, priced: bool) -> str:
    who = f"model {names[0]}" if len(names) == 1 else plural(len(names), "model")
    if not present:
        return wording.sentence(f"{who} cost nothing yet: no run and no closed window")
    when = wording.month(present[0].month)
    lost = _total(each.lost for each in present)
    if priced:
        cost = wording.cost(sum(each.cost for each in present), currency)
    else:
        cost = f"{wording.metric(sum(each.training_cpu_seconds for each in present))} CPU seconds of training"
    text = f"{who} cost {cost} in {when}"
    text += f" and lost {wording.money(lost, currency)} by mistakes ({_counted(present)})" if lost is not None else ""
    return wording.sentence(text, "" if priced else "the policy has no prices, so costs are shown in CPU seconds")


def _counted(present: Sequence[MonthCost]) -> str:
    return wording.answers_counted(sum(each.counted for each in present), sum(each.predictions for each in present))


def _prices_mistakes(workspace: Workspace, model: str) -> bool:
    definition = workspace.served(model)
    return definition.money is not None or bool(workspace.project.policy.impact.cost_for(definition.task))


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
