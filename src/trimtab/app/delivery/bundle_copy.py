"""Copies a bundle from one environment into another: its files, its registered version, and the records behind it.

The files come first, into a folder that appears whole (stores/artifacts/contract.py), then the version in the registry,
which is found again by the bundle's digest, then all records in one transaction. A process that is killed in between
leaves nothing that serves or is listed; the next one goes on with what is there. What stays at the origin: the rows of
the training set, and the files of the run before it was packed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from trimtab.app.project.mlflow_access import mirror_prompt, open_registry, restore_registry
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.manifest import MLFLOW_NOTE, file_names, verify
from trimtab.bundle.signature import check_signature
from trimtab.errors import ActionError, DataError, NotFound
from trimtab.records.data import TableVersion
from trimtab.records.features import FeatureViewVersion
from trimtab.records.gate_reports import GateReport
from trimtab.records.llm import EndpointVersion
from trimtab.records.record import Origin, Record
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stores.metadata.contract import Metadata, R, latest


def copy_bundle(source: Workspace, target: Workspace, bundle: Bundle) -> Bundle:
    """Return the record of the bundle in the target, after copying what is not there yet.

    It keeps its version if all versions of the model in the target are lower, and gets the next number otherwise.
    Raises ActionError for files that differ from the manifest, here or there, or lack the signature that the policy
    asks for.
    """
    path = copy_files(source, target, bundle)
    known = latest(target.metadata, Bundle, model=bundle.model, digest=bundle.digest)
    if known is not None:
        return known
    restore_registry(target, bundle.model)
    versions = [each.version for each in target.metadata.find(Bundle, model=bundle.model)]
    least = max(versions, default=0) + 1
    uri = target.artifacts.open(path).as_uri()
    version = open_registry(target).take_over(bundle, uri, least=least)
    copied = msgspec.structs.replace(
        bundle,
        id=f"{bundle.model}/{version}",
        version=version,
        created_at=target.now(),
        path=path,
        dataset=_of(source.name, bundle.dataset),
        origin=Origin(environment=source.name, bundle=bundle.id, digest=bundle.digest),
    )
    target.metadata.put(*_behind(source, target.metadata, bundle, path), copied)
    if copied.kind == "prompt":
        mirror_prompt(target, copied.model)
    return copied


def copy_files(source: Workspace, target: Workspace, bundle: Bundle) -> str:
    """Copy the files of a bundle, signature included; return their name in the target's artifact store."""
    name = f"bundles/{bundle.model}/{bundle.digest[:16]}"
    try:
        there = source.artifacts.open(bundle.path)
        verify(there, bundle.digest)
    except (NotFound, DataError, OSError) as error:
        raise ActionError(
            f"bundle {bundle.id} of {source.name} is damaged, so nothing is promoted: {error}. Pack it again from its "
            f"run: trimtab repair --env {source.name}"
        ) from None
    if not target.artifacts.exists(name):
        folder = target.artifacts.staging()
        for file in (each for each in file_names(there) if each != MLFLOW_NOTE):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(there / file, folder / file)
        _expect_whole(folder, target, bundle)
        target.artifacts.publish(folder, name)
    _expect_whole(target.artifacts.open(name), target, bundle)
    return name


def _expect_whole(folder: Path, target: Workspace, bundle: Bundle) -> None:
    policy = target.project.policy.serving
    try:
        verify(folder, bundle.digest)
        if policy.signed_by is not None:
            check_signature(folder, target.project.folder / policy.signed_by)
    except (DataError, OSError) as error:
        raise ActionError(
            f"bundle {bundle.id} ({bundle.digest[:12]}...) cannot come into {target.name}: {error}. Nothing is promoted"
        ) from None


def _behind(source: Workspace, target: Metadata, bundle: Bundle, path: str) -> list[Record]:
    """Return the records that a bundle refers to, as far as there are, and that the target lacks.

    path: of the bundle's files in the target. Ids of the origin's tables, training set and champion, which can mean
    others in the target, get the name of the origin.
    """
    there, environment = source.metadata, source.name
    found: list[Record | None] = [_get(there, FeatureViewVersion, view) for view in bundle.views]
    if bundle.endpoint:
        found.append(_get(there, EndpointVersion, bundle.endpoint))
    if (dataset := _get(there, DatasetVersion, bundle.dataset)) is not None:
        for table in (_get(there, TableVersion, id_) for id_ in dataset.tables.values()):
            if table is not None:
                own = _of(environment, table.id), _of(environment, table.table)
                found.append(msgspec.structs.replace(table, id=own[0], table=own[1]))
        tables = {name: _of(environment, id_) for name, id_ in dataset.tables.items()}
        made_in = dataset.made_in or environment
        found.append(msgspec.structs.replace(dataset, id=_of(environment, dataset.id), tables=tables, made_in=made_in))
    serves = bundle.refit or bundle.run
    for run in (_get(there, Run, id_) for id_ in dict.fromkeys((bundle.run, serves))):
        if run is not None:
            staging = path if run.id == serves else run.staging  # the bundle has all files of the run that serves
            trained_on, made_in = _of(environment, run.dataset), run.made_in or environment
            found.append(msgspec.structs.replace(run, staging=staging, dataset=trained_on, made_in=made_in))
    if (gates := _get(there, GateReport, bundle.gate_report)) is not None:
        champion = None if gates.champion is None else _of(environment, gates.champion)
        found.append(msgspec.structs.replace(gates, champion=champion))
    return [each for each in found if each is not None and _get(target, type(each), each.id) is None]


def _of(environment: str, id_: str) -> str:
    """Return an id of another environment; one of a third environment keeps the name of that one."""
    return id_ if ":" in id_ else f"{environment}:{id_}"


def _get(metadata: Metadata, kind: type[R], id_: str) -> R | None:
    try:
        return metadata.get(kind, id_)
    except NotFound:
        return None
