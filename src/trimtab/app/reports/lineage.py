"""From one prediction back to everything it came from."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.bundle.spec import read_spec
from trimtab.bundle.typed_packing import exact_values, feature_schema
from trimtab.data.personal_data import mask
from trimtab.definitions.personal_columns import personal_columns
from trimtab.errors import NotFound
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.gate_reports import GateReport
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stores.metadata.training_sets import training_set
from trimtab.stores.predictions import label_rule
from trimtab.stores.predictions.contract import LABEL_FIELDS


class Origin(NamedTuple):
    """The records that a bundle comes from."""

    gates: GateReport
    run: Run
    refit: Run | None
    """The run that serves, if it was fitted again on all rows."""
    dataset: DatasetVersion
    views: list[FeatureViewVersion]
    tables: list[TableVersion]


class UnknownPrediction(NotFound):
    """No row of the prediction log has the id that a command names: exit code 1."""

    exit_code = 1


def lineage(workspace: Workspace, prediction_id: str) -> dict[str, Any]:
    """Return the log rows of a prediction with bundle, run, dataset, views, tables and code.

    Raises UnknownPrediction.
    """
    rows = logged(workspace, prediction_id)
    return {
        "prediction_id": prediction_id,
        "label": latest_label(workspace, prediction_id, rows[-1]["model"]),
        "predictions": [_explain(workspace, row) for row in rows],
    }


def logged(workspace: Workspace, prediction_id: str) -> list[dict[str, Any]]:
    """Return the log rows of a prediction. Raises UnknownPrediction."""
    rows = workspace.predictions.find(prediction_id)
    if not rows:
        project = workspace.project.policy.project
        raise UnknownPrediction(f"no prediction '{prediction_id}' is in the log of project '{project}'")
    return rows


def latest_label(workspace: Workspace, prediction_id: str, model: str) -> dict[str, Any] | None:
    """Return the label of a model's prediction that counts, or None while it has none."""
    latest: dict[str, Any] | None = None
    metric = workspace.label_metrics.get(model)
    for row in workspace.predictions.find_labels(prediction_id):
        if not label_rule.belongs(row["model"], model):
            continue
        if metric is not None and not label_rule.is_of_metric(row["name"], metric):
            continue
        if latest is None or label_rule.replaces(row["known_at"], latest["known_at"]):
            latest = {name: row[name] for name in LABEL_FIELDS if name != "prediction_id"}
    return latest


def _explain(workspace: Workspace, row: dict[str, Any]) -> dict[str, Any]:
    """Return a log row with its features by name, and everything that made it; personal data is masked."""
    personal = personal_columns(workspace.project.definitions)
    bundle = workspace.metadata.get(Bundle, bundle_of(workspace, row))
    classes, shares = training_set(workspace.metadata, bundle).classes, row["probabilities"]
    features, typed = dict(zip(bundle.features, row["features"] or (), strict=False)), row.pop("typed")
    schema = None if typed is None else feature_schema(read_spec(workspace.artifacts.open(bundle.path)))
    if schema is not None:
        features |= exact_values(schema, typed)
    return {
        **row,
        "probabilities": None if shares is None else dict(zip(classes, shares, strict=False)),
        "entities": {name: mask(name, value, personal) for name, value in dict(row["entities"] or ()).items()},
        "features": {name: mask(name, value, personal) for name, value in features.items()},
        "made_by": _made_by(workspace, row, bundle),
    }


def bundle_of(workspace: Workspace, row: dict[str, Any]) -> str:
    """Return the id of the bundle behind a row: of version 0, which no model gave, the champion's that has the rule."""
    if row["version"]:
        return f"{row['model']}/{row['version']}"
    revision = workspace.metadata.get(Revision, f"{row['model']}#{row['revision']}")
    return revision.bundle_in("champion") or f"{row['model']}/0"


def origin_of(workspace: Workspace, bundle: Bundle) -> Origin:
    """Return what a bundle comes from. Raises NotFound when a record of it is missing."""
    metadata = workspace.metadata
    dataset = training_set(metadata, bundle)
    return Origin(
        gates=metadata.get(GateReport, bundle.gate_report),
        run=metadata.get(Run, bundle.run),
        refit=metadata.get(Run, bundle.refit) if bundle.refit is not None else None,
        dataset=dataset,
        views=[metadata.get(FeatureViewVersion, view) for view in dataset.views],
        tables=[metadata.get(TableVersion, version) for version in dataset.tables.values()],
    )


def _made_by(workspace: Workspace, row: dict[str, Any], bundle: Bundle) -> dict[str, Any]:
    origin = origin_of(workspace, bundle)
    run, dataset = origin.run, origin.dataset
    return {
        "revision": _plain(workspace.metadata.get(Revision, f"{row['model']}#{row['revision']}")),
        "bundle": _plain(bundle),
        "gates": _plain(origin.gates),
        "run": _plain(run),
        "refit": _plain(origin.refit),
        "code": {"git": run.code_version, "transforms": dataset.code_hash, "environment": run.environment_hash},
        "dataset": _plain(dataset),
        "views": [_plain(view) for view in origin.views],
        "tables": [_plain(table) for table in origin.tables],
    }


def _plain(record: Any) -> Any:
    return msgspec.to_builtins(record)
