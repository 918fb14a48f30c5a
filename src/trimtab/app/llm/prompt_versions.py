"""Versions of prompts: as the project has them now, packed for the gates, and registered as bundles."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trimtab import settings
from trimtab.app.project.mlflow_access import mirror_prompt, open_registry, restore_registry
from trimtab.app.project.workspace import Workspace
from trimtab.bundle.manifest import write_manifest
from trimtab.bundle.prompt_spec import (
    PROMPT_FILE,
    TURN_CATEGORIES,
    TURN_FEATURES,
    EndpointSpec,
    PromptSpec,
    RetrieverSpec,
    read_prompt,
    write_prompt,
)
from trimtab.bundle.signature import sign
from trimtab.bundle.spec import Spec, write_spec
from trimtab.errors import DataError, StageError, nearest
from trimtab.gates.report import refuse
from trimtab.gates.verdict_files import write_verdict
from trimtab.llm.document_index import Document, DocumentIndex
from trimtab.llm.prompt_assembly import assemble
from trimtab.metric_catalog import CHAT
from trimtab.monitoring.reference import Reference
from trimtab.records.data import TableVersion
from trimtab.records.gate_reports import GateReport
from trimtab.records.llm import EndpointVersion
from trimtab.records.training import Bundle, Run
from trimtab.stores.metadata.contract import latest

LABEL = "bad_turn"
THRESHOLD = 0.5
FLAGS = dict.fromkeys(("refused", "format_ok", "cut"), ("no", "yes"))
"""Features of a turn that are 0 or 1, as categories."""
REFERENCE = "reference/windows.json"
HASH_DIGITS = 12


def current_spec(workspace: Workspace, prompt: str | None = None) -> PromptSpec:
    """Return the version of a prompt that the project describes now. None: of its only prompt.

    Raises DefinitionError.
    """
    project = workspace.project
    with project.definitions.placed():
        spec = assemble(project.definitions.prompt(prompt), project.definitions, project.folder)
    if spec.retriever is None:
        return spec
    retriever = msgspec.structs.replace(spec.retriever, index=index_of(workspace, spec.retriever).hash)
    return msgspec.structs.replace(spec, retriever=retriever)


def index_of(workspace: Workspace, retriever: RetrieverSpec) -> DocumentIndex:
    """Return the documents that the table of a retriever has now. Raises StageError where it is empty, DataError."""
    if latest(workspace.metadata, TableVersion, table=retriever.table) is None:
        raise StageError(
            f"retriever '{retriever.name}': table '{retriever.table}' is empty; run: trimtab ingest {retriever.table}"
        )
    rows = workspace.scan()(retriever.table)
    for column in (retriever.id, retriever.text):
        if column not in (known := rows.collect_schema().names()):
            raise DataError(
                f"retriever '{retriever.name}': table '{retriever.table}' has no column '{column}'."
                f"{nearest(column, known)}"
            )
    found = rows.select(retriever.id, retriever.text).collect().rows()
    try:
        documents = [Document(str(id_), text) for id_, text in found if id_ is not None and text]
        return DocumentIndex.of(documents, embed="tfidf" if retriever.embed == "tfidf" else "all-minilm-l6-v2")
    except DataError as error:
        raise DataError(f"retriever '{retriever.name}', table '{retriever.table}': {error}") from None


def load_prompt(workspace: Workspace, bundle: Bundle) -> PromptSpec:
    """Return the version of a prompt that a bundle holds. Raises DataError, NotFound."""
    return read_prompt(workspace.artifacts.open(bundle.path))


def stage_prompt(
    workspace: Workspace,
    spec: PromptSpec,
    *,
    run: str,
    dataset: str = "",
    files: Mapping[str, bytes] | None = None,
    categories: Mapping[str, tuple[str, ...]] | None = None,
) -> str:
    """Pack a version of a prompt before its gates, and return the folder in the artifact store, for `Run.staging`.

    Args:
        workspace: of the project.
        spec: the version.
        run: id of the run that judges it.
        dataset: id of the EvalSetVersion that it is judged on; empty without one.
        files: further files, content by relative path, such as the reference of monitoring.
        categories: known values of the features of turns that are categories, where they are known.
    """
    folder = workspace.artifacts.staging()
    if spec.retriever is not None:
        index = index_of(workspace, spec.retriever)
        if index.hash != spec.retriever.index:
            raise StageError(
                f"the documents of table '{spec.retriever.table}' have changed meanwhile; run: trimtab run"
            )
        files = {**(files or {}), **index.files()}
    write_prompt(folder, spec)
    write_spec(
        folder,
        Spec(
            model=spec.name,
            task=CHAT,
            label=LABEL,
            features=TURN_FEATURES,
            request_columns=(),
            entity_keys=(),
            timestamp="",
            threshold=THRESHOLD,
            run=run,
            dataset=dataset,
            views=(),
            code_hash=spec.prompt_hash,
            runtime="chat",
            model_file=PROMPT_FILE,
            feature_types=dict.fromkeys(TURN_CATEGORIES, "category"),
            feature_categories={**FLAGS, **(categories or {})},
        ),
    )
    _write(folder, files or {})
    return workspace.artifacts.publish(folder, f"runs/{spec.name}/{run}")


def register_prompt(
    workspace: Workspace, run: Run, report: GateReport, files: Mapping[str, bytes] | None = None
) -> Bundle:
    """Make the bundle of a version of a prompt that passed its gates, and register it.

    Args:
        workspace: of the project.
        run: its `staging` is the packed version; without one, the version that the project has now is packed.
        report: of the gates.
        files: further files, content by relative path.

    Raises:
        GateRefused: a gate failed.
        StageError: the run has no staging, and the prompt has changed since.
    """
    refuse(report)
    if (known := latest(workspace.metadata, Bundle, run=run.id)) is not None:
        return known
    staging = run.staging or _packed_again(workspace, run)
    folder = workspace.artifacts.staging()
    shutil.copytree(workspace.artifacts.open(staging), folder, dirs_exist_ok=True)
    spec = read_prompt(folder)
    _write(folder, files or {})
    write_verdict(folder, report)
    (folder / "gate_report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    digest = write_manifest(folder)
    if (key := settings.read().signing_key) is not None:
        sign(folder, key.expanduser())
    path = workspace.artifacts.publish(folder, f"bundles/{run.model}/{digest[:16]}")
    published = workspace.artifacts.open(path)
    endpoint = endpoint_version(workspace, spec.target.endpoint)
    for other in spec.fallbacks:
        endpoint_version(workspace, other.endpoint)
    restore_registry(workspace, run.model)
    tags = {"trimtab.gates": report.verdict, "trimtab.kind": "prompt"}
    version = open_registry(workspace).register(run.model, run, published.as_uri(), digest, run.key, tags=tags)
    reference = published / REFERENCE
    bundle = Bundle(
        id=f"{run.model}/{version}",
        created_at=workspace.now(),
        model=run.model,
        version=version,
        run=run.id,
        dataset=run.dataset,
        gate_report=report.id,
        digest=digest,
        path=path,
        features=TURN_FEATURES,
        views=(),
        threshold=THRESHOLD,
        usual=Reference.from_json(reference.read_bytes()).usual() if reference.is_file() else {},
        kind="prompt",
        endpoint=endpoint.id,
        upstream_model=spec.target.model,
        prompt_hash=spec.prompt_hash,
    )
    workspace.metadata.put(bundle)
    mirror_prompt(workspace, run.model)
    return bundle


def endpoint_version(workspace: Workspace, endpoint: EndpointSpec) -> EndpointVersion:
    """Return the record of an endpoint as it is defined now; write it if it is new."""
    prices = msgspec.json.encode(endpoint.prices, order="deterministic").decode()
    text = msgspec.json.encode((endpoint.url, endpoint.usage, endpoint.reasoning, prices))
    digest = hashlib.sha256(text).hexdigest()
    id_ = f"{endpoint.name}/{digest[:HASH_DIGITS]}"
    known = [each for each in workspace.metadata.find(EndpointVersion, name=endpoint.name) if each.id == id_]
    if known:
        return known[0]
    made = EndpointVersion(
        id=id_,
        created_at=workspace.now(),
        name=endpoint.name,
        url=endpoint.url,
        models=tuple(endpoint.prices),
        prices=prices,
        hash=digest,
    )
    workspace.metadata.put(made)
    return made


def _packed_again(workspace: Workspace, run: Run) -> str:
    """Pack the version that the project has now, if the run judged the same one. Raises StageError."""
    spec = current_spec(workspace, run.model)
    if spec.prompt_hash != run.model_hash:
        raise StageError(
            f"prompt '{run.model}' has changed since run {run.id} judged it; run: trimtab eval, then register that run"
        )
    return stage_prompt(workspace, spec, run=run.id, dataset=run.dataset)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
