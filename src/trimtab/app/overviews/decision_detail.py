"""What the page of one decision shows: the chain of evidence from the window to the answer, and why nothing else was
done."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from trimtab.app.loop.workflow_names import workflow_id
from trimtab.app.overviews.decision_overview import DecisionRow, decision_row
from trimtab.app.overviews.decision_past import DecisionPast, decision_past
from trimtab.app.overviews.facts import Tone, band_tone
from trimtab.app.overviews.model_words import TRIGGERS, held_words, is_judged
from trimtab.app.overviews.wording import (
    MINUS,
    NOT_KNOWN,
    instant,
    money,
    p_value,
    sentence,
    signal_kind,
    signal_subject,
    window_name,
)
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.decision_list import BRAKES, THE_MATRIX, effect_of, led_by, outcomes_of
from trimtab.control.brakes import NAMES
from trimtab.control.cause import COUNTED, Cause
from trimtab.control.ledger import verify_chain
from trimtab.control.reviews import proposes_retraining
from trimtab.control.why_not import why_not
from trimtab.definitions.personal_columns import mask_segment, personal_columns
from trimtab.errors import NotFound, StoreError
from trimtab.records.control import Decision, Resolution, WorkflowStep
from trimtab.records.monitoring import Signal
from trimtab.records.record import Action, Level
from trimtab.stores.metadata.contract import latest

NEGATIVE = re.compile(r"(?<![\w.])-(?=\d)")
DONE: dict[Action, str] = {
    "monitor": "nothing was done",
    "review": "a person was asked",
    "retrain": "a retraining was started",
    "rollback": "what served before was restored",
}
BrakeState = Literal["did not apply", "held back", "was not asked", "not known"]


class WindowFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The window that was judged."""

    record: str
    name: str
    start: datetime
    end: datetime
    version: int
    rows: int
    served_rows: int
    labelled: int
    coverage: float
    written_at: datetime


class SignalRow(msgspec.Struct, frozen=True, kw_only=True):
    """One statistic of the window. counts: its p-values choose the band."""

    id: str
    kind: str
    subject: str
    value: float
    p: float | None
    p_seq: float | None
    counts: bool
    rows: int
    carriers: tuple[str, ...]
    reason: str


class MatrixRow(msgspec.Struct, frozen=True, kw_only=True):
    """One band of the policy of that time. here: the level of the decision, where the band is its own."""

    band: str
    tone: Tone
    p: str
    low: Action
    medium: Action
    high: Action
    here: Level | None


class BrakeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One brake. until: event time at which it ended by itself."""

    name: str
    word: str
    state: BrakeState
    reason: str = ""
    until: datetime | None = None


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """One finished step of the retraining. after_s: since the step before, for the first since the decision."""

    id: str
    step: str
    outcome: str
    at: datetime
    after_s: float
    refers_to: str | None


class WhyNotRow(msgspec.Struct, frozen=True, kw_only=True):
    """An action, and what would have had to be different for it. ways: each is enough, with all of its changes."""

    action: Action
    taken: bool
    text: str
    ways: tuple[tuple[str, ...], ...] = ()


class DecisionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. waits: it has no answer yet. proposes: an approval starts a retraining.

    unlike: why the decision cannot be made again from its records; then `why_not` is empty, and the brakes are read
    from the decision alone. links: what does not fit of its hash or of its neighbours'; empty when all fits.
    """

    row: DecisionRow
    sentence: str
    reasons: tuple[str, ...]
    waits: bool
    proposes: bool
    currency: str
    window: WindowFacts | None
    signals: tuple[SignalRow, ...]
    correction: str
    p_limits: str
    money: tuple[tuple[str, str], ...]
    """Names and figures, in the order in which they are compared."""
    money_reason: str
    matrix: tuple[MatrixRow, ...]
    led_by: str
    """What led to the decision, such as: the matrix."""
    by_matrix: bool
    matrix_note: str
    """What decided in place of the matrix; empty where the matrix did."""
    what_was_done: str
    brakes: tuple[BrakeRow, ...]
    answer: Resolution | None
    steps: tuple[StepRow, ...]
    revision: str | None
    why_not: tuple[WhyNotRow, ...]
    unlike: str
    links: str
    before: int | None
    after: int | None


def decision_detail(workspace: Workspace, model: str, number: int) -> DecisionDetail:
    """Return one decision by its number. Raises NotFound, and DefinitionError for a model that is none."""
    metadata = workspace.metadata
    decision = latest(metadata, Decision, model=workspace.served(model).name, number=number)
    if decision is None:
        newest = latest(metadata, Decision, model=model)
        known = f"its decisions are 1 to {newest.number}" if newest else "it has none yet"
        raise NotFound(f"model '{model}' has no decision {number}; {known}")
    (outcome,) = outcomes_of(workspace, [decision])
    past = decision_past(workspace, decision)
    signals = [_signal(workspace, id_) for id_ in decision.signals]
    found = tuple(s for s in signals if s is not None)
    cause = past.given.cause if past.given else None
    steps = metadata.find(WorkflowStep, oldest_first=True, workflow=workflow_id(decision.id))
    after = latest(metadata, Decision, model=model, number=number + 1)
    row = decision_row(workspace, outcome)
    waits = decision.action == "review" and outcome.resolution is None
    currency = past.policy.impact.currency
    led = led_by(decision.trigger, decision.reasons)
    return DecisionDetail(
        row=row,
        sentence=_sentence(decision, row, currency, waits=waits),
        reasons=decision.reasons,
        waits=waits,
        proposes=proposes_retraining(decision),
        currency=currency,
        window=_window(past, decision),
        signals=found,
        correction=_correction(found, decision),
        p_limits=_limits(past, decision.band),
        money=_money(past, decision, cause),
        money_reason=past.given.impact.reason if past.given else "",
        matrix=_matrix(past, decision),
        led_by=led,
        by_matrix=led == THE_MATRIX,
        matrix_note="" if led == THE_MATRIX else f"Not the matrix decided here, but {led}.",
        what_was_done=_done(decision, led),
        brakes=tuple(_brakes(past, decision)),
        answer=outcome.resolution,
        steps=tuple(_steps(steps, decision)),
        revision=next((s.refers_to for s in reversed(steps) if s.refers_to and "#" in s.refers_to), None),
        why_not=_why_not(past),
        unlike=past.unlike,
        links=_links(workspace, decision, after),
        before=number - 1 if number > 1 else None,
        after=None if after is None else after.number,
    )


def _sentence(decision: Decision, row: DecisionRow, currency: str, *, waits: bool) -> str:
    """Return what was decided, on what, and what became of it."""
    about = row.window or f"Asked for at {instant(decision.created_at)}"
    if is_judged(decision):
        lost = decision.impact_per_day
        more = f"{money(lost, currency)} a day more than they had to" if lost > 0 else "no more than they had to"
        about += (
            f": {decision.band} p-value ({p_value(decision.p_seq)}), {decision.impact} impact (mistakes cost {more})"
        )
    because = TRIGGERS[decision.trigger]
    what = f"{DONE[decision.action]} ({because})" if because else DONE[decision.action]
    held = f", held back by {row.held_by}" if row.effect == "held_back" and row.held_by else ""
    said = [sentence(about, what + held)]
    if waits:
        said.append("It waits for an answer." if proposes_retraining(decision) else "A person has to look.")
    if row.answered:
        said.append(f"{row.answered_by} answered: {row.answered}.")
    return " ".join(said)


def _done(decision: Decision, led: str) -> str:
    """Return what was done as a sentence: how it differs from what the policy said, and what led to it."""
    effect, what = effect_of(decision), DONE[decision.action]
    if effect == "held_back":
        what += f" ({held_words(decision)})"
    elif effect == "raised":
        what += f" (raised: the policy said {decision.cell})"
    return sentence(what, f"what led to it: {led}")


def _window(past: DecisionPast, decision: Decision) -> WindowFacts | None:
    if past.window is None:
        return None
    w = past.window
    return WindowFacts(
        record=w.id, name=window_name(w.start, w.end), start=w.start, end=w.end, version=w.version, rows=w.rows,
        served_rows=w.served_rows, labelled=w.labelled, coverage=w.coverage, written_at=w.created_at,
    )  # fmt: skip


def _signal(workspace: Workspace, id_: str) -> SignalRow | None:
    try:
        s = workspace.metadata.get(Signal, id_)
    except NotFound:
        return None
    personal = personal_columns(workspace.project.definitions)
    return SignalRow(
        id=s.id, kind=signal_kind(s.kind, s.subject), subject=mask_segment(signal_subject(s.subject), personal),
        value=s.value, p=s.p, p_seq=s.p_seq, rows=s.rows, reason=s.reason,
        counts=s.kind in COUNTED and s.subject == "all" and s.p_seq is not None,
        carriers=tuple(mask_segment(each, personal) for each in s.carriers),
    )  # fmt: skip


def _correction(signals: Sequence[SignalRow], decision: Decision) -> str:
    """Return how the p-value that chose the band follows from those of the kinds."""
    counted = [s.p_seq for s in signals if s.counts and s.p_seq is not None]
    if not counted:
        return "nothing was compared, so p_seq is 1"
    smallest = min(counted)
    least = f"{p_value(smallest)} × {len(counted)}"
    if smallest * len(counted) >= 1:
        return f"{least} is 1 or more, so p_seq is 1"
    return f"{least} = {p_value(decision.p_seq)}: the smallest of {len(counted)} p-values, times their number"


def _limits(past: DecisionPast, band: str) -> str:
    found = past.policy.decide.matrix.root.get(band)
    return "" if found is None else f"{found.p[0]:g} to {found.p[1]:g}"


def _money(past: DecisionPast, decision: Decision, cause: Cause | None) -> tuple[tuple[str, str], ...]:
    """Return what the window cost, what is usual, and what the level was read from."""
    policy = past.policy.impact
    rows = []
    kpi = cause.signal("kpi") if cause is not None else None
    if kpi is not None and "per_day" in kpi.effect:
        now = kpi.effect["per_day"]
        rows.append(("mistakes of this window", f"{money(now, policy.currency)} a day"))
        rows.append(("usual for such inputs", f"{money(now - kpi.value, policy.currency)} a day"))
        rows.append(("beyond usual", f"{money(kpi.value, policy.currency, signed=True)} a day"))
    if past.given is not None and past.given.impact.low is not None:
        impact = past.given.impact
        rows.append(("avoidable, mean of the stretch", f"{money(impact.per_day, policy.currency, signed=True)} a day"))
        low = money(impact.low, policy.currency, signed=True)
        rows.append(("surely (95 %)", NOT_KNOWN + ": too few windows" if low == NOT_KNOWN else f"{low} a day or more"))
    else:
        rows.append(("avoidable a day", money(decision.impact_per_day, policy.currency, signed=True)))
    limits = (
        f"medium from {money(policy.medium, policy.currency)}, high from {money(policy.high, policy.currency)} a day"
    )
    return (*rows, ("level", f"{decision.impact} ({limits})"))


def _matrix(past: DecisionPast, decision: Decision) -> tuple[MatrixRow, ...]:
    matrix = past.policy.decide.matrix
    return tuple(
        MatrixRow(
            band=name,
            tone=band_tone(matrix, name),
            p=f"{band.p[0]:g} to {band.p[1]:g}",
            low=band.low,
            medium=band.medium,
            high=band.high,
            here=decision.impact if name == decision.band else None,
        )
        for name, band in matrix.root.items()
    )


def _brakes(past: DecisionPast, decision: Decision) -> Iterator[BrakeRow]:
    """Yield each brake with what it said; without the records of that time, from what the decision has kept."""
    asked = {one.name: one.softened for one in past.draft.asked} if past.draft is not None else {}
    for name in NAMES.values():
        word = BRAKES.get(name, name)
        if past.draft is None:
            if name == decision.held_by:
                yield BrakeRow(name=name, word=word, state="held back", until=decision.held_until)
            else:
                yield BrakeRow(name=name, word=word, state="not known")
        elif name not in asked:
            yield BrakeRow(name=name, word=word, state="was not asked")
        elif (said := asked[name]) is None:
            yield BrakeRow(name=name, word=word, state="did not apply")
        else:
            yield BrakeRow(name=name, word=word, state="held back", reason=said.reason, until=said.until)


def _steps(steps: Sequence[WorkflowStep], decision: Decision) -> Iterator[StepRow]:
    before = decision.created_at
    for step in steps:
        yield StepRow(
            id=step.id,
            step=step.step,
            outcome=step.outcome,
            at=step.created_at,
            after_s=max(0.0, (step.created_at - before).total_seconds()),
            refers_to=step.refers_to,
        )
        before = step.created_at


def _why_not(past: DecisionPast) -> tuple[WhyNotRow, ...]:
    if past.given is None:
        return ()
    return tuple(
        WhyNotRow(
            action=one.action,
            taken=one.taken,
            text=_signed(one.text),
            ways=tuple(tuple(_signed(change.text) for change in way) for way in one.ways),
        )
        for one in why_not(past.given)
    )


def _signed(text: str) -> str:
    """Return a text with true minus signs before its numbers."""
    return NEGATIVE.sub(MINUS, text)


def _links(workspace: Workspace, decision: Decision, after: Decision | None) -> str:
    """Check the hash of a decision and its links to the decisions before and after it; return what does not fit."""
    before = None
    if decision.number > 1:
        before = latest(workspace.metadata, Decision, model=decision.model, number=decision.number - 1)
        if before is None:
            return f"decision {decision.number - 1} is missing"
    try:
        verify_chain([decision, *([after] if after else [])], after=before)
    except StoreError as error:
        return str(error)
    return ""
