"""What was different in the rows of one window: columns, segments, mistakes, signals, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec

from trimtab.app.llm.watching.kept_references import kept_reference
from trimtab.app.overviews.facts import Tone, band_tone
from trimtab.app.overviews.model_windows import SignalPoint, signal_point
from trimtab.app.overviews.window_columns import WindowColumn, window_columns
from trimtab.app.overviews.window_list import known_model
from trimtab.app.overviews.wording import (
    count,
    iso,
    metric,
    p_value,
    sentence,
    share,
    short_day,
    signal_kind,
    signal_subject,
    window_name,
)
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.spec import read_spec
from trimtab.clock import to_micros
from trimtab.control.cause import COUNTED
from trimtab.control.decision import REVIEW_P
from trimtab.definitions.collection import Served
from trimtab.definitions.personal_columns import mask_segment, personal_columns
from trimtab.errors import DataError, NotFound, StoreError
from trimtab.metric_catalog import PAIR, Task
from trimtab.monitoring.reference import Reference
from trimtab.policy.decide import Impact
from trimtab.records.control import Decision
from trimtab.records.monitoring import ABSOLUTE, Profile, Signal, WindowReport
from trimtab.records.record import Action, Level, Role, SignalKind
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.stores.metadata.contract import Between

MEAN = "_mean"
"""Ends the names of the metrics that are the mean of one kind of mistake a prediction."""
NEAR = 16
"""Reports among which the neighbour of a window is looked for: one window has a report for each version."""
MOST_FINDINGS = 2
MISTAKES = {
    "false_negative": "missed",
    "false_positive": "false alarms",
    "misclassification": "wrong classes",
    "absolute_error": "absolute error",
    "over_prediction": "predicted too high",
    "under_prediction": "predicted too low",
}
"""Kind of a mistake -> its words; a pair of classes stands for itself."""


class MistakeShare(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of mistake in a window.

    mean: a labelled row: a share, or of a regression the mean error in the label's unit. usual: the same over the
    reference windows. price: money a mistake, or a unit of error. money: of all labelled rows.
    """

    kind: str
    words: str
    mean: float
    is_share: bool
    usual: float | None
    price: float | None
    money: float | None


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The segment of a window whose mistakes are most surely more than expected. gap: beyond what is expected."""

    name: str
    rows: int
    value: float
    gap: float | None
    p: float | None
    reason: str


class WindowNote(msgspec.Struct, frozen=True, kw_only=True):
    """One signal of a window."""

    kind: SignalKind
    subject: str
    words: str
    value: float
    p: float | None
    p_seq: float | None
    band: str
    tone: Tone
    reason: str


class DecidedOn(msgspec.Struct, frozen=True, kw_only=True):
    """The decision about a window."""

    number: int
    band: str
    tone: Tone
    p_seq: float
    impact: Level
    impact_per_day: float
    cell: Action
    action: Action
    reasons: tuple[str, ...]


class WindowDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One version in one window."""

    model: str
    task: str
    version: int
    role: Role
    versions: tuple[tuple[int, Role], ...]
    """All versions that scored rows of the window."""
    name: str
    start: datetime
    end: datetime
    sentence: str
    rows: int
    labelled: int
    matured: bool
    currency: str
    metrics: dict[str, float]
    columns: tuple[WindowColumn, ...]
    trouble: str
    """Why there is no reference to compare with; empty when there is one."""
    segments: tuple[Segment, ...]
    mistakes: tuple[MistakeShare, ...]
    money_lost: float | None
    notes: tuple[WindowNote, ...]
    decision: DecidedOn | None
    waits: str
    """Why there is no decision; empty when there is one, or the version was not champion."""
    before: str | None
    """Start of the window before in which the role was filled, as in an address; None for the first one."""
    after: str | None


def window_detail(workspace: Workspace, name: str, start: datetime, version: int | None = None) -> WindowDetail:
    """Return one window.

    Args:
        workspace: an open project.
        name: name of a model.
        start: start of the window.
        version: which version; None takes the one that served most rows as champion.

    Raises:
        NotFound: there is no such model, or no version has such a window; the nearest one is named.
    """
    model = workspace.served(known_model(workspace, name))
    metadata, policy = workspace.metadata, workspace.project.policy
    reports = metadata.find(WindowReport, model=name, stage=("closed", "matured"), start=start)
    report = _chosen(reports, version)
    if report is None:
        raise NotFound(_missing(workspace, name, start, version, reports))
    signals = metadata.find(Signal, model=name, version=report.version, start=report.start, oldest_first=True)
    decision = next((d for d in metadata.find(Decision, model=name, start=start) if d.window == report.id), None)
    reference, trouble = _reference(workspace, name, report.version, report.start)
    personal = personal_columns(workspace.project.definitions)
    signals = [msgspec.structs.replace(s, subject=mask_segment(s.subject, personal)) for s in signals]
    columns = _columns(workspace, report, reference, signals)
    named = {column.name for column in columns}
    points = [signal_point(s, signals, policy.decide.matrix) for s in signals]
    return WindowDetail(
        model=name,
        task=model.task,
        version=report.version,
        role=report.role,
        versions=tuple(sorted({(r.version, r.role) for r in reports})),
        name=window_name(report.start, report.end),
        start=report.start,
        end=report.end,
        sentence=_sentence(model, report, columns, signals),
        rows=report.rows,
        labelled=report.labelled,
        matured=report.stage == "matured",
        currency=policy.impact.currency,
        metrics=report.metrics,
        columns=columns,
        trouble=trouble,
        segments=_segments(signals),
        mistakes=_mistakes(model, policy.impact, report, reference),
        money_lost=report.metrics.get("money_lost"),
        notes=tuple(
            _note(point, s)
            for point, s in zip(points, signals, strict=True)
            if s.kind != "data" or s.subject not in named
        ),
        decision=None if decision is None else _decided(decision, band_tone(policy.decide.matrix, decision.band)),
        waits="" if decision is not None or report.role != "champion" else _waits(workspace, report),
        before=_neighbour(workspace, report, -1),
        after=_neighbour(workspace, report, 1),
    )


def _chosen(reports: Sequence[WindowReport], version: int | None) -> WindowReport | None:
    """Return the report that is wanted: of the version, or the champion's with most rows; matured if it is."""
    own = [r for r in reports if version in (None, r.version)]
    return max(own, key=lambda r: (r.role == "champion", r.rows, r.stage == "matured"), default=None)


def _missing(
    workspace: Workspace, name: str, start: datetime, version: int | None, reports: Sequence[WindowReport]
) -> str:
    if reports:
        known = ", ".join(str(v) for v in sorted({r.version for r in reports}))
        return f"version {version} has no window that begins at {iso(start)}; there are those of version {known}"
    before = workspace.metadata.find(
        WindowReport, model=name, stage=("closed", "matured"), start=Between(None, start), limit=NEAR
    )
    nearest = max((r.start for r in before), default=None)
    hint = "" if nearest is None else f"; the nearest one before begins at {iso(nearest)}"
    return f"{name} has no window that begins at {iso(start)}{hint}"


def _neighbour(workspace: Workspace, report: WindowReport, side: int) -> str | None:
    """Return the start of the window before (side -1) or after (1) in which the same role was filled."""
    stretch = Between(None, report.start) if side < 0 else Between(report.end, None)
    found = workspace.metadata.find(
        WindowReport,
        model=report.model,
        role=report.role,
        stage="closed",
        start=stretch,
        limit=NEAR,
        oldest_first=side > 0,
    )
    starts = [r.start for r in found]
    return iso(max(starts) if side < 0 else min(starts)) if starts else None


def _reference(workspace: Workspace, name: str, version: int, start: datetime) -> tuple[Reference | None, str]:
    """Return what a window of a version is compared with, or None and why it cannot be read."""
    with suppress(NotFound):
        bundle = workspace.metadata.get(Bundle, f"{name}/{version}")
        try:
            own = kept_reference(workspace, name, version) if bundle.kind == "prompt" else None
            if own is not None and to_micros(start) >= own.end:
                return own, ""
            path = workspace.artifacts.open(bundle.path) / "reference" / "windows.json"
            return Reference.from_json(path.read_bytes()), ""
        except (OSError, StoreError, DataError) as error:
            return None, f"the reference of version {version} cannot be read: {error}"
    return None, f"version {version} has no bundle, so there is no reference to compare with"


def _columns(
    workspace: Workspace, report: WindowReport, reference: Reference | None, signals: Sequence[Signal]
) -> tuple[WindowColumn, ...]:
    profiles = workspace.metadata.find(Profile, model=report.model, version=report.version, start=report.start)
    if not profiles:
        return ()
    masked = personal_columns(workspace.project.definitions)
    categories: Mapping[str, Sequence[str]] = {}
    with suppress(NotFound):
        bundle = workspace.metadata.get(Bundle, f"{report.model}/{report.version}")
        if bundle.kind == "prompt":
            known = {} if reference is None else reference.category_names
            categories = known or read_spec(workspace.artifacts.open(bundle.path)).feature_categories
        else:
            categories = workspace.metadata.get(DatasetVersion, bundle.dataset).feature_categories
    return window_columns(profiles[0], reference, signals, categories=categories, masked=masked)


def _segments(signals: Sequence[Signal]) -> tuple[Segment, ...]:
    found = [s for s in signals if s.kind == "concept" and s.subject != "all"]
    return tuple(
        Segment(
            name=s.subject,
            rows=s.rows,
            value=s.value,
            gap=s.value - s.effect["expected"] if "expected" in s.effect else None,
            p=s.p,
            reason=s.reason,
        )
        for s in found
    )


def _mistakes(
    model: Served, policy: Impact, report: WindowReport, reference: Reference | None
) -> tuple[MistakeShare, ...]:
    """Return each kind of mistake with its price; kinds without a price in the policy have none."""
    prices = policy.cost_for(model.task) if model.money is None else {}
    made = {name.removesuffix(MEAN): value for name, value in report.metrics.items() if name.endswith(MEAN)}
    kinds = [kind for kind in made if kind in MISTAKES or PAIR in kind]
    return tuple(
        MistakeShare(
            kind=kind,
            words=MISTAKES.get(kind, kind),
            mean=made[kind],
            is_share=_counts_rows(model.task),
            usual=_usual(reference, kind),
            price=prices.get(kind),
            money=None if kind not in prices else made[kind] * prices[kind] * report.labelled,
        )
        for kind in sorted(kinds, key=lambda kind: (PAIR in kind, -made[kind] * prices.get(kind, 0.0), kind))
    )


def _counts_rows(task: Task) -> bool:
    return task != "regression"


def _usual(reference: Reference | None, kind: str) -> float | None:
    known = [w for w in (() if reference is None else reference.labelled) if w is not None and kind in w.mistakes]
    rows = sum(w.rows for w in known)
    return sum(w.rows * w.mistakes[kind] for w in known) / rows if rows else None


def _note(point: SignalPoint, signal: Signal) -> WindowNote:
    return WindowNote(
        kind=signal.kind,
        subject=signal.subject,
        words=_words(signal),
        value=signal.value,
        p=signal.p,
        p_seq=signal.p_seq,
        band=point.band if signal.subject == "all" else "",
        tone=point.tone if signal.subject == "all" else "",
        reason=signal.reason,
    )


def _words(signal: Signal) -> str:
    """Return the name of a signal for readers."""
    kind, subject = signal_kind(signal.kind, signal.subject), signal_subject(signal.subject)
    return kind if subject == "all" else f"{kind}: {subject}"


def _decided(decision: Decision, tone: Tone) -> DecidedOn:
    return DecidedOn(
        number=decision.number,
        band=decision.band,
        tone=tone,
        p_seq=decision.p_seq,
        impact=decision.impact,
        impact_per_day=decision.impact_per_day,
        cell=decision.cell,
        action=decision.action,
        reasons=decision.reasons,
    )


def _waits(workspace: Workspace, report: WindowReport) -> str:
    if report.stage == "matured":
        return "not judged yet: the loop has not come to it"
    mature = timedelta(microseconds=workspace.project.policy.decide.labels_mature_after)
    return f"not judged before its labels mature: {short_day(report.end + mature)}"


def _sentence(model: Served, report: WindowReport, columns: Sequence[WindowColumn], signals: Sequence[Signal]) -> str:
    if report.stage != "matured":
        labels = "labels not mature"
    elif model.label is None:
        labels = "no labels"
    else:
        labels = f"{share(report.coverage)} labelled"
    found = _findings(columns, signals)[:MOST_FINDINGS]
    tested = any(s.p is not None for s in signals if s.kind in COUNTED)
    rest = "nothing differs from the reference beyond chance" if tested else "its rows were not tested"
    head = f"{window_name(report.start, report.end)}: {count(report.rows)} rows, {labels}."
    return f"{head} {sentence(*(found or [rest]))}"


def _findings(columns: Sequence[WindowColumn], signals: Sequence[Signal]) -> list[str]:
    """Return what differs beyond chance, the surest first."""
    found: list[tuple[float, str]] = []
    for s in signals:
        if s.kind == "quality" and s.subject.startswith(ABSOLUTE):
            found.append((0.0, s.reason))
        if s.subject != "all" or s.kind not in COUNTED or s.p is None or s.p >= REVIEW_P:
            continue
        if s.kind == "quality":
            usual = f", {share(s.effect['expected'])} is usual" if "expected" in s.effect else ""
            found.append((s.p, f"{share(s.value)} of the feature values are missing{usual}"))
        elif s.kind == "data":
            found.append((s.p, _moved(columns, s)))
        elif s.kind == "prediction":
            found.append((s.p, f"the predictions moved (p {p_value(s.p)})"))
        else:
            found.append((s.p, f"mistakes are more than expected (p {p_value(s.p)})"))
    return [text for _, text in sorted(found, key=lambda each: each[0])]


def _moved(columns: Sequence[WindowColumn], signal: Signal) -> str:
    """Return how far the column went that carries most."""
    column = next((c for c in columns if c.name in signal.carriers[:1]), None)
    if column is None or column.moved is None:
        return f"the inputs differ from the reference (p {p_value(signal.p)})"
    corrected = "" if column.holm is None else f", {p_value(column.holm)} corrected for {len(columns)} columns"
    sure = "" if column.p is None else f" (p {p_value(column.p)}{corrected})"
    way = "" if not column.direction else f", {column.direction}"
    return f"{share(column.moved)} of {column.name} moved{sure}{way}"


def mean_text(mistake: MistakeShare, value: float | None) -> str:
    """Return the mean of a kind of mistake: a percentage, or a number in the label's unit."""
    return share(value) if mistake.is_share else metric(value)
