"""Checks the stores of a project inside and against the records, and repairs what can be made again.

A repair deletes nothing: what it replaces is moved into `.trimtab/aside/TIME`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.loop.monitors import CHECKPOINT
from trimtab.app.project.process_files import is_running, read_progress
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import pipeline
from trimtab.bundle.manifest import verify
from trimtab.errors import ActionError, DataError, StoreError, TrimtabError
from trimtab.monitoring.checkpoint import Checkpoint
from trimtab.records.data import TableVersion
from trimtab.records.gate_reports import GateReport
from trimtab.records.training import Bundle, DatasetVersion, Run
from trimtab.stores.catalog import SPEND_FILE
from trimtab.stores.faults import Fault, check_sqlite
from trimtab.stores.metadata.contract import latest
from trimtab.training.mlflow_template import wrong_with
from trimtab.units import plural

STORES = ("metadata", "tables", "online", "artifacts", "predictions")
SQLITE = "sqlite:///"
BACKUP = "restore it from a backup"


@dataclass(frozen=True, kw_only=True)
class StoreFault:
    """A fault, and where it is. bundle: the one that can perhaps be packed again."""

    subject: str
    fault: Fault
    bundle: Bundle | None = None


@dataclass(frozen=True, kw_only=True)
class RepairResult:
    """What became of one fault. done: it was repaired, or would be."""

    subject: str
    done: bool
    text: str


def look_inside(workspace: Workspace) -> Iterator[tuple[str, list[StoreFault]]]:
    """Yield every subject that is looked at, with what is wrong there."""
    damaged: set[str] = set()
    for name in STORES:
        faults = _check(workspace, name)
        damaged |= {name} if faults else set()
        yield f"store {name}", [StoreFault(subject=f"store {name}", fault=fault) for fault in faults]
    yield "registry", list(_registry(workspace))
    yield "workflow database", list(_workflows(workspace))
    if workspace.project.definitions.prompts:
        yield "spend", list(_spend(workspace))
    for subject, name, look in COMPARED:
        if not damaged & {"metadata", name}:
            yield subject, _safely(subject, look(workspace))


def repair(workspace: Workspace, *, dry_run: bool) -> list[RepairResult]:
    """Move aside what can be made again, and pack damaged bundles again. Raises ActionError while the loop runs."""
    gateway, progress = running_gateway(workspace.run_folder), read_progress(workspace.run_folder)
    running = next((p.pid for p in (gateway, progress) if p is not None and is_running(p.pid)), None)
    if running is not None and not dry_run:
        raise ActionError(f"the project is running (process {running}): stop `trimtab up` first, or use --dry-run")
    found = [one for _, faults in look_inside(workspace) for one in faults]
    return [_repair(workspace, one, dry_run=dry_run) for one in found]


def _check(workspace: Workspace, name: str) -> Sequence[Fault]:
    try:
        found: Sequence[Fault] = getattr(workspace, name).check()
    except StoreError as error:
        aside = _folder_of(workspace, name) if name == "online" else ()
        again = "trimtab features" if aside else ""
        return [Fault(text=str(error), remedy="trimtab repair" if aside else BACKUP, aside=aside, again=again)]
    return found


def _folder_of(workspace: Workspace, name: str) -> tuple[Path, ...]:
    folder = workspace.root / name
    return (folder,) if getattr(workspace.environment, name) is None and folder.is_dir() else ()


def _registry(workspace: Workspace) -> Iterator[StoreFault]:
    if (path := _sqlite_file(workspace.tracking_uri)) is not None and (wrong := wrong_with(path) or check_sqlite(path)):
        remedy = "trimtab repair moves it aside; a new one gets the versions of all bundles, but not the runs"
        yield StoreFault(subject="registry", fault=_database(path, wrong, remedy, again="trimtab run"))


def _workflows(workspace: Workspace) -> Iterator[StoreFault]:
    if (path := _sqlite_file(workspace.workflows_url)) is not None and (wrong := check_sqlite(path)):
        remedy = "trimtab repair moves it aside; retrainings that had not ended are lost: trimtab retrain"
        yield StoreFault(subject="workflow database", fault=_database(path, wrong, remedy, again="trimtab up"))


def _spend(workspace: Workspace) -> Iterator[StoreFault]:
    path = workspace.root / SPEND_FILE
    if wrong := check_sqlite(path):
        remedy = (
            f"{BACKUP}; without one, move it away: budgets then begin anew, and what was spent is in the turns alone"
        )
        yield StoreFault(subject="spend", fault=Fault(text=f"{path}: {wrong}", remedy=remedy))


def _sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite database that is there."""
    path = Path(url.removeprefix(SQLITE))
    return path if url.startswith(SQLITE) and path.exists() else None


def _database(path: Path, wrong: str, remedy: str, *, again: str) -> Fault:
    aside = tuple(found for end in ("", "-wal", "-shm") if (found := Path(f"{path}{end}")).exists())
    return Fault(text=f"{path}: {wrong}", remedy=remedy, aside=aside, again=again)


def _tables(workspace: Workspace) -> Iterator[StoreFault]:
    """Hold each table against its newest record."""
    subject = "tables and records"
    for name in workspace.project.definitions.sources:
        record = latest(workspace.metadata, TableVersion, table=name)
        if record is None:
            continue
        newest = workspace.tables.version(name)
        if newest is None or newest < record.version:
            text = f"table '{name}' has lost version {record.version} ({record.source}); it ends at {newest}"
            yield StoreFault(subject=subject, fault=Fault(text=text, remedy="trimtab ingest takes the file in again"))
            continue
        rows = workspace.tables.scan(name, version=record.version).select(pl.len()).collect().item()
        if rows != record.rows:
            text = f"{record.id} has {plural(rows, 'row')}; its record says {record.rows:,}"
            yield StoreFault(subject=subject, fault=Fault(text=text, remedy=BACKUP))


def _bundles(workspace: Workspace) -> Iterator[StoreFault]:
    for bundle in workspace.metadata.find(Bundle):
        wrong = wrong_with_bundle(workspace, bundle)
        if wrong:
            fault = Fault(text=f"bundle {bundle.id}: {wrong}", remedy=f"trimtab repair packs it again, or {BACKUP}")
            yield StoreFault(subject="bundles", fault=fault, bundle=bundle)


def wrong_with_bundle(workspace: Workspace, bundle: Bundle) -> str | None:
    """Return what is wrong with a bundle's files, or None."""
    if not workspace.artifacts.exists(bundle.path):
        return f"its folder {bundle.path} is gone"
    try:
        verify(workspace.artifacts.open(bundle.path), bundle.digest)
    except (DataError, OSError) as error:
        return str(error)
    return None


def _datasets(workspace: Workspace) -> Iterator[StoreFault]:
    for version in workspace.metadata.find(DatasetVersion):
        if version.made_in is None and not workspace.artifacts.exists(version.path):
            text = f"training set {version.id[:12]} is gone ({version.path}): its runs cannot be judged again"
            yield StoreFault(subject="training sets", fault=Fault(text=text, remedy=BACKUP, verdict="warn"))


def _checkpoint(workspace: Workspace) -> Iterator[StoreFault]:
    """The place that the monitor has reached in the prediction log must still be there."""
    try:
        found = msgspec.json.decode((workspace.run_folder / CHECKPOINT).read_bytes(), type=Checkpoint)
    except (OSError, msgspec.DecodeError):
        return  # a hint: without it the monitor reads the log from its beginning
    rows = workspace.predictions.read(found.mark.cursor, limit=1)[0]
    if not rows.num_rows or rows["prediction_id"][0].as_py() != found.mark.first:
        text = "the prediction log lacks the rows that the monitor read last: files are gone, or it is another log"
        yield StoreFault(
            subject="checkpoint", fault=Fault(text=text, remedy=f"{BACKUP}, if rows are missing", verdict="warn")
        )


COMPARED: tuple[tuple[str, str, Callable[[Workspace], Iterator[StoreFault]]], ...] = (
    ("tables and records", "tables", _tables),
    ("bundles", "artifacts", _bundles),
    ("training sets", "artifacts", _datasets),
    ("checkpoint", "predictions", _checkpoint),
)
"""What is held against the records: subject, the store that must be whole for it, and what looks."""


def _safely(subject: str, found: Iterator[StoreFault]) -> list[StoreFault]:
    try:
        return list(found)
    except TrimtabError as error:
        return [StoreFault(subject=subject, fault=Fault(text=str(error), remedy=BACKUP))]


def _repair(workspace: Workspace, found: StoreFault, *, dry_run: bool) -> RepairResult:
    fault, packed, moved = found.fault, "It was packed again from its run", "was moved"
    if dry_run:
        packed, moved = "It would be packed again from its run", "would be moved"
    if found.bundle is not None:
        why = _pack_again(workspace, found.bundle, dry_run=dry_run)
        return RepairResult(subject=found.subject, done=why is None, text=f"{fault.text}. {why or packed}")
    if not fault.aside:
        return RepairResult(subject=found.subject, done=False, text=f"{fault.text}. What you can do: {fault.remedy}")
    target = _aside(workspace)
    if not dry_run:
        for path in fault.aside:
            place = target / (path.relative_to(workspace.root) if path.is_relative_to(workspace.root) else path.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
    names = ", ".join(path.name for path in fault.aside)
    text = f"{fault.text}. {names} {moved} to {target}. Then: {fault.again}"
    return RepairResult(subject=found.subject, done=True, text=text)


def _pack_again(workspace: Workspace, bundle: Bundle, *, dry_run: bool) -> str | None:
    """Make a bundle's folder again with the digest that it was registered with; return why not, or None."""
    try:
        run = workspace.metadata.get(Run, bundle.refit or bundle.run)
        if bundle.origin is not None and run.made_in is not None:
            come_from = f"--from {bundle.origin.environment} --to {workspace.name} --model {bundle.model}"
            number = bundle.origin.bundle.rpartition("/")[2]
            return (
                f"It came from {bundle.origin.environment}. Move {bundle.path} aside in the artifact store, then copy "
                f"it again: trimtab promote {come_from} --version {number}"
            )
        folder = _from_manifest(workspace, bundle, workspace.artifacts.open(run.staging))
        if folder is None:
            folder, digest = pipeline.pack(workspace, run, workspace.metadata.get(GateReport, bundle.gate_report))
            if digest != bundle.digest:
                return f"Its run gives another bundle ({digest[:12]}...): {BACKUP}"
    except (StoreError, DataError, OSError) as error:
        return f"Its run cannot be read ({error}): {BACKUP}"
    if dry_run:
        return None
    if workspace.artifacts.exists(bundle.path):
        damaged = workspace.artifacts.open(bundle.path)
        target = _aside(workspace) / bundle.path
        target.parent.mkdir(parents=True, exist_ok=True)
        damaged.rename(target)
    workspace.artifacts.publish(folder, bundle.path)
    return None


def _from_manifest(workspace: Workspace, bundle: Bundle, run: Path) -> Path | None:
    """Return a folder with every file that the manifest lists, each from where it is whole; None if one is nowhere."""
    if not workspace.artifacts.exists(bundle.path):
        return None
    damaged, folder = workspace.artifacts.open(bundle.path), workspace.artifacts.staging()
    shutil.copytree(run, folder, dirs_exist_ok=True)
    for path in (path for path in damaged.rglob("*") if path.is_file()):
        target = folder / path.relative_to(damaged)
        if not target.exists():  # of the bundle alone: the manifest, the gates' report, a signature
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    try:
        verify(folder, bundle.digest)
    except DataError:
        return None
    return folder


def _aside(workspace: Workspace) -> Path:
    return workspace.root / "aside" / f"{workspace.now():%Y%m%dT%H%M%S}"
