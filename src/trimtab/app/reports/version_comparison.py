"""Two versions of a model on the predictions that both scored: money, rates, segments, and what the rule says.

Everything is measured on matured windows, from the prediction log and the labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.comparison_result import CalibrationCurve, Difference, Rule, Segment, VersionComparison
from trimtab.app.reports.paired_rows import PairedRows, Span, paired_rows
from trimtab.app.reports.version_measures import CONFIDENCE, VersionMeasures
from trimtab.app.rollout.candidate import held_out_evidence
from trimtab.control.holds import event_time
from trimtab.control.suspicion import held
from trimtab.definitions.personal_columns import mask_number, personal_columns
from trimtab.errors import StageError
from trimtab.metric_catalog import CHAT
from trimtab.monitoring.row_money import prices
from trimtab.monitoring.verdict import judge_challenger, judge_former_champion
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest
from trimtab.tasks import RULES
from trimtab.units import MICROS


def compare_versions(workspace: Workspace, model: str, versions: tuple[int, int] | None = None) -> VersionComparison:
    """Compare two versions of a model: (compared, against); left out, those that are or were last compared.

    Raises StageError when there is nothing to compare, and says why.
    """
    if workspace.served(model).task == CHAT:
        raise StageError(
            f"'{model}' is a prompt: its answers have no scores, so its versions are compared by their conversations, "
            f"users or judge, not row by row: trimtab compare {model}"
        )
    version, against = versions or _last_compared(workspace, model)
    bundles = [_bundle(workspace, model, number) for number in (version, against)]
    spans = _spans(workspace, model, version, against)
    if not spans:
        raise StageError(_never_paired(workspace, model, version, against))
    rows = paired_rows(workspace, model, (version, against), spans)
    if not len(rows.y):
        raise StageError(
            f"versions {version} and {against} of model '{model}' were compared in {len(spans)} windows, but none of "
            "the rows is in the prediction log any more (serving.log.retention)"
        )
    return _comparison(workspace, bundles[0], bundles[1], spans, rows)


def _last_compared(workspace: Workspace, model: str) -> tuple[int, int]:
    revisions = workspace.metadata.find(Revision, model=model, oldest_first=True)
    if not revisions:
        raise StageError(f"no version of model '{model}' serves yet, so none can be compared; run: trimtab deploy")
    pairs = []
    for revision in reversed(revisions):
        champion = next(a.version for a in revision.assignments if a.role == "champion")
        others = [a for a in revision.assignments if a.role != "champion"]
        pairs += [(champion, a.version) if a.kept else (a.version, champion) for a in others]
    for pair in dict.fromkeys(pairs):
        if _spans(workspace, model, *pair):
            return pair
    if pairs:
        raise StageError(_never_paired(workspace, model, *pairs[0]))
    raise StageError(
        f"no version of model '{model}' has served next to version {champion}, so there is nothing to compare it with; "
        "a second version comes by: trimtab retrain"
    )


def _bundle(workspace: Workspace, model: str, version: int) -> Bundle:
    found = {bundle.version: bundle for bundle in workspace.metadata.find(Bundle, model=model)}
    if version not in found:
        known = ", ".join(map(str, sorted(found))) or "none"
        raise StageError(f"model '{model}' has no version {version}; versions: {known}")
    return found[version]


def _never_paired(workspace: Workspace, model: str, version: int, against: int) -> str:
    delay = workspace.project.policy.decide.labels_mature_after / MICROS["d"]
    return (
        f"versions {version} and {against} of model '{model}' have no window yet in which both scored the same "
        f"predictions and the labels are complete. Both must serve at a time, one as champion and one as challenger or "
        f"shadow; a window is complete {delay:g} days after its end (decide.labels_mature_after), when the loop runs"
    )


def _spans(workspace: Workspace, model: str, version: int, against: int) -> list[Span]:
    """Return the matured windows in which one of two versions was compared with the other, in order of time."""
    found: dict[Span, None] = {}
    for own, other in ((version, against), (against, version)):
        for w in workspace.metadata.find(WindowReport, model=model, version=own, stage="matured"):
            if w.metrics.get("paired_version") == other and w.metrics.get("paired_rows"):
                found[w.start, w.end] = None
    return sorted(found)


def _segments(measured: VersionMeasures, personal: Collection[str]) -> Iterator[Segment]:
    """Yield the segments; those of columns with personal data are numbered."""
    places: Counter[str] = Counter()
    for each in measured.segments():
        yield replace(each, value=mask_number(each.column, places[each.column], each.value, personal))
        places[each.column] += 1


def _comparison(
    workspace: Workspace, bundle: Bundle, against: Bundle, spans: list[Span], rows: PairedRows
) -> VersionComparison:
    policy, model = workspace.project.policy, workspace.served(bundle.model)
    task, function = model.task, model.money
    with_rows = np.unique(rows.window)
    spans = [spans[place] for place in with_rows]
    measured = VersionMeasures(
        rows,
        task=task,
        metric=policy.rollout.promote_when.quality_for(task),
        costs=prices(policy.impact, task, function),
        impact_function=function,
        thresholds=(bundle.threshold, RULES[task].threshold_beside(bundle.threshold, against.threshold)),
        days=[(end - start).total_seconds() / 86_400 for start, end in spans],
    )
    metric, money = measured.metric_gain(measured.metric), measured.money()
    return VersionComparison(
        project=policy.project,
        model=bundle.model,
        task=task,
        version=bundle.version,
        against=against.version,
        roles=_roles(workspace, bundle, against),
        start=spans[0][0],
        end=spans[-1][1],
        windows=len(spans),
        labels=len(rows.y),
        predictions_per_day=measured.predictions_per_day,
        currency=policy.impact.currency,
        confidence=CONFIDENCE,
        sentence=_sentence(
            bundle.version, against.version, money or metric, policy.impact.currency, len(rows.y), spans
        ),
        metric=measured.metric,
        money=money,
        measures=(metric, *measured.other_metrics(), *measured.rates()),
        segments=tuple(_segments(measured, personal_columns(workspace.project.definitions))),
        days=tuple(measured.days(spans)),
        calibration=tuple(
            CalibrationCurve(version=version, bins=tuple(measured.calibration(place)))
            for place, version in enumerate((bundle.version, against.version))
        ),
        rule=_rule(workspace, bundle, against, policy.rollout.promote_when.metric_for(task)),
    )


def _roles(workspace: Workspace, *bundles: Bundle) -> dict[str, str]:
    revision = latest(workspace.metadata, Revision, model=bundles[0].model)
    now = {a.version: a.role for a in revision.assignments} if revision else {}
    return {str(b.version): now.get(b.version, "not in service") for b in bundles}


def _rule(workspace: Workspace, bundle: Bundle, against: Bundle, metric: str) -> Rule | None:
    """Return the verdict by the policy, on the version that was compared with the champion of that time.

    While the former champion is kept as a shadow of the other version, it is the one that is judged.
    """
    metadata, policy, model = workspace.metadata, workspace.project.policy, bundle.model
    suspected = held(metadata, model, as_of=event_time(metadata, model, workspace.clock))
    revision = latest(metadata, Revision, model=model)
    kept = {a.bundle for a in revision.assignments if a.kept} if revision else set()
    pairs = sorted(((bundle, against), (against, bundle)), key=lambda pair: pair[0].id not in kept)
    for challenger, champion in pairs:
        watch = challenger.id in kept
        asked: dict[str, Any] = {"model": model, "champion": champion.version, "suspected": suspected}
        asked |= {"policy": policy.rollout.promote_when, "metric": metric}
        if watch:
            found = judge_former_champion(metadata, former=challenger.version, **asked)
        else:
            window = policy.decide.window
            before = held_out_evidence(metadata, challenger, champion, window=window, suspected=suspected)
            found = judge_challenger(
                metadata,
                challenger=challenger.version,
                limits=policy.rollout.rollback_when,
                held_out=[w.gains[metric] for w in before if metric in w.gains],
                **asked,
            )
        if found.windows:
            return Rule(
                verdict=found.verdict,
                challenger=challenger.version,
                champion=champion.version,
                metric=metric,
                watch=watch,
                windows=found.windows,
                held_out=found.held_out,
                labels=found.labels,
                reason=found.reason,
            )
    return None


def _sentence(one: int, other: int, found: Difference, currency: str, labels: int, spans: list[Span]) -> str:
    """Return the result in one sentence that a reader without statistics understands."""
    basis = (
        f"measured on {labels:,} predictions that both made between {spans[0][0]:%Y-%m-%d} and {spans[-1][1]:%Y-%m-%d}"
    )
    if found.gain is None or found.low is None or found.high is None:
        return f"It is too early to say which of the versions {one} and {other} is better, {basis}."
    money = found.unit == "money"

    def text(value: float) -> str:
        return f"{value:,.0f}" if money else f"{value:.3g}"

    if found.low > 0 or found.high < 0:
        sign = 1 if found.low > 0 else -1
        low, high = sorted((sign * found.low, sign * found.high))
        amount, interval = text(abs(found.gain)), f"({CONFIDENCE:.0%}: {text(low)} to {text(high)})"
        if money:
            what = f"saved {amount} {currency} a day" if sign > 0 else f"cost {amount} {currency} a day more"
            return f"Version {one} would have {what} {interval} compared with version {other}, {basis}."
        what = "better" if sign > 0 else "worse"
        return f"Version {one} is {what} than version {other} by {amount} in {found.name} {interval}, {basis}."
    gain, interval = text(found.gain), f"({CONFIDENCE:.0%}: {text(found.low)} to {text(found.high)})"
    what = f"version {one} would have saved {gain} {currency} a day" if money else f"its gain in {found.name} is {gain}"
    return (
        f"It is not decided whether version {one} is better than version {other}: {what} {interval}, which may be "
        f"luck, {basis}."
    )
