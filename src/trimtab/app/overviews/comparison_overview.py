"""What the page of a comparison shows: how the gain of a version grew, what the rule says of it, its gates.

Read from records. What the rows of the prediction log say (segments, rates, calibration) comes from `comparison_rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from trimtab.app.overviews.facts import Fact
from trimtab.app.overviews.reads.child_reader import reader
from trimtab.app.overviews.wording import count, instant, interval, metric, money, sentence
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.comparison_result import VersionComparison
from trimtab.errors import NotFound
from trimtab.metric_catalog import MONEY
from trimtab.policy.model import Policy
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.monitoring import Comparison
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.units import plural

MOST_PAIRS = 10
"""Pairs of versions that can be chosen: those that were compared last."""
READ_TOGETHER = 400
LANE = "comparisons"
"""Of the child that reads rows: other pages do not wait for it."""

Verdict = Literal["promote", "futile", "harm", "continue", "expired"]
VERDICTS: dict[Verdict, str] = {
    "promote": "better", "futile": "not worth it", "harm": "worse", "continue": "still compared",
    "expired": "no verdict",
}  # fmt: skip


class GrowthPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One window of a comparison: its own gain, and the mean so far with its bounds, in the metric and in money."""

    start: datetime
    end: datetime
    gain: float | None
    mean: float | None
    low: float | None
    high: float | None
    windows: int
    labels: int
    money: float | None
    money_low: float | None
    money_high: float | None


class ComparedPair(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions that were compared. windows: that count so far; 0 where only the rows can tell."""

    version: int
    against: int
    windows: int
    gain: str
    verdict: str
    until: datetime | None


class ComparisonOverview(msgspec.Struct, frozen=True, kw_only=True):
    """A version compared with another one. version, against: None when nothing was compared yet.

    candidate: the version challenges or shadows now, so it can be promoted or taken back. revision: number of what
    serves. share: of the traffic, in percent.
    """

    model: str
    sentence: str
    version: int | None
    against: int | None
    role: str
    state: str
    candidate: bool
    revision: int
    share: float
    metric: str
    currency: str
    verdict: Verdict | None
    reason: str
    rule: str
    """What the policy does by itself, and when."""
    facts: tuple[Fact, ...]
    growth: tuple[GrowthPoint, ...]
    pairs: tuple[ComparedPair, ...]
    gates: tuple[GateResult, ...]
    gates_of: str
    next: str
    """The command that makes the first comparison possible."""


def comparison_overview(
    workspace: Workspace, model: str, versions: tuple[int, int] | None = None
) -> ComparisonOverview:
    """Return a comparison. versions: the compared one and the other; None takes those that were compared last.

    Raises NotFound for versions that do not exist, and DefinitionError for a model that is none.
    """
    name, policy = workspace.served(model).name, workspace.project.policy
    revisions = workspace.metadata.find(Revision, model=name)
    pairs = _pairs(workspace, name, revisions)
    if versions is not None and versions not in {(p.version, p.against) for p in pairs}:
        asked = ComparedPair(version=versions[0], against=versions[1], windows=0, gain="", verdict="", until=None)
        pairs = (asked, *pairs)
    pair = versions or ((pairs[0].version, pairs[0].against) if pairs else None)
    now = revisions[0] if revisions else None
    if pair is None:
        return _nothing(name, policy.impact.currency, now)
    bundle, _ = (_bundle(workspace, name, number) for number in pair)
    version, against = pair
    found = list(workspace.metadata.find(Comparison, model=name, version=version, against=against, oldest_first=True))
    last = found[-1] if found else None
    role, state, candidate, share = _state(revisions, version)
    report = _gates(workspace, bundle)
    serving = {a.version for a in now.assignments} if now else set()
    goes_on = version in serving and now is not None and now.bundle_in("champion") == f"{name}/{against}"
    task = workspace.served(name).task
    rule = policy.rollout.promote_when
    unit = last.metric if last else rule.metric_for(task)
    return ComparisonOverview(
        model=name,
        sentence=_sentence(pair, last, policy.impact.currency, state, goes_on=goes_on),
        version=version,
        against=against,
        role=role,
        state=state,
        candidate=candidate,
        revision=now.number if now else 0,
        share=share,
        metric=unit,
        currency=policy.impact.currency,
        verdict=last.verdict if last else None,
        reason=last.reason if last else "",
        rule=_rule(last, policy, _named(unit)),
        facts=_facts(last, policy.impact.currency, priced=bool(policy.impact.cost_for(task)), goes_on=goes_on),
        growth=tuple(map(_point, found)),
        pairs=pairs,
        gates=report.results if report else (),
        gates_of=report.id if report else "",
        next="",
    )


def comparison_rows(workspace: Workspace, model: str, versions: tuple[int, int]) -> VersionComparison:
    """Return what the rows say that two versions both scored. Read by a child process.

    Raises StageError when no rows are left.
    """
    return reader(workspace, lane=LANE).read("compare", VersionComparison, model=model, versions=list(versions))


def _pairs(workspace: Workspace, model: str, revisions: Sequence[Revision]) -> tuple[ComparedPair, ...]:
    """Return the pairs that were compared last, the newest first."""
    found: dict[tuple[int, int], ComparedPair] = {}
    for c in workspace.metadata.find(Comparison, model=model, limit=READ_TOGETHER):
        gain = _gained(c)
        verdict = "" if c.verdict == "continue" else VERDICTS[c.verdict]
        pair = ComparedPair(
            version=c.version, against=c.against, windows=c.windows, gain=gain, verdict=verdict, until=c.end
        )
        found.setdefault((c.version, c.against), pair)
    for revision in revisions:
        champion = next((a.version for a in revision.assignments if a.role == "champion"), None)
        for a in revision.assignments:
            if a.role != "champion" and champion is not None:
                pair = ComparedPair(version=a.version, against=champion, windows=0, gain="", verdict="", until=None)
                found.setdefault((a.version, champion), pair)
    return tuple(found.values())[:MOST_PAIRS]


def _state(revisions: Sequence[Revision], version: int) -> tuple[str, str, bool, float]:
    """Return the role of a version now, what became of it, whether it can be promoted, and its share."""
    place = next((n for n, r in enumerate(revisions) if any(a.version == version for a in r.assignments)), None)
    if place is None:
        return "not in service", "It never served.", False, 0.0
    held = [a for a in revisions[place].assignments if a.version == version]
    if place == 0:
        own = held[0]
        if own.role == "champion":
            return "champion", "It serves as champion.", False, own.weight
        if own.kept:
            return "shadow", "It was champion and is kept as a shadow.", False, 0.0
        share = f" with {own.weight:g} % of the traffic" if own.role == "challenger" else ""
        return own.role, f"It serves as {own.role}{share}.", True, own.weight
    end = revisions[place - 1]
    words = {"abandon": "taken back", "rollback": "rolled back"}
    what = words.get(end.action, "replaced")
    return "not in service", f"It was {what} on {instant(end.created_at)} by {end.by}.", False, 0.0


def _sentence(pair: tuple[int, int], last: Comparison | None, currency: str, state: str, *, goes_on: bool) -> str:
    version, against = pair
    yet = " yet" if goes_on else ""
    if last is None:
        return f"Version {version} has no recorded comparison with version {against} on live traffic{yet}. {state}"
    windows = plural(last.windows, "window") if last.unit == "windows" else plural(last.labels, "conversation")
    said = {
        "promote": f"version {version} is better than version {against}, after {windows}",
        "futile": f"version {version} is not worth it against version {against}, after {windows}",
        "harm": f"version {version} is worse than version {against}, after {windows}",
        "continue": f"no verdict{yet} on version {version} against version {against}, after {windows}",
        "expired": f"no verdict after {windows} of version {version} against version {against}",
    }[last.verdict]
    if last.unit != "windows":
        return f"{sentence(said, f'it has {_gained(last)}{_bounds(_range(last))}')} {state}"
    on = f"it gains {_gained(last)}{_bounds(_range(last))} on {count(last.labels)} labels"
    if last.money_per_day is None or last.metric == MONEY:
        return f"{sentence(said, on)} {state}"
    low, high = (money(v, currency, signed=True) for v in (last.money_per_day_low, last.money_per_day_high))
    saved = f"in money {money(last.money_per_day, currency, signed=True)} a day"
    saved += _bounds(f"{low} to {high}") if last.money_per_day_low is not None else ""
    return f"{sentence(said, saved, on)} {state}"


def _rule(last: Comparison | None, policy: Policy, unit: str) -> str:
    """Return what the policy does by itself."""
    if last is None or last.unit == "windows":
        return (
            f"The policy promotes a version by itself when its gain in {unit} is surely above 0, and ends the "
            f"comparison after {policy.rollout.promote_when.max_windows} windows at most."
        )
    return (
        f"The policy promotes a version by itself when {unit} surely come less often with it, takes it back when they "
        f"surely come more often, and ends the comparison after {policy.llm.promote.max_conversations:,} conversations "
        "at most."
    )


def _gained(c: Comparison) -> str:
    """Return the mean gain in words: of a prompt by which share bad events are fewer."""
    if c.unit == "windows":
        return f"{metric(c.mean, signed=True)} {_named(c.metric)}"
    if c.mean is None:
        return f"no {_named(c.metric)} in both versions yet"
    return f"{abs(c.mean):.0%} {'fewer' if c.mean >= 0 else 'more'} {_named(c.metric)}"


def _range(c: Comparison) -> str:
    """Return the bounds of the mean gain; of a prompt as shares, where a lower bound is missing without a limit."""
    if c.unit == "windows":
        return interval(c.low, c.high, signed=True)
    if c.low is None and c.high is None:
        return "not known"
    low, high = ("any" if value is None else f"{value:+.0%}" for value in (c.low, c.high))
    return f"{low} to {high}"


def _bounds(text: str) -> str:
    return "" if "not known" in text else f" ({text})"


def _named(name: str) -> str:
    return name.replace("_", " ")


def _facts(last: Comparison | None, currency: str, *, priced: bool, goes_on: bool) -> tuple[Fact, ...]:
    if last is None:
        return ()
    bounds, by_windows = _range(last), last.unit == "windows"
    no_money = "no costs in the policy"
    if priced:
        no_money = "no window has it yet" if by_windows else "conversations are compared by ratings, not by money"
    money_bounds = "too few windows"
    if last.money_per_day_low is not None:
        low, high = last.money_per_day_low, last.money_per_day_high
        money_bounds = f"{money(low, currency, signed=True)} to {money(high, currency, signed=True)}"
    tone = {"promote": "pass", "futile": "severe", "harm": "severe"}.get(last.verdict, "")
    return (
        Fact(
            name="money",
            label="in money, a day",
            figure=money(last.money_per_day, currency, signed=True),
            usual=money_bounds if last.money_per_day is not None else no_money,
            panel="money",
        ),
        Fact(
            name="gain",
            label=f"gain in {_named(last.metric)}" if by_windows else f"fewer {_named(last.metric)}",
            figure=metric(last.mean, signed=True) if by_windows or last.mean is None else f"{last.mean:+.0%}",
            usual=("too few windows" if by_windows else "too few") if bounds == "not known" else bounds,
            panel="growth",
        ),
        Fact(
            name="verdict",
            label="the rule says",
            figure="no verdict" if last.verdict == "continue" and not goes_on else VERDICTS[last.verdict],
            usual="" if goes_on else "the comparison has ended",
            tone=tone,  # type: ignore[arg-type]  # words of Tone
        ),
        Fact(
            name="windows",
            label="windows",
            figure=count(last.windows),
            usual=f"{count(last.held_out)} of them held out before" if by_windows else "",
        ),
        Fact(name="labels", label="labels" if by_windows else "conversations", figure=count(last.labels)),
    )


def _point(c: Comparison) -> GrowthPoint:
    return GrowthPoint(
        start=c.start, end=c.end, gain=c.gain, mean=c.mean, low=c.low, high=c.high, windows=c.windows, labels=c.labels,
        money=c.money_per_day, money_low=c.money_per_day_low, money_high=c.money_per_day_high,
    )  # fmt: skip


def _bundle(workspace: Workspace, model: str, version: int) -> Bundle:
    try:
        return workspace.metadata.get(Bundle, f"{model}/{version}")
    except NotFound:
        known = sorted(bundle.version for bundle in workspace.metadata.find(Bundle, model=model))
        raise NotFound(f"model '{model}' has no version {version}; versions: {', '.join(map(str, known))}") from None


def _gates(workspace: Workspace, bundle: Bundle) -> GateReport | None:
    try:
        return workspace.metadata.get(GateReport, bundle.gate_report)
    except NotFound:
        return None


def _nothing(model: str, currency: str, now: Revision | None) -> ComparisonOverview:
    text = "no challenger and no shadow was compared yet" if now else "nothing serves yet, so nothing can be compared"
    return ComparisonOverview(
        model=model, sentence=sentence(text), version=None, against=None, role="", state="", candidate=False,
        revision=now.number if now else 0, share=0.0, metric="", currency=currency, verdict=None, reason="", rule="",
        facts=(), growth=(), pairs=(), gates=(), gates_of="",
        next=f"trimtab {'retrain' if now else 'run'} --model {model}",
    )  # fmt: skip
