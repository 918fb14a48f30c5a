"""What is said of a model in one or two sentences: what differs, what it costs, what was done about it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from trimtab.app.overviews.facts import band_tone
from trimtab.app.overviews.wording import count, day, instant, joined, money, sentence
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.decision_list import BRAKES, policy_says
from trimtab.clock import from_micros, to_micros
from trimtab.control.cause import COUNTED
from trimtab.control.decision import counted_reason
from trimtab.errors import NotFound
from trimtab.policy.model import Policy
from trimtab.records.control import Decision, Trigger
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.records.record import Action
from trimtab.stores.metadata.contract import Metadata
from trimtab.units import plural, short

State = Literal["not_deployed", "no_window", "no_labels", "judged"]
"""not_deployed: no revision. no_window: no window has closed. no_labels: none has matured with labels."""

CARRIERS = 2
"""Columns that a sentence names."""
CAUSES = {
    "concept": "mistakes are more than expected",
    "data": "the inputs differ from the reference",
    "prediction": "the predictions differ from the reference",
    "quality": "more values are missing than usual",
}
"""What is said of the kind of signal that chose the band."""
DONE: dict[Action, str] = {"review": "a person is asked", "retrain": "retrained", "rollback": "rolled back"}
TRIGGERS: dict[Trigger, str] = {
    "matrix": "",
    "routine": "refresh",
    "data": "new data",
    "request": "request",
    "lead": "a shadow leads",
    "limit": "limit broken",
    "failure": "a retraining failed",
}


def model_sentence(
    workspace: Workspace,
    name: str,
    state: State,
    decisions: Sequence[Decision],
    waits: Sequence[int],
    *,
    has_money: bool,
) -> str:
    """Return the sentence of a model.

    decisions: newest first. waits: numbers of those that wait for a person. has_money: whether what mistakes cost is
    known.
    """
    policy = workspace.project.policy
    if state == "not_deployed":
        return f"Nothing serves yet; `trimtab run` brings the first version of {name} into service."
    if state == "no_window":
        return f"No closed window yet: the first ends at {_next_end(workspace)}."
    judged = newest_judged(decisions)
    if judged is None:
        if workspace.served(name).label is None:
            return "The model has no labels, so no loss is known; its inputs and predictions are watched."
        return f"Labels mature after {short(policy.decide.labels_mature_after)}; no window is judged yet."
    said = (
        _cause(workspace, judged, decisions),
        _cost(policy, judged, has_money=has_money),
    )
    answered = _answer(judged, waits, known=_quality_is_known(workspace, judged))
    return f"{sentence(*said)} {sentence(answered)}"


def newest_judged(decisions: Sequence[Decision]) -> Decision | None:
    """Return the newest decision about a matured window, whose impact was judged."""
    return next((d for d in decisions if is_judged(d)), None)


def is_judged(decision: Decision) -> bool:
    """Return True if a decision is about a matured window, so that its impact was judged."""
    return decision.window.endswith("/matured")


def deciding_signal(metadata: Metadata, judged: Decision) -> Signal | None:
    """Return the signal that chose the band of a decision: the smallest p_seq of the kinds that count."""
    found = metadata.find(Signal, model=judged.model, version=judged.version, start=judged.start, kind=COUNTED)
    tested = [s for s in found if s.subject == "all" and s.p_seq is not None]
    return min(tested, key=lambda s: (s.p_seq, COUNTED.index(s.kind)), default=None)


def done(decision: Decision) -> str:
    """Return what was done, in a word or two."""
    if decision.action == "monitor":
        return "nothing" if decision.cell == "monitor" else held_words(decision)
    because = TRIGGERS[decision.trigger]
    return f"{DONE[decision.action]} ({because})" if because else DONE[decision.action]


def held_words(decision: Decision) -> str:
    """Return which brake held a decision back and until when: "held back by cooldown to 6 Jan 2014"."""
    if not decision.held_by:
        return "held back"
    until = "" if decision.held_until is None else f" to {day(decision.held_until)}"
    return f"held back by {BRAKES.get(decision.held_by, decision.held_by.replace('_', ' '))}{until}"


def why(decision: Decision) -> str:
    """Return why an action was taken, or why less than the policy says; empty where nothing was to be done."""
    return "" if decision.action == decision.cell == "monitor" else counted_reason(decision)


def _cause(workspace: Workspace, judged: Decision, decisions: Sequence[Decision]) -> str:
    """Return which kind of signal chose the band, and since when the windows are in it."""
    tone = band_tone(workspace.project.policy.decide.matrix, judged.band)
    if tone in ("", "minor"):
        return _expected(workspace, judged)
    chosen = deciding_signal(workspace.metadata, judged)
    said = "the window differs from the reference" if chosen is None else CAUSES[chosen.kind]
    most = "" if chosen is None or not chosen.carriers else f", most in {joined(chosen.carriers[:CARRIERS])}"
    since = judged
    for decision in filter(is_judged, decisions):
        if decision.number < judged.number and decision.band != judged.band:
            break
        since = decision
    lasting = f" since {day(since.start)}" if since.start < judged.start else ""
    return f"{said}{lasting} ({judged.band}{most})"


def _cost(policy: Policy, judged: Decision, *, has_money: bool) -> str:
    level = f"{judged.impact} impact"
    if not has_money:
        return f"what mistakes cost is not known ({level})"
    if judged.impact_per_day <= 0:
        return f"mistakes cost no more than they had to ({level})"
    more = money(judged.impact_per_day, policy.impact.currency)
    return f"mistakes cost {more} a day more than they had to ({level})"


def _expected(workspace: Workspace, judged: Decision) -> str:
    """Return what is said of a version in which nothing worth a look was found."""
    if _quality_is_known(workspace, judged):
        return f"version {judged.version} does as well as expected ({judged.band})"
    compared = deciding_signal(workspace.metadata, judged) is not None
    what = "shows no drift" if compared else "was not compared with what is usual"
    rated = ""
    with suppress(NotFound):
        window = workspace.metadata.get(WindowReport, judged.window)
        rated = f": {count(round(window.coverage * window.rows))} of {count(window.rows)} turns of the window are rated"
    return f"version {judged.version} {what} ({judged.band}), and how good its answers are is not known{rated}"


def _quality_is_known(workspace: Workspace, judged: Decision) -> bool:
    """Return False for a window of a prompt whose mistakes could not be compared with the expected ones."""
    if judged.model not in workspace.project.definitions.prompts:
        return True
    found = workspace.metadata.find(
        Signal, model=judged.model, version=judged.version, start=judged.start, kind="concept"
    )
    return any(each.subject == "all" and each.p_seq is not None for each in found)


def _answer(judged: Decision, waits: Sequence[int], *, known: bool) -> str:
    """Return what was to be done and what was done. known: whether mistakes were compared with the expected ones."""
    said = policy_says(judged)
    others = len([number for number in waits if number != judged.number])
    asked = plural(others, "decision waits", "decisions wait") + " for a person" if others else ""
    if judged.number in waits:
        return "; ".join(filter(None, (said, f"decision {judged.number} waits for a person", asked)))
    if judged.action != judged.cell:
        what = "nothing was done" if judged.action == "monitor" else done(judged)
        reason = held_words(judged) if judged.held_by else _first(counted_reason(judged))
        return "; ".join(filter(None, (said, f"{what}: {reason}", asked)))
    nothing = "nothing needs to be done" if known else "nothing was done"
    told = nothing if judged.action == "monitor" else f"{said}: {done(judged)}"
    return "; ".join(filter(None, (told, asked)))


def _first(reason: str) -> str:
    """Return the first sentence of a reason."""
    return reason.split(". ")[0].rstrip(".")


def _next_end(workspace: Workspace) -> str:
    size = workspace.project.policy.decide.window
    now = to_micros(workspace.now())
    return instant(from_micros(now - now % size + size))
