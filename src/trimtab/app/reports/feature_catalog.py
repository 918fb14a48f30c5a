"""The catalog of features: what there is, who uses it, how fresh it is, what it looks like, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
import polars as pl

from trimtab import units
from trimtab.app.project.workspace import Workspace
from trimtab.app.reports.view_list import ViewRow, view_row
from trimtab.app.rollout.in_service import in_service
from trimtab.app.stages.view_changes import defined_view, spelled
from trimtab.definitions.personal_columns import personal_columns
from trimtab.definitions.views import FeatureView
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.training import Bundle, DatasetVersion
from trimtab.stores.metadata.contract import latest, newest_where
from trimtab.training.dataset import DATA


class FeatureStats(msgspec.Struct, frozen=True, kw_only=True):
    """A feature in the rows of a training set. null: share of missing values; the others are None without values.

    hidden: they are not shown, because the feature is personal data.
    """

    null: float
    mean: float | None = None
    std: float | None = None
    least: float | None = None
    median: float | None = None
    most: float | None = None
    hidden: bool = False


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


def view_facts(workspace: Workspace, name: str) -> ViewFacts:
    """Return all that is known of a view. Raises UsageError for a name that no view has."""
    view = defined_view(workspace, name)
    table = latest(workspace.metadata, TableVersion, table=view.source.name)
    dataset = newest_where(
        workspace.metadata, DatasetVersion, lambda d: view.version_id in d.views and d.made_in is None
    )
    stats = {} if dataset is None else feature_stats(workspace, dataset, view.feature_names)
    source = f"{type(view.source).__name__} '{view.source.name}' ({view.source.origin})"
    options = {
        "ttl": view.ttl,
        "every": view.every,
        "window_by": view.window_by if view.window_by != "timestamp" else None,
    }
    return ViewFacts(
        row=view_row(workspace, view),
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


def _newest(workspace: Workspace, view: FeatureView, table: TableVersion) -> datetime | None:
    rows = workspace.tables.scan(view.source.name, version=table.version)
    column = pl.col(view.source.timestamp).cast(pl.Datetime("us", "UTC"))
    newest: datetime | None = rows.select(column.max()).collect().item()
    return newest


def feature_stats(workspace: Workspace, dataset: DatasetVersion, names: Sequence[str]) -> dict[str, FeatureStats]:
    """Return the statistics of features in a training set, without values of personal data."""
    scan = pl.scan_parquet(workspace.artifacts.open(dataset.path) / DATA)
    frame = scan.select([name for name in names if name in scan.collect_schema()]).collect()
    personal = personal_columns(workspace.project.definitions)
    found = {}
    for column in frame.fill_nan(None):
        null = column.null_count() / max(len(column), 1)
        if column.name in personal:
            found[column.name] = FeatureStats(null=null, hidden=True)
            continue
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
