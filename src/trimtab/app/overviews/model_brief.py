"""The state of a model now, in one sentence and five figures. Read from the newest records alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from trimtab.app.overviews.facts import Fact, Tone, band_tone
from trimtab.app.overviews.model_windows import (
    WINDOWS_A_QUERY,
    ChampionWindow,
    TimeRange,
    champion_windows,
    role_windows,
)
from trimtab.app.overviews.model_words import State, deciding_signal, model_sentence, newest_judged
from trimtab.app.overviews.wording import (
    SIGNALS,
    answers_counted,
    count,
    interval,
    metric,
    money,
    month,
    p_value,
    share,
)
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.answer_money import answer_money
from trimtab.control.holds import active_freeze, freeze_reason
from trimtab.control.reviews import open_notes, pending_reviews
from trimtab.errors import NotFound
from trimtab.metric_catalog import METRICS
from trimtab.policy.model import Policy
from trimtab.records.control import Decision
from trimtab.records.monitoring import MONEY_GAIN, WindowReport
from trimtab.records.record import Level, Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import Metadata, latest
from trimtab.units import MICROS, plural

SPARK_WINDOWS = 30
LOOKED_AT = 200
"""Newest decisions among which the begin of a band is searched."""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """One version in service. kept: a former champion that stays as a shadow."""

    version: int
    role: Role
    weight: float
    kept: bool


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """What the mistakes in the answers of a month (UTC) of event time cost, on labelled ones.

    saved: what the champion before would have lost more, in the windows in which it was compared; None without any.
    """

    name: str
    start: datetime
    lost: float | None
    counted: int
    """Labelled answers that `lost` counts."""
    answered: int
    """All answers of the month."""
    saved: float | None
    saved_windows: int
    serving: float
    """Money for serving, of all windows of the month."""


class ModelBrief(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a model at its newest window."""

    model: str
    task: str
    currency: str
    metric: str
    metric_better: Literal["more", "less"]
    state: State
    sentence: str
    next: str
    """The next command; empty where nothing is missing."""
    facts: tuple[Fact, ...]
    serving: tuple[Serving, ...]
    revision: int
    until: datetime | None
    """End of the newest window."""
    band: str
    tone: Tone
    impact: Level | None
    impact_per_day: float | None
    decided: int | None
    """Number of the newest decision about a matured window."""
    losses: tuple[tuple[datetime, float | None], ...]
    """Start and metric of the newest matured windows of the champion."""
    month: Month | None
    waits: tuple[int, ...]
    """Numbers of the decisions that wait for a person, oldest first."""
    frozen: str | None


def model_brief(workspace: Workspace, name: str) -> ModelBrief:
    """Return the state of a model. Raises DefinitionError for an unknown one."""
    model, policy, metadata = workspace.served(name), workspace.project.policy, workspace.metadata
    newest = _newest_window(metadata, model.name)
    loss = policy.rollout.promote_when.quality_for(model.task)
    reports = _recent(workspace, model.name, newest, loss)
    windows = champion_windows(reports, loss)
    decisions = metadata.find(Decision, model=model.name, limit=LOOKED_AT)
    judged = newest_judged(decisions)
    revision = latest(metadata, Revision, model=model.name)
    freeze = active_freeze(metadata, model.name, workspace.now() if newest is None else newest.end)
    waits = sorted(d.number for d in (*pending_reviews(metadata, model.name), *open_notes(metadata, model.name)))
    state = _state(revision, windows, loss)
    months = _month(reports, windows)
    has_money = any(w.money_lost is not None for w in windows)
    return ModelBrief(
        model=model.name,
        task=model.task,
        currency=policy.impact.currency,
        metric=loss,
        metric_better=METRICS[loss].better,
        state=state,
        sentence=model_sentence(workspace, model.name, state, decisions, waits, has_money=has_money),
        next={"not_deployed": "trimtab run", "no_window": "trimtab up"}.get(state, ""),
        facts=_facts(workspace, model.name, loss, windows, judged, months),
        serving=tuple(
            Serving(version=a.version, role=a.role, weight=a.weight, kept=a.kept)
            for a in (() if revision is None else revision.assignments)
        ),
        revision=0 if revision is None else revision.number,
        until=None if newest is None else newest.end,
        band="" if judged is None else judged.band,
        tone="" if judged is None else band_tone(policy.decide.matrix, judged.band),
        impact=None if judged is None else judged.impact,
        impact_per_day=None if judged is None else judged.impact_per_day,
        decided=None if judged is None else judged.number,
        losses=tuple((w.start, w.loss) for w in windows if w.matured)[-SPARK_WINDOWS:],
        month=months,
        waits=tuple(waits),
        frozen=None if freeze is None else freeze_reason(freeze),
    )


def impact_tone(impact: Level | None) -> Tone:
    """Return the tone of a level of impact."""
    tones: dict[Level | None, Tone] = {"medium": "moderate", "high": "severe"}
    return tones.get(impact, "")


def milliseconds(micros: int | None) -> float | None:
    """Return microseconds in milliseconds."""
    return None if micros is None else micros / MICROS["ms"]


def _newest_window(metadata: Metadata, name: str) -> WindowReport | None:
    """Return the report of the newest window: the last written one of a stage, of which closed ones run ahead."""
    found = (latest(metadata, WindowReport, model=name, stage=stage) for stage in ("closed", "matured"))
    return max((report for report in found if report is not None), key=lambda r: r.end, default=None)


def _recent(workspace: Workspace, name: str, newest: WindowReport | None, metric: str) -> list[WindowReport]:
    """Return the reports of the month of the newest window, and of at least the windows of a sparkline."""
    if newest is None:
        return []
    begin = _month_start(newest.start)
    size = timedelta(microseconds=workspace.project.policy.decide.window)
    wanted = TimeRange(since=min(begin, newest.end - SPARK_WINDOWS * size), until=newest.end)
    return role_windows(workspace.metadata, name, wanted, metric, WINDOWS_A_QUERY * size)


def _state(revision: Revision | None, windows: Sequence[ChampionWindow], loss: str) -> State:
    if any(w.matured for w in windows):
        return "judged" if any(w.loss is not None for w in windows) else "no_labels"
    if windows:
        return "no_labels"
    return "not_deployed" if revision is None else "no_window"


def _month_start(at: datetime) -> datetime:
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _month(reports: Sequence[WindowReport], windows: Sequence[ChampionWindow]) -> Month | None:
    """Return the money of the month of the newest window whose money is known, else of the newest window."""
    if not windows:
        return None
    known = next((w for w in reversed(windows) if w.money_lost is not None), windows[-1])
    begin = _month_start(known.start)
    own = [r for r in reports if _month_start(r.start) == begin]
    known_money = [answers for r in own if r.stage == "matured" and (answers := answer_money(r)) is not None]
    saved = saved_by_window(own)
    return Month(
        name=month(begin),
        start=begin,
        lost=math.fsum(lost for lost, _ in known_money) if known_money else None,
        counted=sum(answers for _, answers in known_money),
        answered=sum(r.served_rows for r in own),
        saved=math.fsum(saved) if saved else None,
        saved_windows=len(saved),
        serving=math.fsum(r.metrics.get("cost", 0.0) for r in own),
    )


def saved_by_window(reports: Sequence[WindowReport]) -> list[float]:
    """Return by window what the champion saved compared with the newest older version that scored the same rows."""
    before: dict[datetime, WindowReport] = {}
    for report in reports:
        older = report.role != "champion" and report.version < report.metrics.get("paired_version", 0)
        if older and MONEY_GAIN in report.metrics:
            known = before.get(report.start)
            before[report.start] = report if known is None or report.version > known.version else known
    return [-r.metrics[MONEY_GAIN] * r.metrics["paired_rows"] for r in before.values()]


def _facts(
    workspace: Workspace,
    name: str,
    loss: str,
    windows: Sequence[ChampionWindow],
    judged: Decision | None,
    months: Month | None,
) -> tuple[Fact, ...]:
    if not windows:
        return ()
    policy = workspace.project.policy
    labelled = [w for w in windows if w.matured]
    usual_loss = _usual_loss(workspace, name, loss, labelled)
    rated = next((w.labelled for w in reversed(labelled) if w.loss is not None), None)
    if rated is not None and name in workspace.project.definitions.prompts:
        usual_loss = f"of {plural(rated, 'rated turn')}" + (f"; {usual_loss}" if usual_loss else "")
    label = loss.replace("_", " ")
    found = [Fact(name="loss", label=label, figure=metric(_last(labelled)), usual=usual_loss, panel="loss")]
    if judged is not None:
        found.append(_drift_fact(workspace, judged))
    if months is not None and months.lost is not None:
        found.append(_lost_fact(policy, months, judged))
    if labelled and workspace.served(name).label is not None:
        newest = labelled[-1]
        rows = f"{count(newest.labelled)} of {count(newest.rows)}"
        found.append(Fact(name="labels", label="labels", figure=share(newest.coverage), usual=rows))
    limit = milliseconds(policy.rollout.rollback_when.p99)
    slowest = windows[-1].p99_ms
    if slowest is not None:
        usual = "" if limit is None else f"limit {metric(limit)} ms"
        tone: Tone = "severe" if limit is not None and slowest > limit else ""
        found.append(
            Fact(name="p99", label="p99", figure=f"{metric(slowest)} ms", usual=usual, tone=tone, panel="latency")
        )
    return tuple(found)


def _usual_loss(workspace: Workspace, name: str, loss: str, labelled: Sequence[ChampionWindow]) -> str:
    """Return what is usual for the version of the newest labelled window; empty where its bundle does not say it."""
    with suppress(NotFound, IndexError):
        usual = workspace.metadata.get(Bundle, f"{name}/{labelled[-1].version}").usual.get(loss)
        return "" if usual is None else f"usual {interval(usual.low, usual.high)}"
    return ""


def _last(labelled: Sequence[ChampionWindow]) -> float | None:
    return next((w.loss for w in reversed(labelled) if w.loss is not None), None)


def _drift_fact(workspace: Workspace, judged: Decision) -> Fact:
    """Return the corrected p-value of the newest judged window, named after the signal that chose the band."""
    tone = band_tone(workspace.project.policy.decide.matrix, judged.band)
    chosen = None if tone in ("", "minor") else deciding_signal(workspace.metadata, judged)
    label = "drift" if chosen is None else SIGNALS[chosen.kind]
    return Fact(
        name="p_seq",
        label=label,
        figure=f"p {p_value(judged.p_seq)}",
        usual="" if judged.band == tone else judged.band,
        tone=tone,
        panel="p_seq",
    )


def _lost_fact(policy: Policy, months: Month, judged: Decision | None) -> Fact:
    currency = policy.impact.currency
    avoidable = 0.0 if judged is None else judged.impact_per_day
    avoided = f"{money(avoidable, currency)} a day" if avoidable > 0 else "nothing"
    usual = answers_counted(months.counted, months.answered)
    usual += "" if judged is None else f"; newest judged window: {avoided} avoidable ({judged.impact} impact)"
    return Fact(
        name="lost",
        label=f"lost in {months.name}",
        figure=money(months.lost, currency),
        usual=usual,
        tone=impact_tone(None if judged is None else judged.impact),
        panel="money",
    )
