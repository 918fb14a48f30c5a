"""The feature views of a project as a list, and the search in them. It loads no data library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.app.stages.view_changes import spelled
from trimtab.clock import from_micros
from trimtab.definitions.services import FeatureService
from trimtab.definitions.views import FeatureView


class ViewRow(msgspec.Struct, frozen=True, kw_only=True):
    """One view of definitions.py."""

    view: str
    version: str
    entity: str
    source: str
    over: str | None
    """The view whose rows it aggregates."""
    features: int
    models: tuple[str, ...]
    """Models of definitions.py that use it."""
    services: tuple[str, ...]
    description: str
    owner: str
    tags: tuple[str, ...]
    deprecated: str
    fresh_until: datetime | None
    """Up to when its online values are complete; None: none are computed."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a search found. kind: view, feature or service."""

    kind: str
    name: str
    text: str
    models: tuple[str, ...]


def list_views(workspace: Workspace) -> list[ViewRow]:
    """Return the views of definitions.py, by name."""
    views = workspace.project.definitions.views
    return [view_row(workspace, views[name]) for name in sorted(views)]


def search(workspace: Workspace, text: str) -> list[Found]:
    """Return views, features and services that have all words of a text, in any case."""
    words = text.lower().split()
    found: list[Found] = []
    definitions = workspace.project.definitions
    for view in definitions.views.values():
        about = " ".join((view.description, view.owner, *view.tags, view.entity.name, view.source.name))
        hits = []
        if _has(words, view.name, about):
            hits.append(("view", view.name, view.description or about))
        for full, aggregation in zip(view.feature_names, view.aggregations, strict=True):
            said, definition = view.descriptions.get(aggregation.name, ""), spelled(aggregation)
            if _has(words, full, said, definition, about):
                hits.append(("feature", full, said or definition))
        models = models_of(workspace, view) if hits else ()
        found += [Found(kind=kind, name=name, text=text, models=models) for kind, name, text in hits]
    for service in definitions.services.values():
        about = " ".join((service.description, service.owner, *service.tags, *service.feature_names))
        if _has(words, service.name, about):
            using = tuple(model.name for model in definitions.models.values() if service in model.services)
            found.append(Found(kind="service", name=service.name, text=service.description or about, models=using))
    return found


def view_row(workspace: Workspace, view: FeatureView) -> ViewRow:
    done = workspace.online.watermark(view.version_id)
    services: Mapping[str, FeatureService] = workspace.project.definitions.services
    return ViewRow(
        view=view.name,
        version=view.version_id,
        entity=view.entity.name,
        source=view.source.name,
        over=None if view.over is None else view.over.name,
        features=len(view.aggregations),
        models=models_of(workspace, view),
        services=tuple(name for name, service in services.items() if view in service.views),
        description=view.description,
        owner=view.owner,
        tags=tuple(view.tags),
        deprecated=view.deprecated,
        fresh_until=None if done is None else from_micros(done),
    )


def models_of(workspace: Workspace, view: FeatureView) -> tuple[str, ...]:
    """Return the models that take features of a view, or of a view over it."""
    models = workspace.project.definitions.models.values()
    return tuple(model.name for model in models if any(view in _chain(each) for each in model.views))


def _chain(view: FeatureView) -> Iterator[FeatureView]:
    yield view
    if view.over is not None:
        yield from _chain(view.over)


def _has(words: Sequence[str], *texts: str) -> bool:
    whole = " ".join(texts).lower()
    return all(word in whole for word in words)
