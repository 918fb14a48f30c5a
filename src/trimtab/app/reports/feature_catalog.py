"""The catalog of features: what there is, who uses it, how fresh it is, what it looks like, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
import polars as pl

from trimtab import units
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.in_service import in_service
from trimtab.app.stages.view_changes import defined_view, spelled
from trimtab.clock import from_micros
from trimtab.definitions.services import FeatureService
from trimtab.definitions.views import FeatureView
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.stores.metadata.contract import latest, newest_where
from trimtab.training.dataset import DATA


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


class FeatureStats(msgspec.Struct, frozen=True, kw_only=True):
    """A feature in the rows of a training set. null: share of missing values; the others are None without values."""

    null: float
    mean: float | None = None
    std: float | None = None
    least: float | None = None
    median: float | None = None
    most: float | None = None


class FeatureFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One feature of a view."""

    feature: str
    definition: str
    description: str
    stats: FeatureStats | None


class VersionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded version of a view."""

    version: str
    created: datetime
    features: int
    bundles: tuple[str, ...]
    in_service: tuple[str, ...]


class ViewFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a view."""

    row: ViewRow
    keys: tuple[str, ...]
    options: Mapping[str, str]
    source: str
    """Name, kind and origin of the source, or of the view that it aggregates and that view's source."""
    table: str | None
    """The newest version of the source's table, with its rows and the start of its hash."""
    rows_until: datetime | None
    """Time of the newest row of the table."""
    features: tuple[FeatureFacts, ...]
    dataset: str | None
    """The training set that statistics are of."""
    versions: tuple[VersionFacts, ...]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a search found. kind: view, feature or service."""

    kind: str
    name: str
    text: str
    models: tuple[str, ...]


def list_views(workspace: Workspace) -> list[ViewRow]:
    """Return the views of definitions.py, by name."""
    views = workspace.project.definitions.views
    return [_row(workspace, views[name]) for name in sorted(views)]


def view_facts(workspace: Workspace, name: str) -> ViewFacts:
    """Return all that is known of a view. Raises UsageError for a name that no view has."""
    view = defined_view(workspace, name)
    table = latest(workspace.metadata, TableVersion, table=view.source.name)
    dataset = newest_where(workspace.metadata, DatasetVersion, lambda d: view.version_id in d.views)
    stats = {} if dataset is None else _stats(workspace, dataset, view.feature_names)
    source = f"{type(view.source).__name__} '{view.source.name}' ({view.source.origin})"
    options = {
        "ttl": view.ttl,
        "every": view.every,
        "window_by": view.window_by if view.window_by != "timestamp" else None,
    }
    return ViewFacts(
        row=_row(workspace, view),
        keys=tuple(view.entity.keys),
        options={name: value for name, value in options.items() if value is not None},
        source=source if view.over is None else f"view '{view.over.name}' of {source}",
        table=None if table is None else f"{table.id}, {units.plural(table.rows, 'row')}, {table.content_hash[:16]}",
        rows_until=None if table is None else _newest(workspace, view, table),
        features=tuple(
            FeatureFacts(
                feature=full,
                definition=spelled(aggregation),
                description=view.descriptions.get(aggregation.name, ""),
                stats=stats.get(full),
            )
            for full, aggregation in zip(view.feature_names, view.aggregations, strict=True)
        ),
        dataset=None if dataset is None else f"{dataset.id[:12]} of model '{dataset.model}', {dataset.rows:,} rows",
        versions=tuple(_versions(workspace, name)),
    )


def search(workspace: Workspace, text: str) -> list[Found]:
    """Return views, features and services that have all words of a text, in any case."""
    words = text.lower().split()
    found: list[Found] = []
    definitions = workspace.project.definitions
    for view in definitions.views.values():
        about = " ".join((view.description, view.owner, *view.tags, view.entity.name, view.source.name))
        models = _models(workspace, view)
        if _has(words, view.name, about):
            found.append(Found(kind="view", name=view.name, text=view.description or about, models=models))
        for full, aggregation in zip(view.feature_names, view.aggregations, strict=True):
            said, definition = view.descriptions.get(aggregation.name, ""), spelled(aggregation)
            if _has(words, full, said, definition, about):
                found.append(Found(kind="feature", name=full, text=said or definition, models=models))
    for service in definitions.services.values():
        about = " ".join((service.description, service.owner, *service.tags, *service.feature_names))
        if _has(words, service.name, about):
            using = tuple(model.name for model in definitions.models.values() if service in model.services)
            found.append(Found(kind="service", name=service.name, text=service.description or about, models=using))
    return found


def _has(words: Sequence[str], *texts: str) -> bool:
    whole = " ".join(texts).lower()
    return all(word in whole for word in words)


def _models(workspace: Workspace, view: FeatureView) -> tuple[str, ...]:
    """Return the models that take features of a view, or of a view over it."""
    models = workspace.project.definitions.models.values()
    return tuple(model.name for model in models if any(view in _chain(each) for each in model.views))


def _chain(view: FeatureView) -> Iterator[FeatureView]:
    yield view
    if view.over is not None:
        yield from _chain(view.over)


def _row(workspace: Workspace, view: FeatureView) -> ViewRow:
    done = workspace.online.watermark(view.version_id)
    services: Mapping[str, FeatureService] = workspace.project.definitions.services
    return ViewRow(
        view=view.name,
        version=view.version_id,
        entity=view.entity.name,
        source=view.source.name,
        over=None if view.over is None else view.over.name,
        features=len(view.aggregations),
        models=_models(workspace, view),
        services=tuple(name for name, service in services.items() if view in service.views),
        description=view.description,
        owner=view.owner,
        tags=tuple(view.tags),
        deprecated=view.deprecated,
        fresh_until=None if done is None else from_micros(done),
    )


def _newest(workspace: Workspace, view: FeatureView, table: TableVersion) -> datetime | None:
    rows = workspace.tables.scan(view.source.name, version=table.version)
    column = pl.col(view.source.timestamp).cast(pl.Datetime("us", "UTC"))
    newest: datetime | None = rows.select(column.max()).collect().item()
    return newest


def _stats(workspace: Workspace, dataset: DatasetVersion, names: Sequence[str]) -> dict[str, FeatureStats]:
    scan = pl.scan_parquet(workspace.artifacts.open(dataset.path) / DATA)
    frame = scan.select([name for name in names if name in scan.collect_schema()]).collect()
    found = {}
    for column in frame.fill_nan(None):
        null = column.null_count() / max(len(column), 1)
        if not column.dtype.is_numeric() and column.dtype != pl.Boolean:
            found[column.name] = FeatureStats(null=null)
            continue
        numbers = column.cast(pl.Float64)
        values = (numbers.mean(), numbers.std(), numbers.min(), numbers.median(), numbers.max())
        mean, std, least, median, most = (None if value is None else float(value) for value in values)  # type: ignore[arg-type]  # of floats
        found[column.name] = FeatureStats(null=null, mean=mean, std=std, least=least, median=median, most=most)
    return found


def _versions(workspace: Workspace, name: str) -> Iterator[VersionFacts]:
    bundles = workspace.metadata.find(Bundle)
    models = workspace.project.definitions.models
    serving = [bundle.id for model in models for bundle in in_service(workspace, model)]
    for record in workspace.metadata.find(FeatureViewVersion, view=name):
        using = [bundle.id for bundle in bundles if record.id in bundle.views]
        yield VersionFacts(
            version=record.id,
            created=record.created_at,
            features=len(record.features),
            bundles=tuple(using),
            in_service=tuple(id_ for id_ in dict.fromkeys(serving) if id_ in using),
        )
