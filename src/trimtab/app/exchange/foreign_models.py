"""Makes bundles of models that other systems trained: MLflow models, matched with the project's definitions.

The model is served as it is; its features must be those of the definition of its name. What a training here would have
left behind is recorded as far as it is known: the metrics and parameters of the origin, no rows, and a gate report that
says that nothing was measured here. A bundle is found again by its origin, so an import that is repeated adds nothing.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from trimtab.app.project.mlflow_access import open_registry, open_tracking, restore_registry
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.manifest import MANIFEST, MLFLOW_NOTE, SIGNATURE, file_names
from trimtab.bundle.origin import CODE, code_files
from trimtab.bundle.scorer import PROJECT, PYFUNC
from trimtab.bundle.spec import Spec, write_spec
from trimtab.definitions.models import Model
from trimtab.errors import DataError
from trimtab.features.view_versions import view_version
from trimtab.gates.verdict_files import write_verdict
from trimtab.records.gate_reports import GateReport, GateResult
from trimtab.records.record import Origin, Record
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.runtimes.servable import describe
from trimtab.training.package import finish

NOT_KEPT = (MANIFEST, SIGNATURE, MLFLOW_NOTE)
"""Files of the origin that would say something wrong of the bundle."""


@dataclass(frozen=True, kw_only=True)
class ForeignModel:
    """One version of a model of another system, as a folder with an MLflow model.

    model: name of the definition; system, id: where it is from, such as https://mlflow.example.com and risk/3.
    """

    model: str
    folder: Path
    system: str
    id: str
    version: int
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def read_foreign(folder: Path, trust: tuple[str, ...] | list[str]) -> Spec:
    """Return what the folder of a foreign model says. Raises DataError, also for a model that must not be loaded."""
    spec = describe(folder, trust=trust)
    if spec.runtime == PROJECT:
        raise DataError(f"{folder}: its model is a pickle that its own project alone may load; export it as ONNX there")
    if spec.runtime == PYFUNC and PYFUNC not in trust:
        raise DataError(
            f"the model is loaded by unpickling ({spec.runtime_reason}), which runs any code that it holds; when you "
            "trust its origin, write serving: { trust: [pyfunc] } into trimtab.yaml (of a new project: --trust pyfunc)"
        )
    return spec


def add_bundle(workspace: Workspace, foreign: ForeignModel) -> tuple[Bundle, bool]:
    """Return the bundle of a foreign model, and whether it is new.

    Raises:
        DataError: its signature does not fit the definition; every mismatch is named.
        DefinitionError: the project has no such model.
    """
    definition = workspace.model(foreign.model)
    names = [name for name in file_names(foreign.folder) if name not in NOT_KEPT]
    digest = _digest(foreign.folder, names)
    for known in workspace.metadata.find(Bundle, model=foreign.model):
        if known.origin is not None and (known.origin.bundle, known.origin.digest) == (foreign.id, digest):
            return known, False
    spec = fitted(definition, read_foreign(foreign.folder, workspace.project.policy.serving.trust), foreign.id)
    tracking = open_tracking(workspace)
    key = f"import/{digest[:32]}"
    tags = {"trimtab.imported_from": f"{foreign.system} {foreign.id}", **foreign.tags}
    run_id = tracking.begin(foreign.model, key, name=f"imported {foreign.id}", tags=tags)
    with tracking.ending(run_id):
        dataset = _dataset(workspace, definition, spec, digest, foreign.system)
        report = _report(workspace, foreign, run_id)
        spec = msgspec.structs.replace(spec, run=run_id, dataset=dataset.id)
        folder = workspace.artifacts.staging()
        for name in names:
            if name.split("/")[0] != CODE:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(foreign.folder / name, folder / name)
        _write(folder, spec, report, workspace.project.folder)
        made = finish(folder, msgspec.json.format(msgspec.json.encode(report)))
        path = workspace.artifacts.publish(folder, f"bundles/{foreign.model}/{made[:16]}")
        run = _run(workspace, foreign, run_id, key, dataset, path)
        needs = foreign.folder / "requirements.txt"
        text = needs.read_text(encoding="utf-8") if needs.is_file() else ""
        tracking.finish(run, dataset, metrics=foreign.metrics, requirements=text)
    restore_registry(workspace, foreign.model)
    versions = [each.version for each in workspace.metadata.find(Bundle, model=foreign.model)]
    bundle = Bundle(
        id=f"{foreign.model}/{foreign.version}",
        created_at=workspace.now(),
        model=foreign.model,
        version=foreign.version,
        run=run_id,
        dataset=dataset.id,
        gate_report=report.id,
        digest=made,
        path=path,
        features=spec.features,
        views=spec.views,
        threshold=spec.threshold,
        origin=Origin(environment=foreign.system, bundle=foreign.id, digest=digest),
    )
    uri = workspace.artifacts.open(path).as_uri()
    version = open_registry(workspace).take_over(bundle, uri, least=max(versions, default=0) + 1)
    bundle = msgspec.structs.replace(bundle, id=f"{foreign.model}/{version}", version=version)
    views: list[Record] = [view_version(view, workspace.clock) for view in definition.views] if spec.views else []
    workspace.metadata.put(*views, dataset, run, report, bundle)
    return bundle, True


def fitted(definition: Model, spec: Spec, id_: str) -> Spec:
    """Return the spec by which a foreign model serves as a definition says. Raises DataError naming every mismatch."""
    wrong: list[str] = []
    wanted, given = list(definition.feature_names), list(spec.features)
    wrong += [f"it takes no feature '{name}', which the definition has" for name in wanted if name not in given]
    wrong += [f"it needs the feature '{name}', which the definition lacks" for name in given if name not in wanted]
    computed = not {*wanted} <= {*definition.request_columns}
    if not wrong and computed and wanted != given:
        wrong.append(f"its features are in another order: {', '.join(given)}; expected {', '.join(wanted)}")
    if definition.task != spec.task:
        wrong.append(f"its task is {spec.task}, the definition's {definition.task}")
    known = tuple(str(name) for name in definition.classes or ())
    if known and spec.classes and spec.classes != known:
        wrong.append(f"its classes are {', '.join(spec.classes)}, the definition's {', '.join(known)}")
    declared = {name: str(kind) for name, kind in (definition.types or {}).items()}
    for name, kind in spec.feature_types.items():
        if name in wanted and declared.get(name, kind) not in (kind, "category"):
            wrong.append(f"its feature '{name}' is {kind}, the definition's {declared[name]}")
    if wrong:
        place = f" ({definition.place})" if definition.place else ""
        lines = "".join(f"\n  {each}" for each in wrong)
        raise DataError(f"{id_} does not fit the model '{definition.name}'{place}:{lines}")
    return msgspec.structs.replace(
        spec,
        model=definition.name,
        label=definition.label or "",
        classes=known or spec.classes,
        request_columns=definition.request_columns if computed else spec.features,
        request_types={} if computed else spec.request_types,
        entity_keys=definition.entity_keys,
        timestamp=definition.examples.timestamp,
        views=tuple(view.version_id for view in definition.views),
        code_hash=definition.code_hash,
    )


def _write(folder: Path, spec: Spec, report: GateReport, project: Path) -> None:
    write_spec(folder, spec)
    if not {*spec.features} <= {*spec.request_columns}:  # the gateway computes features by the project's code
        (folder / CODE).mkdir()
        for path in code_files(project):
            (folder / CODE / path.name).write_bytes(path.read_bytes())
    write_verdict(folder, report)


def _digest(folder: Path, names: list[str]) -> str:
    """Return a hash of the content of a folder."""
    found = hashlib.sha256()
    for name in names:
        found.update(name.encode() + b"\0" + hashlib.sha256((folder / name).read_bytes()).digest())
    return found.hexdigest()


def _dataset(workspace: Workspace, definition: Model, spec: Spec, digest: str, system: str) -> DatasetVersion:
    now = workspace.now()
    return DatasetVersion(
        id=hashlib.sha256(f"import {definition.name} {digest}".encode()).hexdigest(),
        created_at=now,
        model=definition.name,
        start=now,
        as_of=now,
        split_at=now,
        rows=0,
        labelled=0,
        holdout_rows=0,
        label_mean=0.0,
        classes=spec.classes,
        tables={},
        views=spec.views,
        code_hash=spec.code_hash,
        features=spec.features,
        path="",
        made_in=system,
        warnings=("the model was imported; its training rows are not here",),
        feature_types=spec.feature_types,
        input=spec.input,
    )


def _report(workspace: Workspace, foreign: ForeignModel, run: str) -> GateReport:
    reason = f"imported from {foreign.system}: nothing was measured here"
    result = GateResult(
        gate="import", metric="none", verdict="warn", value=0.0, low=None, high=None, threshold=None, reason=reason
    )
    return GateReport(
        id=f"{run}/gates/import",
        created_at=workspace.now(),
        model=foreign.model,
        run=run,
        champion=None,
        key="import",
        verdict="warn",
        results=(result,),
    )


def _run(workspace: Workspace, foreign: ForeignModel, id_: str, key: str, dataset: DatasetVersion, path: str) -> Run:
    return Run(
        id=id_,
        created_at=workspace.now(),
        key=key,
        model=foreign.model,
        dataset=dataset.id,
        experiment=open_tracking(workspace).experiment(foreign.model),
        seed=0,
        params={name: text for name, text in foreign.params.items() if name != "seed"},
        metrics=dict(foreign.metrics),
        code_version=foreign.tags.get("mlflow.source.git.commit", "imported"),
        environment_hash="",
        cpu_seconds=0.0,
        wall_seconds=0.0,
        peak_memory_mb=0.0,
        cost=0.0,
        model_hash=_digest(foreign.folder, file_names(foreign.folder)),
        staging=path,
        made_in=foreign.system,
    )
