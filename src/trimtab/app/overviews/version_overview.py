"""One version of a model: what it was made of, what the gates said, when it served; and what a revision changed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Literal

import msgspec

from trimtab.app.overviews.model_brief import Serving
from trimtab.app.overviews.model_windows import VersionSpan, version_spans
from trimtab.app.overviews.prompt_text import PromptText, prompt_text
from trimtab.app.overviews.window_list import known_model
from trimtab.app.overviews.wording import count, days, joined, sentence
from trimtab.app.project.workspace import Workspace
from trimtab.errors import DataError, NotFound, UsageError
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import WindowReport
from trimtab.records.record import Verdict
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, DatasetVersion, Run, UsualRange
from trimtab.stores.metadata.contract import latest
from trimtab.stores.metadata.training_sets import training_set

REVISIONS = 50
"""Newest revisions that are listed."""


class GateLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one gate measured."""

    gate: str
    metric: str
    value: float | None
    verdict: Verdict
    reason: str


class RevisionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One revision. at: wall time. as_of: event time; None where it is not known."""

    number: int
    action: str
    serving: tuple[Serving, ...]
    reason: str
    by: str
    cause: str
    at: datetime
    as_of: datetime | None


class VersionOverview(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model. Fields of records that are gone are None or empty."""

    model: str
    version: int
    sentence: str
    roles: tuple[str, ...]
    """In which roles it is now."""
    digest: str
    made: datetime
    run: str
    refit: str | None
    dataset: str
    rows: int | None
    labelled: int | None
    as_of: datetime | None
    """The training set holds what was known at this time."""
    features: tuple[str, ...]
    threshold: float
    metrics: dict[str, float]
    """Of the run, on the holdout."""
    usual: dict[str, UsualRange]
    gates: tuple[GateLine, ...]
    verdict: Verdict | None
    spans: tuple[VersionSpan, ...]
    revisions: tuple[RevisionLine, ...]
    """Those in which it serves, newest first."""
    kind: Literal["model", "prompt"] = "model"
    prompt: PromptText | None = None
    """Of a prompt: what it says; None where its bundle cannot be read."""
    evaluation: str | None = None
    """Of a prompt: the run whose items and answers are kept."""


class RevisionOverview(msgspec.Struct, frozen=True, kw_only=True):
    """One revision, with the ones beside it."""

    model: str
    sentence: str
    revision: RevisionLine
    revisions: tuple[RevisionLine, ...]
    """The newest ones of the model, newest first."""
    newest: int


def version_overview(workspace: Workspace, model: str, version: int) -> VersionOverview:
    """Return one version. Raises NotFound, which names the versions there are."""
    name, metadata = known_model(workspace, model), workspace.metadata
    found = {b.version: b for b in metadata.find(Bundle, model=name)}
    if version not in found:
        known = ", ".join(map(str, sorted(found))) or "none"
        raise NotFound(f"{name} has no version {version}; its versions are {known}")
    bundle = found[version]
    dataset: DatasetVersion | None = None
    run: Run | None = None
    gates: GateReport | None = None
    of_prompt = bundle.kind == "prompt"
    prompt: PromptText | None = None
    if of_prompt:
        with suppress(DataError, NotFound, UsageError):
            prompt = prompt_text(workspace, bundle)
    with suppress(NotFound):
        dataset = training_set(metadata, bundle)
    with suppress(NotFound):
        run = metadata.get(Run, bundle.run)
    with suppress(NotFound):
        gates = metadata.get(GateReport, bundle.gate_report)
    reports = metadata.find(WindowReport, model=name, version=version, stage="closed")
    spans = version_spans(sorted(reports, key=lambda w: w.start))
    revisions = [r for r in metadata.find(Revision, model=name) if any(a.version == version for a in r.assignments)]
    newest = latest(metadata, Revision, model=name)
    roles = tuple(a.role for a in (() if newest is None else newest.assignments) if a.version == version)
    return VersionOverview(
        model=name,
        version=version,
        sentence=_sentence(bundle, dataset, gates, spans, roles),
        roles=roles,
        digest=bundle.digest,
        made=bundle.created_at,
        run=bundle.run,
        refit=bundle.refit,
        dataset=bundle.dataset,
        rows=None if dataset is None else dataset.rows,
        labelled=None if dataset is None else dataset.labelled,
        as_of=None if dataset is None else dataset.as_of,
        features=bundle.features,
        threshold=bundle.threshold,
        metrics={} if run is None else run.metrics,
        usual=dict(bundle.usual),
        gates=() if gates is None else _gates(gates),
        verdict=None if gates is None else gates.verdict,
        spans=spans,
        revisions=tuple(_line(r) for r in revisions[:REVISIONS]),
        kind="prompt" if of_prompt else "model",
        prompt=prompt,
        evaluation=run.id if of_prompt and run is not None and run.purpose == "evaluate" else None,
    )


def revision_overview(workspace: Workspace, model: str, number: int) -> RevisionOverview:
    """Return one revision. Raises NotFound, which names the newest one."""
    name = known_model(workspace, model)
    newest = workspace.metadata.find(Revision, model=name, limit=REVISIONS)
    found = next((r for r in newest if r.number == number), None) or latest(
        workspace.metadata, Revision, model=name, number=number
    )
    if found is None:
        hint = f"the newest one is {newest[0].number}" if newest else "nothing serves yet"
        raise NotFound(f"{name} has no revision {number}; {hint}")
    line = _line(found)
    now = "which serves now" if found.number == newest[0].number else f"revision {newest[0].number} serves now"
    said = f"Revision {number} of {name}, {now}: {_serves(line.serving)}. {sentence(f'{found.action} by {found.by}')}"
    return RevisionOverview(
        model=name,
        sentence=said,
        revision=line,
        revisions=tuple(_line(r) for r in newest),
        newest=newest[0].number,
    )


def _line(revision: Revision) -> RevisionLine:
    return RevisionLine(
        number=revision.number,
        action=revision.action,
        serving=tuple(
            Serving(version=a.version, role=a.role, weight=a.weight, kept=a.kept) for a in revision.assignments
        ),
        reason=revision.reason,
        by=revision.by,
        cause=revision.cause,
        at=revision.created_at,
        as_of=revision.as_of,
    )


def _serves(serving: Sequence[Serving]) -> str:
    return joined([f"{s.role} {s.version}" + (f" ({s.weight:g} %)" if s.weight else "") for s in serving])


def _gates(report: GateReport) -> tuple[GateLine, ...]:
    return tuple(
        GateLine(gate=r.gate, metric=r.metric, value=r.value, verdict=r.verdict, reason=r.reason)
        for r in report.results
    )


def _sentence(
    bundle: Bundle,
    dataset: DatasetVersion | None,
    gates: GateReport | None,
    spans: Sequence[VersionSpan],
    roles: Sequence[str],
) -> str:
    now = f"is {joined(list(roles))} now" if roles else "does not serve now"
    led = [s for s in spans if s.role == "champion"]
    was = (
        ""
        if not led
        else f"it was champion {joined([days(s.start, s.end - (s.end - s.start) / s.windows) for s in led])}"
    )
    if bundle.kind == "prompt":
        learned = f"it asks {bundle.upstream_model} at {bundle.endpoint.partition('/')[0]}"
    else:
        learned = "" if dataset is None else f"it learned from {count(dataset.labelled)} labelled rows"
    judged = "" if gates is None else f"the gates said {gates.verdict}"
    return sentence(f"version {bundle.version} of {bundle.model} {now}", was, learned, judged)
