"""From records to alerts: which facts are worth a message, each once.

A lasting state is one fact: drift, a stale view, few labels or a KPI out of the usual are told when they begin, not
with each window. Whether they begin follows from the record before, so the result does not depend on when records are
read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

import msgspec

from trimtab.app.overviews import wording
from trimtab.control.decision import counted_reason
from trimtab.control.reviews import ESCALATE, proposes_retraining
from trimtab.errors import NotFound
from trimtab.policy.alert_channels import Channel
from trimtab.policy.matrix import Matrix
from trimtab.policy.model import Policy
from trimtab.records.alert_records import SEVERITIES, Alert, AlertEvent, Severity
from trimtab.records.control import Decision, Resolution, WorkflowStep
from trimtab.records.data import CheckReport, CheckResult
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import VIEW, Signal, WindowReport
from trimtab.records.record import Record
from trimtab.records.serving import LogGap, Revision
from trimtab.stores.metadata.contract import Between, Metadata

KINDS: tuple[type[Record], ...] = (
    Decision,
    WorkflowStep,
    Resolution,
    Revision,
    GateReport,
    WindowReport,
    Signal,
    CheckReport,
    LogGap,
)
"""The records that facts follow from."""
REPLAYED_AFTER = timedelta(days=30)
"""A fact that was recorded later than this after its event time is one of a replay."""
FRESHNESS = "freshness"
LOOKED_BACK = 20
"""Reports among which the check before is looked for."""
REFUSED_SHOWN = 3


@dataclass(frozen=True)
class Place:
    """Where a reader goes on: a page of the console, and a command."""

    path: str
    command: str


class FactReader:
    """Reads new records and returns the alerts that follow from them."""

    def __init__(self, metadata: Metadata, policy: Policy) -> None:
        self._metadata = metadata
        self._policy = policy
        self._currency = policy.impact.currency

    def start(self) -> dict[str, str]:
        """Return the position behind all records that are there: what was before is not told."""
        return {kind.KIND: self._newest(kind) for kind in KINDS}

    def read(
        self, position: dict[str, str], *, replaying: Callable[[datetime], bool], now: datetime
    ) -> tuple[list[Alert], dict[str, str]]:
        """Return the alerts of the records after a position, and the position behind them.

        replaying: returns True if a replay ran at a wall-clock time. now: time of the alerts' records.
        """
        found: list[Alert] = []
        reached = dict(position)
        for kind in KINDS:
            last = position.get(kind.KIND, "")
            new = self._metadata.find(kind, oldest_first=True, before=last or None)
            if new:
                reached[kind.KIND] = new[-1].id
            for record in new:
                for alert in self._facts(record):
                    past = record.created_at - alert.at > REPLAYED_AFTER or replaying(record.created_at)
                    found.append(msgspec.structs.replace(alert, created_at=now, replayed=past))
        return found, reached

    def _newest(self, kind: type[Record]) -> str:
        newest = self._metadata.find(kind, limit=1)
        return newest[0].id if newest else ""

    def _facts(self, record: Record) -> Iterator[Alert]:
        if isinstance(record, Decision):
            yield from self._decision(record)
        elif isinstance(record, WorkflowStep):
            yield from self._escalation(record)
        elif isinstance(record, Resolution):
            yield from self._expiry(record)
        elif isinstance(record, Revision):
            yield from self._rollback(record)
        elif isinstance(record, GateReport):
            yield from self._gates(record)
        elif isinstance(record, WindowReport):
            yield from self._labels(record)
        elif isinstance(record, Signal):
            yield from self._signal(record)
        elif isinstance(record, CheckReport):
            yield from self._checks(record)
        elif isinstance(record, LogGap):
            yield _gap(record)

    def _decision(self, d: Decision) -> Iterator[Alert]:
        if d.action == "review":
            yield self._review(d)
        else:
            what = {"retrain": "a retraining starts", "rollback": "a rollback", "monitor": "nothing is done"}[d.action]
            title = f"{d.model}: decision {d.number}: {what}"
            place = Place(_decision_path(d), f"trimtab decisions {d.model}")
            yield self._of_decision("decision", d, self._severity(d.band), title, place)
        before = self._decision_before(d)
        if d.trigger == "matrix" and self._rank(d.band) > (self._rank(before.band) if before else 0):
            title = f"{d.model}: drift is {d.band}"
            place = Place(_decision_path(d), f"trimtab status, or: trimtab decisions {d.model}")
            yield self._of_decision("drift", d, self._severity(d.band), title, place)

    def _review(self, d: Decision) -> Alert:
        if proposes_retraining(d):
            title = f"{d.model}: decision {d.number} waits for an answer: retrain?"
        else:
            title = f"{d.model}: decision {d.number} asks a person to look"
        severity = max("moderate", self._severity(d.band), key=SEVERITIES.index)
        return self._of_decision("review", d, severity, title, Place(_decision_path(d), _answer(d)), waits=True)

    def _of_decision(
        self, event: AlertEvent, d: Decision, severity: Severity, title: str, place: Place, *, waits: bool = False
    ) -> Alert:
        figures = [f"p_seq {wording.p_value(d.p_seq)}"]
        if d.trigger == "matrix":
            money = wording.money(d.impact_per_day, self._currency, signed=True)
            figures.append(f"{money} a day ({d.impact} impact)")
        figures.append(f"window {wording.window_name(d.start, d.end)}")
        return _alert(
            event,
            d,
            model=d.model,
            severity=severity,
            at=d.end,
            title=title,
            figure=", ".join(figures),
            reason=counted_reason(d),
            place=place,
            waits=waits,
            action=d.action,
            band=d.band,
        )

    def _escalation(self, step: WorkflowStep) -> Iterator[Alert]:
        if step.step != ESCALATE or step.decision is None:
            return
        d = self._get(step.decision)
        if d is None:
            return
        title = f"{d.model}: decision {d.number} still waits for an answer"
        place = Place(_decision_path(d), _answer(d))
        made = self._of_decision("review", d, "severe", title, place, waits=True)
        yield msgspec.structs.replace(made, id=f"{made.id}/escalated", reason=step.outcome)

    def _expiry(self, answer: Resolution) -> Iterator[Alert]:
        if not answer.reason.startswith("expired:"):
            return
        d = self._get(answer.decision)
        if d is None:
            return
        title = f"{d.model}: decision {d.number} was rejected: no answer came"
        place = Place(_decision_path(d), f"trimtab retrain --model {d.model}")
        made = self._of_decision("review", d, "moderate", title, place)
        yield msgspec.structs.replace(made, id=f"{made.id}/expired", reason=answer.reason, at=answer.as_of or d.end)

    def _rollback(self, revision: Revision) -> Iterator[Alert]:
        if revision.action != "rollback":
            return
        serves = next((str(a.version) for a in revision.assignments if a.role == "champion"), "none")
        yield _alert(
            "rollback",
            revision,
            model=revision.model,
            severity="severe",
            at=revision.as_of or revision.created_at,
            title=f"{revision.model}: version {serves} serves after a rollback",
            figure=f"revision {revision.number}, by {revision.by}",
            reason=revision.reason,
            place=Place(
                f"/models/{quote(revision.model)}/revisions/{revision.number}",
                f"trimtab history --model {revision.model}",
            ),
        )

    def _gates(self, report: GateReport) -> Iterator[Alert]:
        refused = [result for result in report.results if result.verdict == "fail"]
        if report.verdict != "fail":
            return
        named = wording.joined([result.gate for result in refused]) or "gates"
        figures = [
            f"{r.metric} {wording.metric(r.value)}" + ("" if r.threshold is None else f", limit {r.threshold:g}")
            for r in refused
        ]
        yield _alert(
            "gate",
            report,
            model=report.model,
            severity="moderate",
            at=report.created_at,
            title=f"{report.model}: run {report.run} was refused by {named}",
            figure="; ".join(figures[:REFUSED_SHOWN]),
            reason="; ".join(r.reason for r in refused[:REFUSED_SHOWN]),
            place=Place(f"/experiments/{quote(report.run, safe='')}", f"trimtab runs show {report.run}"),
        )

    def _labels(self, window: WindowReport) -> Iterator[Alert]:
        least = self._policy.alerts.label_coverage
        if not _is_judged(window) or window.coverage >= least:
            return
        earlier = Between(end=window.start)
        before = self._metadata.find(
            WindowReport, model=window.model, stage="matured", role="champion", start=earlier, limit=1
        )
        if before and _is_judged(before[0]) and before[0].coverage < least:
            return
        have, due = wording.count(window.labelled), wording.count(window.rows)
        yield _alert(
            "labels",
            window,
            model=window.model,
            severity="moderate",
            at=window.end,
            title=f"{window.model}: {wording.share(window.coverage)} of the rows have a label",
            figure=f"{have} of {due} rows, window {wording.window_name(window.start, window.end)}",
            reason=f"labels are mature, and {wording.share(least)} are expected (alerts.label_coverage)",
            place=Place(_window_path(window), "trimtab status"),
        )

    def _signal(self, signal: Signal) -> Iterator[Alert]:
        if signal.kind not in ("kpi", FRESHNESS) or not self._is_alarm(signal) or signal.subject == "all":
            return
        earlier = Between(end=signal.start)
        before = self._metadata.find(
            Signal, model=signal.model, kind=signal.kind, subject=signal.subject, start=earlier, limit=1
        )
        if before and self._is_alarm(before[0]):
            return
        name = signal.subject.removeprefix(VIEW)
        if signal.kind == "kpi":
            what, command = f"{name} is not as usual", f"trimtab kpi show {name} --model {signal.model}"
            path = f"/models/{quote(signal.model)}"
        else:
            of = "values of view" if signal.subject.startswith(VIEW) else "rows of table"
            what, command, path = f"{of} {name} are old", "trimtab features", "/data"
        usual = signal.effect.get("limit", signal.effect.get("expected"))
        word = "limit" if "limit" in signal.effect else "usual"
        figure = f"{signal.statistic}: {wording.metric(signal.value)}"
        figure += "" if usual is None else f", {word} {wording.metric(usual)}"
        figure += "" if signal.p_seq is None else f", p_seq {wording.p_value(signal.p_seq)}"
        severity = (
            "moderate" if signal.p_seq is None else self._severity(self._policy.decide.matrix.band(signal.p_seq)[0])
        )
        yield _alert(
            "kpi" if signal.kind == "kpi" else "freshness",
            signal,
            model=signal.model,
            severity=max("moderate", severity, key=SEVERITIES.index),
            at=signal.end,
            title=f"{signal.model}: {what}",
            figure=figure,
            reason=signal.reason,
            place=Place(path, command),
        )

    def _is_alarm(self, signal: Signal) -> bool:
        """Return True if a signal is beyond its limit, or its sequential p-value lies in a band below the mildest."""
        if "limit" in signal.effect:
            return signal.value > signal.effect["limit"]
        return signal.p_seq is not None and self._rank(self._policy.decide.matrix.band(signal.p_seq)[0]) > 0

    def _checks(self, report: CheckReport) -> Iterator[Alert]:
        stale = _stale(report)
        if stale is None:
            return
        reports = self._metadata.find(CheckReport, table=report.table, limit=LOOKED_BACK)
        looked = [r for r in reports if r.created_at < report.created_at and any(_is_freshness(c) for c in r.results)]
        if looked and _stale(looked[0]) is not None:
            return
        yield _alert(
            "freshness",
            report,
            model="",
            severity="moderate",
            at=report.created_at,
            title=f"Rows of table {report.table} are old",
            figure=stale,
            reason=f"check of {report.source}",
            place=Place(f"/data/tables/{quote(report.table)}", f"trimtab ingest {report.table}"),
        )

    def _severity(self, band: str) -> Severity:
        return severity_of(self._policy.decide.matrix, band)

    def _rank(self, band: str) -> int:
        return rank(self._policy.decide.matrix, band)

    def _get(self, id_: str) -> Decision | None:
        try:
            return self._metadata.get(Decision, id_)
        except NotFound:
            return None

    def _decision_before(self, d: Decision) -> Decision | None:
        """Return the decision of the matrix before one of the same model, or None."""
        for number in range(d.number - 1, 0, -1):
            found = self._get(f"{d.model}/decision/{number}")
            if found is None or found.trigger == "matrix":
                return found
        return None


def channels_for(alert: Alert, channels: dict[str, Channel]) -> tuple[str, ...]:
    """Return the names of the channels that ask for an alert."""
    return tuple(name for name, channel in channels.items() if _is_wanted(alert, channel))


def _is_wanted(alert: Alert, channel: Channel) -> bool:
    if alert.replayed and channel.replay == "none":
        return False
    if channel.events is not None and alert.event not in channel.events:
        return False
    if channel.models is not None and alert.model not in ("", *channel.models):
        return False
    if alert.event == "decision" and alert.action not in channel.actions:
        return False
    if alert.event in ("decision", "drift") and channel.bands is not None and alert.band not in channel.bands:
        return False
    return SEVERITIES.index(alert.severity) >= SEVERITIES.index(channel.severity)


def rank(matrix: Matrix, band: str) -> int:
    """Return the place of a band from the mildest (0) on; a band that the matrix does not have is the worst."""
    names = sorted(matrix.root, key=lambda name: matrix.root[name].p, reverse=True)
    return names.index(band) if band in names else len(names)


def severity_of(matrix: Matrix, band: str) -> Severity:
    """Return the severity of a band: the mildest is minor, the worst severe, what lies between moderate."""
    place = rank(matrix, band)
    if place == 0:
        return "minor"
    return "severe" if place >= len(matrix.root) - 1 else "moderate"


def _alert(
    event: AlertEvent,
    record: Record,
    *,
    model: str,
    severity: Severity,
    at: datetime,
    title: str,
    figure: str,
    reason: str,
    place: Place,
    waits: bool = False,
    action: str | None = None,
    band: str = "",
) -> Alert:
    return Alert(
        id=f"alert/{event}/{record.id}",
        created_at=record.created_at,
        event=event,
        model=model,
        severity=severity,
        at=at,
        title=title,
        figure=figure,
        reason=reason,
        path=place.path,
        command=place.command,
        refers_to=record.id,
        channels=(),
        waits=waits,
        action=action,  # type: ignore[arg-type]  # of a decision
        band=band,
    )


def _gap(gap: LogGap) -> Alert:
    return _alert(
        "log_gap",
        gap,
        model="",
        severity="severe",
        at=gap.end,
        title=f"{wording.count(gap.rows)} predictions were answered and could not be logged",
        figure=f"{wording.count(gap.rows)} rows, {wording.window_name(gap.start, gap.end)}, worker {gap.worker}",
        reason=gap.reason,
        place=Place("/system", "trimtab doctor"),
    )


def _answer(d: Decision) -> str:
    if proposes_retraining(d):
        return f"trimtab approve {d.id} --reason '...', or: trimtab reject {d.id} --reason '...'"
    return f"trimtab acknowledge {d.id} --reason '...'"


def _decision_path(d: Decision) -> str:
    return f"/models/{quote(d.model)}/decisions/{d.number}"


def _window_path(window: WindowReport) -> str:
    return f"/models/{quote(window.model)}/windows/{wording.iso(window.start)}?version={window.version}"


def _is_judged(window: WindowReport) -> bool:
    return window.stage == "matured" and window.role == "champion" and window.rows > 0


def _stale(report: CheckReport) -> str | None:
    """Return what the check of a table's freshness found, or None when it passed or was not asked for."""
    return next((r.reason for r in report.results if _is_freshness(r) and r.verdict != "pass"), None)


def _is_freshness(result: CheckResult) -> bool:
    return result.check == FRESHNESS
