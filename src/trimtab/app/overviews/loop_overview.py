"""What the first page shows: whether the loop turns, what waits for a person, what it brought. Read from records."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from trimtab.app.gateway.configuration import running_gateway, url_of
from trimtab.app.loop.event_lines import KINDS, event_line
from trimtab.app.overviews.facts import Tone, band_tone
from trimtab.app.overviews.model_brief import ModelBrief, model_brief
from trimtab.app.overviews.wording import SIGNALS, count, joined, money, sentence, window_name
from trimtab.app.project.locks import LOOP, holder
from trimtab.app.project.workspace import Workspace
from trimtab.control.decision import counted_reason
from trimtab.control.reviews import open_notes, pending_reviews, proposes_retraining
from trimtab.records.control import Decision
from trimtab.records.data import CheckReport, TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.records.record import Action, Level, Record
from trimtab.records.serving import LogGap, Revision
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stores.metadata.contract import latest
from trimtab.stores.metadata.training_sets import training_set
from trimtab.units import plural

PAGE_MODELS = 20
LAST_EVENTS = 10
NAMED = 2
"""Models that the sentence names."""

Verdict = Literal["", "pass", "warn", "fail"]

STAGES: tuple[tuple[str, type[Record], Callable[[Any], str], str], ...] = (
    ("table", TableVersion, lambda r: f"{r.table} {r.version}", "trimtab ingest"),
    ("checks", CheckReport, lambda r: r.table, "trimtab ingest"),
    ("features", FeatureViewVersion, lambda r: r.view, "trimtab features"),
    ("dataset", DatasetVersion, lambda r: f"{count(r.rows)} rows", "trimtab train"),
    ("run", Run, lambda r: r.id[:8], "trimtab train"),
    ("gates", GateReport, lambda r: r.model, "trimtab evaluate"),
    ("bundle", Bundle, lambda r: f"{r.model} {r.version}", "trimtab register"),
    ("revision", Revision, lambda r: f"{r.model} {r.number}", "trimtab deploy"),
    ("log", WindowReport, lambda r: f"{count(r.rows)} rows", "trimtab up"),
    ("signal", Signal, lambda r: f"{r.model} {SIGNALS[r.kind]}", "trimtab up"),
    ("decision", Decision, lambda r: f"{r.model} {r.number}", "trimtab up"),
)
"""Name of a stage, the records that it writes, what is said of the newest one, and the command that writes the first.

The boxes are these, with the sources at the beginning and the gateway before the log."""
OF_TABLES = ("source", "table", "checks", "features", "dataset")
"""Stages that a project of prompts alone does not have."""
COMMANDS_OF_PROMPTS = {"run": "trimtab eval", "gates": "trimtab eval", "bundle": "trimtab eval"}
"""By stage, the command of such a project."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that waits for a person. proposes: an answer starts a retraining or ends it; else a person only
    looks."""

    model: str
    number: int
    proposes: bool
    window: str
    start: datetime
    band: str
    tone: Tone
    impact: Level
    impact_per_day: float
    currency: str
    cell: Action
    reason: str
    since: datetime
    """Time (wall) of the decision."""
    waits_s: float


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of the loop with the newest thing that it wrote. next: the command that writes the first one."""

    name: str
    newest: str
    at: datetime | None
    age_s: float | None
    verdict: Verdict = ""
    note: str = ""
    next: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the loop or a person did. at: wall time."""

    at: datetime
    kind: str
    model: str
    text: str
    record: str


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Money and trainings of the newest month of event time of all models with windows in it."""

    name: str
    lost: float | None
    counted: int
    """Labelled answers that `lost` counts."""
    answered: int
    saved: float | None
    saved_windows: int
    loop: float
    """Trainings and serving."""
    trainings: int
    allowed: float
    """Retrainings a month that may start by themselves (decide.budget)."""


class LoopOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The first page. models: one page of them, worst first."""

    project: str
    sentence: str
    loop: str | None
    """What process runs the loop; None when none does."""
    gateway: str | None
    """Address of the running gateway; None when none runs."""
    troubles: dict[str, str]
    """Model -> what is wrong in the gateway."""
    waits: tuple[Waiting, ...]
    boxes: tuple[Box, ...]
    models: tuple[ModelBrief, ...]
    models_in_all: int
    page: int
    currency: str
    month: Totals | None
    events: tuple[Event, ...]


def loop_overview(workspace: Workspace, *, page: int = 1) -> LoopOverview:
    """Return the first page. page: of the models, from 1 on."""
    names = tuple(workspace.project.definitions.served)
    briefs = _briefs(workspace)
    waits = waiting_decisions(workspace, names)
    gateway = running_gateway(workspace.run_folder)
    loop = holder(workspace, LOOP)
    first = (page - 1) * PAGE_MODELS
    currency = workspace.project.policy.impact.currency
    boxes = _boxes(workspace, None if gateway is None else url_of(gateway))
    return LoopOverview(
        project=workspace.project.policy.project,
        sentence=_sentence(briefs, waits, boxes, currency, turning=(loop is not None, gateway is not None)),
        loop=None if loop is None else loop.doing,
        gateway=None if gateway is None else url_of(gateway),
        troubles={}
        if gateway is None
        else {name: text for name, text in gateway.troubles.items() if workspace.shows(name)},
        waits=waits,
        boxes=boxes,
        models=tuple(briefs[first : first + PAGE_MODELS]),
        models_in_all=len(briefs),
        page=page,
        currency=currency,
        month=_totals(workspace, briefs),
        events=_events(workspace),
    )


class ModelsPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the models, worst first."""

    sentence: str
    models: tuple[ModelBrief, ...]
    models_in_all: int
    page: int
    currency: str


def models_page(workspace: Workspace, *, page: int = 1) -> ModelsPage:
    """Return one page of the models. page: from 1 on."""
    briefs = _briefs(workspace)
    losing = [b.model for b in briefs if b.impact in ("medium", "high")]
    waiting = [b.model for b in briefs if b.waits]
    judged = sum(b.impact is not None for b in briefs)
    none = "none loses more than it has to" if judged == len(briefs) else f"none of the {judged} judged loses too much"
    said = [
        plural(len(briefs), "model"),
        f"{plural(len(losing), 'loses', 'lose')} more than {'it has' if len(losing) == 1 else 'they have'} to"
        if losing
        else none
        if judged
        else "none is judged yet, so what mistakes cost is not known",
        f"a person is asked about {joined(waiting[:NAMED])}" if waiting else "",
    ]
    first = (page - 1) * PAGE_MODELS
    return ModelsPage(
        sentence=sentence(*said) if briefs else "No model yet: `trimtab init` writes a first one.",
        models=tuple(briefs[first : first + PAGE_MODELS]),
        models_in_all=len(briefs),
        page=page,
        currency=workspace.project.policy.impact.currency,
    )


def _briefs(workspace: Workspace) -> list[ModelBrief]:
    names = workspace.project.definitions.served
    return sorted((model_brief(workspace, name) for name in names), key=_urgency)


def _urgency(brief: ModelBrief) -> tuple[int, int, int, float, str]:
    """Return what orders models: those that wait, then by band, impact and money."""
    bands = {"severe": 0, "moderate": 1, "minor": 2}
    impacts: dict[Level | None, int] = {"high": 0, "medium": 1, "low": 2}
    lost = brief.impact_per_day or 0.0
    return -len(brief.waits), bands.get(brief.tone, 3), impacts.get(brief.impact, 3), -lost, brief.model


def waiting_decisions(workspace: Workspace, names: Sequence[str]) -> tuple[Waiting, ...]:
    """Return what waits for a person, oldest first; what proposes a retraining comes before what is only to be seen."""
    now, policy = workspace.now(), workspace.project.policy
    found = [
        decision
        for name in names
        for decision in (*pending_reviews(workspace.metadata, name), *open_notes(workspace.metadata, name))
    ]
    return tuple(
        Waiting(
            model=d.model,
            number=d.number,
            proposes=proposes_retraining(d),
            window=window_name(d.start, d.end) if d.end > d.start else "",
            start=d.start,
            band=d.band,
            tone=band_tone(policy.decide.matrix, d.band),
            impact=d.impact,
            impact_per_day=d.impact_per_day,
            currency=policy.impact.currency,
            cell=d.cell,
            reason=counted_reason(d),
            since=d.created_at,
            waits_s=max(0.0, (now - d.created_at).total_seconds()),
        )
        for d in sorted(found, key=lambda d: (not proposes_retraining(d), d.created_at))
    )


def _boxes(workspace: Workspace, gateway: str | None) -> tuple[Box, ...]:
    """Return the stages in the order in which records pass along the loop."""
    now = workspace.now()
    definitions = workspace.project.definitions
    prompts_alone = bool(definitions.prompts) and not definitions.models
    commands = COMMANDS_OF_PROMPTS if prompts_alone else {}
    found = [Box(name="source", newest=plural(len(definitions.sources), "source"), at=None, age_s=None)]
    for name, kind, words, command in STAGES:
        newest = latest(workspace.metadata, kind)
        if newest is None:
            found.append(Box(name=name, newest="", at=None, age_s=None, next=commands.get(name, command)))
            continue
        age = max(0.0, (now - newest.created_at).total_seconds())
        verdict: Verdict = getattr(newest, "verdict", "")
        found.append(Box(name=name, newest=words(newest), at=newest.created_at, age_s=age, verdict=verdict))
    note = "running" if gateway else "stopped"
    log = next(place for place, box in enumerate(found) if box.name == "log")
    found.insert(log, Box(name="gateway", newest=gateway or "", at=None, age_s=None, note=note, next="trimtab up"))
    gaps = sum(gap.rows for gap in workspace.metadata.find(LogGap))
    if gaps:
        note = f"{count(gaps)} rows are not logged"
        found[log + 1] = msgspec.structs.replace(found[log + 1], verdict="warn", note=note)
    return tuple(box for box in found if not prompts_alone or box.name not in OF_TABLES)


def _totals(workspace: Workspace, briefs: Sequence[ModelBrief]) -> Totals | None:
    """Return the totals of the newest month that any model has windows in."""
    months = [brief.month for brief in briefs if brief.month is not None]
    newest = max((m.start for m in months), default=None)
    if newest is None:
        return None
    own = [m for m in months if m.start == newest]
    runs = [
        r
        for r in workspace.metadata.find(Run)
        if r.made_in is None and _same_month(training_set(workspace.metadata, r).as_of, newest)
    ]
    lost = [m.lost for m in own if m.lost is not None]
    saved = [m.saved for m in own if m.saved is not None]
    return Totals(
        name=own[0].name,
        lost=math.fsum(lost) if lost else None,
        counted=sum(m.counted for m in own),
        answered=sum(m.answered for m in own),
        saved=math.fsum(saved) if saved else None,
        saved_windows=sum(m.saved_windows for m in own),
        loop=math.fsum([*(r.cost for r in runs), *(m.serving for m in own)]),
        trainings=sum(r.refit_of is None and r.purpose == "train" for r in runs),
        allowed=workspace.project.policy.decide.budget.retrains,
    )


def _same_month(at: datetime, begin: datetime) -> bool:
    return (at.year, at.month) == (begin.year, begin.month)


def _events(workspace: Workspace) -> tuple[Event, ...]:
    """Return what was done last, newest first."""
    found: list[Record] = []
    for kind in KINDS:
        where: dict[str, Any] = {"action": ("review", "retrain", "rollback")} if kind is Decision else {}
        found += workspace.metadata.find(kind, limit=LAST_EVENTS, **where)
    newest = sorted(found, key=lambda r: r.created_at, reverse=True)[:LAST_EVENTS]
    return tuple(
        Event(at=r.created_at, kind=r.KIND, model=getattr(r, "model", ""), text=event_line(r), record=r.id)
        for r in newest
    )


def _sentence(
    briefs: Sequence[ModelBrief],
    waits: Sequence[Waiting],
    boxes: Sequence[Box],
    currency: str,
    *,
    turning: tuple[bool, bool],
) -> str:
    """Return what a person must know first. turning: the loop runs; the gateway runs."""
    missing = next((box for box in boxes if box.next and box.name != "gateway"), None)
    if missing is not None and not any(brief.serving for brief in briefs):
        return f"No {missing.name} yet: `{missing.next}`."
    proposals = sum(w.proposes for w in waits)
    seen = len(waits) - proposals
    asked = [
        plural(proposals, "review waits", "reviews wait") + " for you" if proposals else "",
        plural(seen, "decision is", "decisions are") + " to be seen" if seen else "",
    ]
    losing = [b for b in briefs if b.impact in ("medium", "high")]
    said = [f"{b.model} loses {money(b.impact_per_day, currency)} a day more than it has to" for b in losing[:NAMED]]
    if len(losing) > NAMED:
        said.append(f"{plural(len(losing) - NAMED, 'more model loses', 'more models lose')} money")
    loop, gateway = turning
    stopped = [name for name, runs in (("the loop", loop), ("the gateway", gateway)) if not runs]
    rest = "everything else turns" if any(asked) or said else "nothing waits, and everything turns"
    if stopped:
        rest = f"{joined(stopped)} {'is' if len(stopped) == 1 else 'are'} not running: `trimtab up`"
    return sentence(*asked, *said, rest)
