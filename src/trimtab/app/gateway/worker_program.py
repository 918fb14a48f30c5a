"""The program of a gateway's worker process: python -m trimtab.app.gateway.worker_program FILE.

Opens the prediction log and the online store, and computes features as each bundle's own code defines them.
Nothing heavy is imported: no policy, no metadata store, no dataframes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np

from trimtab.app.gateway.other_gateway import from_models
from trimtab.app.project.definitions_file import load_definitions
from trimtab.app.project.process_files import read_progress
from trimtab.bundle.spec import Spec
from trimtab.bundle.typed_packing import feature_schema
from trimtab.clock import Clock, SystemClock, to_micros
from trimtab.errors import DataError
from trimtab.features.feature_reads import FeatureReads
from trimtab.features.online_plan import OnlinePlan
from trimtab.features.typed_plan import TypedColumns, TypedPlan
from trimtab.features.value_types import Kind
from trimtab.serving.core.loaded_bundle import Vectorizer
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.serving.orders import Configure
from trimtab.serving.processes.worker import WorkerResources, run_worker
from trimtab.stores.catalog import open_online, open_predictions
from trimtab.stores.online.contract import Online

LOG_OPTIONS: dict[str, Callable[[str], Any]] = {"segment_rows": int, "segment_age_s": float}


def open_resources(first: Configure) -> WorkerResources:
    """Open what the setup names: root, and where they differ from the usual ones predictions, online, LOG_OPTIONS."""
    setup, root = first.setup, Path(first.setup["root"])
    online = open_online(setup.get("online"), root)
    clock, plans = SystemClock(), WeakSet[OnlinePlan]()
    return WorkerResources(
        predictions=open_predictions(
            setup.get("predictions"),
            root,
            writer=first.worker,
            **{name: read(setup[name]) for name, read in LOG_OPTIONS.items() if name in setup},
        ),
        vectorizer_factory=alone
        if "standalone" in setup
        else lambda folder, spec: _vectorizer(folder, spec, online, plans),
        clock=clock,
        view_ages=lambda: view_ages(plans, online, clock),
        is_steered=lambda run_folder: read_progress(run_folder) is not None,
        elsewhere=partial(from_models, run_folder=Path(first.run_folder)),
        features=FeatureReads(lambda: load_definitions(Path(setup["project"])), online) if "project" in setup else None,
    )


def view_ages(plans: Iterable[OnlinePlan], online: Online, clock: Clock) -> dict[str, float]:
    """Return by view the seconds since the moment up to which its values are complete.

    Of several versions in use the oldest counts. A version without values has none.
    """
    now, found = to_micros(clock.now()), dict[str, float]()
    for name, version in {pair for plan in list(plans) for pair in plan.versions.items()}:
        if (watermark := online.watermark(version)) is not None:
            found[name] = max(found.get(name, 0.0), (now - watermark) / 1e6)
    return found


def _vectorizer(folder: Path, spec: Spec, online: Online, plans: WeakSet[OnlinePlan]) -> Vectorizer:
    if not (folder / "code").is_dir():
        return _columns(folder, spec)
    types: dict[str, Kind] = dict(spec.request_types)  # type: ignore[arg-type]  # written from features.request_types
    model, schema = load_definitions(folder / "code").model(spec.model), feature_schema(spec)
    plan = OnlinePlan(model, online, types) if schema is None else TypedPlan(model, online, types, schema)
    plans.add(plan)
    return plan


class FeaturesOnly:
    """Refuses columns for a bundle whose feature views are in no store here; such a bundle takes feature vectors."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def vectors(self, columns: Mapping[str, Sequence[Any]], at: Sequence[int]) -> np.ndarray[Any, Any]:
        """Raise DataError."""
        raise DataError(
            f"the features of model '{self._spec.model}' come from views of its project, which are not here; send all "
            f"{len(self._spec.features)} features as the input X, in the order that GET /v2/models/{self._spec.model} "
            "tells, or serve the project: trimtab serve --project FOLDER"
        )


def alone(folder: Path, spec: Spec) -> Vectorizer:
    """Return the vectorizer of a folder that is served without its project."""
    if not set(spec.features) <= set(spec.request_columns):
        return FeaturesOnly(spec)
    return _columns(folder, spec)


def _columns(folder: Path, spec: Spec) -> Vectorizer:
    schema = feature_schema(spec)
    return NumericColumns(folder, spec) if schema is None else TypedColumns(schema, spec.request_columns)


if __name__ == "__main__":
    run_worker(open_resources)
