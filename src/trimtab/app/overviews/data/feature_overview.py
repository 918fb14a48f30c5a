"""Features of models and views: what they are, and what the newest windows and training sets say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import msgspec

from trimtab.app.overviews import wording
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.view_list import search
from trimtab.app.stages.view_changes import spelled
from trimtab.errors import NotFound, nearest
from trimtab.records.monitoring import Profile, Signal, WindowReport
from trimtab.records.training import DatasetVersion
from trimtab.stats.schemes import MISSING
from trimtab.stores.metadata.contract import latest
from trimtab.units import short

WINDOWS = 30
"""Newest windows of a feature's line."""
MOST_SIGNALS = 500
"""Newest signals of a feature, of all versions that scored a window, among which those of champions are."""


class FeatureSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One feature of the models or the views."""

    name: str
    view: str | None
    """None: a transform computes it, or the request brings it."""
    origin: str
    """Aggregation, transform or request column, in words."""
    entity: str
    source: str
    window: str
    type: str
    missing: float | None
    """Share of rows without a value in the newest window; None: not known."""
    skew: float | None
    """Share of served values that differ from those of the tables; None: not compared."""
    moved: float | None
    """Share of rows that moved, where the newest window names the column as one that moved most."""
    moved_words: str
    """The same for readers, or why it is not known."""
    why_moved: str
    models: tuple[str, ...]


class FeaturePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A feature in one window."""

    start: datetime
    end: datetime
    missing: float
    mean: float | None


class FeatureDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One feature over the newest windows of a model that uses it."""

    sentence: str
    summary: FeatureSummary
    description: str
    model: str | None
    points: tuple[FeaturePoint, ...]
    """Oldest first."""
    signals: tuple[Signal, ...]
    """Of the windows that name the feature as one that moved most, newest first."""


def feature_detail(workspace: Workspace, name: str, model: str | None = None) -> FeatureDetail:
    """Return one feature. model: whose windows are shown; None: the first that uses it. Raises NotFound."""
    everything = feature_names(workspace)
    if name not in everything:
        raise NotFound(f"there is no feature '{name}'.{nearest(name, everything)}")
    (summary,) = feature_rows(workspace, {name: everything[name]})
    if model is not None and model not in summary.models:
        raise NotFound(f"model '{model}' does not use '{name}'.{nearest(model, summary.models)}")
    shown = model or (summary.models[0] if summary.models else None)
    view = workspace.project.definitions.views.get(summary.view or "")
    short_name = name.removeprefix(f"{summary.view}__")
    windows = _champions(workspace, shown) if shown else []
    signals = workspace.metadata.find(Signal, model=shown, subject=name, kind="data", limit=MOST_SIGNALS)
    judged = {(window.version, window.start) for window in windows}
    return FeatureDetail(
        sentence=_feature_sentence(summary),
        summary=summary,
        description=view.descriptions.get(short_name, "") if view else "",
        model=shown,
        points=tuple(_points(_profiles(workspace, windows), name)),
        signals=tuple(signal for signal in signals if (signal.version, signal.start) in judged),
    )


def _champions(workspace: Workspace, model: str) -> list[WindowReport]:
    """Return the newest windows of the champions, oldest first."""
    found = workspace.metadata.find(WindowReport, model=model, role="champion", stage="closed", limit=WINDOWS)
    return sorted(found, key=lambda window: window.start)


def _profiles(workspace: Workspace, windows: Sequence[WindowReport]) -> Iterator[Profile]:
    for window in windows:
        with suppress(NotFound):  # a window without rows has none
            yield workspace.metadata.get(Profile, f"{window.id.rpartition('/')[0]}/profile")


def _points(profiles: Iterable[Profile], name: str) -> Iterator[FeaturePoint]:
    for profile in profiles:
        column = profile.columns.get(name)
        if column is None or not column["n"]:
            continue
        missing = column["counts"][MISSING]
        valid = column["n"] - missing
        ordered = column["kind"] == "ordered" and valid
        yield FeaturePoint(
            start=profile.start,
            end=profile.end,
            missing=missing / column["n"],
            mean=column["total"] / valid if ordered else None,
        )


def feature_names(workspace: Workspace) -> dict[str, str | None]:
    """Return all features by name, with their view: those of the views, and what models take beyond them."""
    definitions = workspace.project.definitions
    found: dict[str, str | None] = {
        name: view.name for view in definitions.views.values() for name in view.feature_names
    }
    for model in definitions.models.values():
        for name in model.feature_names:
            found.setdefault(name, None)
    return found


def matching(workspace: Workspace, names: Mapping[str, str | None], find: str) -> dict[str, str | None]:
    """Return the features that have all words of a text, in any case."""
    if not find.strip():
        return dict(names)
    hits = {each.name for each in search(workspace, find) if each.kind == "feature"}
    words = find.lower().split()
    return {name: view for name, view in names.items() if name in hits or all(word in name.lower() for word in words)}


def feature_rows(workspace: Workspace, names: Mapping[str, str | None]) -> Iterator[FeatureSummary]:
    """Yield features with what the newest window and training set say of them. names: with their views."""
    definitions = workspace.project.definitions
    models = list(definitions.models.values())
    profiles = {model.name: latest(workspace.metadata, Profile, model=model.name) for model in models}
    datasets = {model.name: latest(workspace.metadata, DatasetVersion, model=model.name) for model in models}
    moved = {model.name: _moved(workspace, profiles[model.name]) for model in models}
    skews = {name: {each.feature: each for each in found.skew} for name, found in datasets.items() if found}
    taken = {model.name: set(model.feature_names) for model in models}
    for name, of_view in names.items():
        using = [model for model in models if name in taken[model.name]]
        first = using[0].name if using else ""
        profile, dataset, skew = profiles.get(first), datasets.get(first), skews.get(first, {}).get(name)
        column = profile.columns.get(name) if profile else None
        signal = moved.get(first, {}).get(name)
        view = definitions.views.get(of_view or "")
        aggregation = view.aggregations[view.feature_names.index(name)] if view else None
        made = next((each for model in using for each in model.transforms if name in each.feature_names), None)
        yield FeatureSummary(
            name=name,
            view=of_view,
            origin=spelled(aggregation) if aggregation else f"transform {made.name}" if made else "of the request",
            entity=view.entity.name if view else "",
            source=view.source.name if view else "",
            window=short(aggregation.window) if aggregation and aggregation.window is not None else "",
            type=(dataset.feature_types.get(name, "number") if dataset else ""),
            missing=column["counts"][MISSING] / column["n"] if column and column["n"] else None,
            skew=skew.differ / skew.rows if skew and skew.rows else None,
            moved=signal.effect.get("max_share_moved") if signal else None,
            moved_words=_moved_words(signal, compared=bool(moved.get(first))),
            why_moved=signal.reason if signal else "",
            models=tuple(model.name for model in using),
        )


def _moved(workspace: Workspace, profile: Profile | None) -> dict[str, Signal]:
    """Return the signals of single columns in the window of a profile."""
    if profile is None:
        return {}
    where = {"model": profile.model, "version": profile.version, "kind": "data", "start": profile.start}
    return {signal.subject: signal for signal in workspace.metadata.find(Signal, **where)}  # type: ignore[arg-type]  # keys


def _moved_words(signal: Signal | None, *, compared: bool) -> str:
    if signal is None:
        return "no signal of its own" if compared else "not compared yet"
    return wording.share(signal.effect.get("max_share_moved"))


def _feature_sentence(summary: FeatureSummary) -> str:
    used = f"used by {wording.joined(summary.models)}" if summary.models else "no model uses it"
    missing = f"{wording.share(summary.missing)} missing in the newest window" if summary.missing is not None else ""
    moved = f"{wording.share(summary.moved)} of the rows moved" if summary.moved is not None else ""
    return wording.sentence(f"feature {summary.name}: {summary.origin}", used, missing, moved)
