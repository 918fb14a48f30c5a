"""Trains the adapter of a `tt.LoRA` as a run: rows of its table as of now, base, rank, steps and seed are recorded."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from trimtab.app.project.mlflow_access import open_tracking
from trimtab.app.project.workspace import Workspace
from trimtab.definitions.llm.lora import LoRA
from trimtab.errors import DataError, DefinitionError, StageError, nearest
from trimtab.llm.evaluate.items import ITEMS_FILE
from trimtab.llm.local_model.adapter_training import Pair, TrainedAdapter
from trimtab.records.llm import EvalSetVersion
from trimtab.records.training import Run
from trimtab.stores.metadata.contract import latest
from trimtab.training.environment import capture
from trimtab.training.usage import Meter

PROGRAM = "trimtab.llm.local_model.adapter_training"
BASE_FILES = ("*.json", "*.safetensors")
"""What the hash of a base covers: weights, tokenizer, template and settings."""
DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class TunedAdapter:
    """An adapter. folder: its name is the name of the model, with the hash of the adapter. known: trained before."""

    run: Run
    base: Path
    folder: Path
    known: bool


def train_adapter(
    workspace: Workspace, name: str, *, python: Path, tell: Callable[[str], None] = lambda text: None
) -> TunedAdapter:
    """Train the adapter of a `tt.LoRA`, unless the same rows, base and arguments were trained before.

    Args:
        workspace: of the project.
        name: of the LoRA.
        python: interpreter that has torch, transformers and peft.
        tell: is told what goes on.

    Raises:
        DefinitionError: there is no such LoRA, or its base is no folder of a model.
        DataError: its table has no such column, or a row without text.
        StageError: its rows were not ingested yet, or the training failed.
    """
    loras = workspace.project.definitions.loras
    if name not in loras:
        raise DefinitionError(f"definitions.py has no tt.LoRA '{name}'.{nearest(name, loras)}")
    lora = loras[name]
    base = workspace.project.folder / lora.base
    if not (base / "config.json").is_file():
        raise DefinitionError(
            f"LoRA '{name}': base is '{lora.base}', and {base} holds no model: config.json is missing; expected a "
            "folder as transformers saves one"
        )
    pairs = _pairs(workspace, lora)
    rows = b"".join(msgspec.json.encode(each) + b"\n" for each in pairs)
    digest, base_hash = hashlib.sha256(rows).hexdigest(), hash_of(base)
    content = [digest, base_hash, lora.rank, lora.steps, lora.seed]
    key = hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]
    known = latest(workspace.metadata, Run, key=key)
    if known is not None:
        return TunedAdapter(run=known, base=base, folder=workspace.artifacts.open(known.staging), known=True)
    dataset = _kept(workspace, lora, rows, digest, len(pairs))
    environment, tracking = capture(workspace.project.folder), open_tracking(workspace)
    tell(f"{len(pairs):,} rows of {lora.examples.name}, {lora.steps} steps of rank {lora.rank}")
    run_id = tracking.begin(name, key, name=f"{name}-{key[:8]}", tags={"trimtab.dataset": dataset.id})
    with tracking.ending(run_id):
        folder = workspace.artifacts.staging()
        with Meter() as meter:
            trained = _trained(lora, python, base, workspace.artifacts.open(dataset.path) / ITEMS_FILE, folder)
        model_hash, used = hash_of(folder), meter.usage
        record = Run(
            id=run_id,
            created_at=workspace.now(),
            key=key,
            model=name,
            dataset=dataset.id,
            experiment=tracking.experiment_name(name),
            seed=lora.seed,
            params={"base": lora.base, "base_hash": base_hash, "rank": lora.rank, "steps": lora.steps},
            metrics={"loss_before": trained.loss_before, "loss_after": trained.loss_after},
            code_version=environment.code_version,
            environment_hash=environment.hash,
            python=environment.python,
            platform=environment.platform,
            cpu_seconds=used.cpu_seconds,
            wall_seconds=used.wall_seconds,
            peak_memory_mb=used.peak_memory_mb,
            cost=0.0,
            model_hash=model_hash,
            staging=workspace.artifacts.publish(folder, f"adapters/{name}-{model_hash[:DIGITS]}"),
            code_hash=environment.code_hash,
            purpose="tune",
        )
        tracking.finish(record, dataset, metrics=record.metrics, requirements=environment.listing)
    workspace.metadata.put(record)
    return TunedAdapter(run=record, base=base, folder=workspace.artifacts.open(record.staging), known=False)


def hash_of(folder: Path) -> str:
    """Return the SHA-256 over the weights and settings in a folder."""
    found = hashlib.sha256()
    for path in sorted(path for pattern in BASE_FILES for path in folder.glob(pattern)):
        with path.open("rb") as content:
            found.update(f"{path.name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()


def _pairs(workspace: Workspace, lora: LoRA) -> list[Pair]:
    """Return the rows that are known now, in order of time. Those that its checks refused are not in the table."""
    source, where = lora.examples, f"LoRA '{lora.name}'"
    if workspace.tables.version(source.name) is None:
        raise StageError(f"{where}: source '{source.name}' was not ingested yet; run: trimtab ingest")
    rows = workspace.scan(as_of=workspace.now())(source.name)
    columns = rows.collect_schema().names()
    for column in (lora.prompt, lora.answer):
        if column not in columns:
            raise DataError(f"{where}: source '{source.name}' has no column '{column}'.{nearest(column, columns)}")
    texts = (pl.col(lora.prompt).cast(pl.String).alias("prompt"), pl.col(lora.answer).cast(pl.String).alias("answer"))
    known = rows.filter(pl.col(source.known_column) <= workspace.now())
    table = known.sort(source.timestamp, lora.prompt, lora.answer).select(texts).collect()
    if table.is_empty():
        raise DataError(f"{where}: source '{source.name}' has no row that is known now")
    for column, name in (("prompt", lora.prompt), ("answer", lora.answer)):
        if missing := table.filter(pl.col(column).is_null() | (pl.col(column) == "")).height:
            raise DataError(f"{where}: {missing:,} rows of source '{source.name}' have no '{name}'")
    return [Pair(prompt=prompt, answer=answer) for prompt, answer in table.iter_rows()]


def _kept(workspace: Workspace, lora: LoRA, rows: bytes, digest: str, count: int) -> EvalSetVersion:
    """Keep the rows of a training."""
    path = f"evalsets/{lora.examples.name}/{digest[:16]}"
    if not workspace.artifacts.exists(path):
        folder = workspace.artifacts.staging()
        (folder / ITEMS_FILE).write_bytes(rows)
        workspace.artifacts.publish(folder, path)
    found = EvalSetVersion(
        id=f"{lora.examples.name}/{digest[:16]}",
        created_at=workspace.now(),
        name=lora.examples.name,
        hash=digest,
        items=count,
        clusters=count,
        tags={},
        path=path,
    )
    workspace.metadata.put(found)
    return found


def _trained(lora: LoRA, python: Path, base: Path, rows: Path, into: Path) -> TrainedAdapter:
    command = [str(python), "-m", PROGRAM, "--base", str(base), "--rows", str(rows), "--into", str(into)]
    command += ["--rank", str(lora.rank), "--steps", str(lora.steps), "--seed", str(lora.seed)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise StageError(f"LoRA '{lora.name}': {python} cannot be started: {error.strerror}") from None
    if done.returncode:
        raise StageError(f"LoRA '{lora.name}': the training failed: {done.stderr.strip()[-2000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=TrainedAdapter)
