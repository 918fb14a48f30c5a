"""Imports labels: from the tables of outcomes that a model declares, and from files.

The rows of each version of a declared table become labels once. A LabelIntake records that; the newest one is the
cursor. When a process dies before it writes the LabelIntake, the next one finds the labels in the log and does not
write them again. One process at a time imports: it holds the writer's name, in the log and in the project's folder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from trimtab.app.labels.label_dedup import LabelCounts, LabelDedup
from trimtab.app.project.definitions_file import DEFINITIONS
from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.data.label_files import OutcomeColumns, check_outcomes, in_blocks, read_outcomes
from trimtab.definitions.models import Model, Outcomes
from trimtab.errors import Conflict, DataError, DefinitionError, StoreError, TrimtabError, nearest
from trimtab.records.data import TableVersion
from trimtab.records.monitoring import LabelIntake
from trimtab.records.training import DatasetVersion
from trimtab.stores.catalog import open_predictions
from trimtab.stores.metadata.contract import latest
from trimtab.stores.predictions.contract import LABEL_FIELDS, Predictions
from trimtab.stores.predictions.embedded.writer_lock import WriterLock
from trimtab.tasks import RULES

log = logging.getLogger(__name__)

WRITER = "outcomes"
"""The name under which labels from tables are written; gateways' workers have numbers."""
CHUNK_ROWS = 10_000
"""Labels of one append."""
PATIENCE_S = 30.0
"""How long a command waits for another process that takes outcomes."""
POLL_S = 0.1
RETRY = timedelta(minutes=1)


class Part(NamedTuple):
    """The outcomes of one version among all that are taken: their places, or why there are none."""

    version: TableVersion
    first: int
    last: int
    waiting: int
    refused: str | None


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What became of the rows of one file."""

    file: str
    model: str
    rows: int
    taken: int
    """Labels that went into the label log, or would have in a dry run."""
    repeated: int
    contradicting: int
    """Of those taken: they say something else than a label before; the latest known_at counts."""
    waiting: int
    """Rows without an outcome yet."""
    unmatched: int
    """Rows whose id no prediction of the model in the log has."""
    dry_run: bool


def import_file(
    workspace: Workspace, path: Path, model: Model, columns: OutcomeColumns, *, dry_run: bool = False
) -> ImportResult:
    """Take the outcomes of a Parquet or CSV file as labels, all or, when one is wrong, none. Safe to run again.

    Raises DataError naming file, row, column and what was expected; StoreError when the log does not take them.
    """
    waiting = 0
    with closing(_dedup(model, columns)) as known:
        classes = declared_classes(model), trained_classes(workspace, model)
        for block in read_outcomes(path, columns, model.task, *classes):
            known.add(block.rows)
            waiting += block.waiting
        known.learn_predictions(workspace.predictions)  # before the log is claimed: others wait for it
        if dry_run:
            _judge(workspace, workspace.predictions, known)
        else:
            with label_log(workspace, patience_s=PATIENCE_S) as labels:
                _judge(workspace, labels, known)
                _write(workspace, labels, model, known, 0, known.rows)
        judged = known.judged(0, known.rows)
        return ImportResult(
            file=str(path),
            model=model.name,
            rows=known.rows + waiting,
            taken=judged.new,
            repeated=judged.repeated,
            contradicting=judged.contradicting,
            waiting=waiting,
            unmatched=known.unmatched,
            dry_run=dry_run,
        )


def import_tables(
    workspace: Workspace, source: str | None = None, *, patience_s: float = PATIENCE_S
) -> list[LabelIntake]:
    """Take the new rows of all tables of outcomes, or of one, as labels; return what became of each table version.

    patience_s: how long to wait for another process that takes them. Raises DefinitionError for a column that a
    table does not have, and StoreError.
    """
    done: list[LabelIntake] = []
    for model in workspace.project.definitions.models.values():
        outcomes = model.outcomes
        if (
            outcomes is not None
            and source in (outcomes.source.name, None)
            and _has_new_version(workspace, model, outcomes)
        ):
            with label_log(workspace, patience_s=patience_s) as labels:
                done += _import_table(workspace, labels, model, outcomes)
    return done


def columns_of(model: Model, outcomes: Outcomes) -> OutcomeColumns:
    """Return the columns that a model's outcomes name."""
    return OutcomeColumns(
        prediction_id=outcomes.prediction_id,
        label=outcomes.label or model.column_of_outcome(),
        known_at=outcomes.source.known_column,
    )


def declared_classes(model: Model) -> tuple[str, ...]:
    """Return the names of the classes that a model declares; empty where they are those of its training rows."""
    return tuple(map(str, model.classes or ()))


def trained_classes(workspace: Workspace, model: Model) -> frozenset[str]:
    """Return the names of the classes of a model's training sets; empty where the model declares its classes."""
    if model.classes is not None or not RULES[model.task].by_class:
        return frozenset()
    sets = workspace.metadata.find(DatasetVersion, model=model.name)
    return frozenset(name for each in sets for name in each.classes)


def _dedup(model: Model, columns: OutcomeColumns) -> LabelDedup:
    return LabelDedup(model.name, timed=columns.known_at is not None, named=RULES[model.task].by_class)


class OutcomeImporter:
    """Imports outcomes as soon as a table has new ones. Failures are logged and tried again; the loop goes on."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._next: datetime = workspace.now()

    def step(self) -> list[LabelIntake]:
        """Import new outcomes, and return what became of them."""
        if self._workspace.now() < self._next:
            return []
        try:
            done = import_tables(self._workspace, patience_s=0.0)
        except TrimtabError as error:
            self._next = self._workspace.now() + RETRY
            log.error("outcomes could not be taken as labels: %s; trying again in %s", error, RETRY)
            return []
        for intake in done:
            if intake.refused is not None:
                log.error("%s: %s", intake.id, intake.refused)
            else:
                log.info("%s: %d labels taken from %d rows", intake.id, intake.added, intake.rows)
        return done


def _has_new_version(workspace: Workspace, model: Model, outcomes: Outcomes) -> bool:
    newest = latest(workspace.metadata, TableVersion, table=outcomes.source.name)
    return newest is not None and newest.version > _taken_to(workspace, model, outcomes)


def _taken_to(workspace: Workspace, model: Model, outcomes: Outcomes) -> int:
    last = latest(workspace.metadata, LabelIntake, model=model.name, table=outcomes.source.name)
    return -1 if last is None else last.version


def _import_table(workspace: Workspace, labels: Predictions, model: Model, outcomes: Outcomes) -> list[LabelIntake]:
    """Take the versions behind the cursor, which is read again: another process may just have moved it."""
    table, columns = outcomes.source.name, columns_of(model, outcomes)
    cursor = _taken_to(workspace, model, outcomes)
    found = workspace.metadata.find(TableVersion, table=table)
    versions = sorted((v for v in found if v.version > cursor), key=lambda version: version.version)
    if not versions:
        return []
    _expect_columns(workspace, model, versions[-1], columns)
    done = []
    with closing(_dedup(model, columns)) as known:
        rows = workspace.tables.scan(table, version=versions[-1].version).select(columns.names)
        classes = trained_classes(workspace, model)
        parts = [_part(rows, model, columns, version, known, classes) for version in versions]
        _judge(workspace, labels, known)
        for part in parts:
            _write(workspace, labels, model, known, part.first, part.last)
            intake = _intake(workspace, model, part, known.judged(part.first, part.last))
            try:
                workspace.metadata.put(intake)
            except Conflict:  # a log without claims: another process took them at the same time, and wrote first
                log.info("%s was taken by another process, too", intake.id)
            done.append(intake)
    return done


def _intake(workspace: Workspace, model: Model, part: Part, judged: LabelCounts) -> LabelIntake:
    version = part.version
    return LabelIntake(
        id=f"{model.name}/{version.id}",
        created_at=workspace.now(),
        model=model.name,
        table=version.table,
        version=version.version,
        rows=version.added_rows,
        added=judged.new,
        repeated=judged.repeated,
        contradicting=judged.contradicting,
        waiting=part.waiting,
        refused=part.refused,
    )


def _part(
    rows: pl.LazyFrame,
    model: Model,
    columns: OutcomeColumns,
    version: TableVersion,
    known: LabelDedup,
    classes: frozenset[str],
) -> Part:
    """Add the outcomes of a version, all or, when one is wrong, none. rows: the whole table. classes: trained on."""
    blocks = in_blocks(rows.slice(version.rows - version.added_rows, version.added_rows))
    first, waiting, place = known.rows, 0, f"{version.source} ({version.id})"
    try:
        declared = declared_classes(model)
        checked = check_outcomes(blocks, columns, task=model.task, classes=declared, known=classes, place=place)
        for block in checked:
            known.add(block.rows)
            waiting += block.waiting
    except DataError as error:
        known.take_back(first)
        return Part(version, first, first, 0, str(error))
    return Part(version, first, known.rows, waiting, None)


def _expect_columns(workspace: Workspace, model: Model, version: TableVersion, columns: OutcomeColumns) -> None:
    for name in columns.names:
        if name not in version.schema:
            where = workspace.project.folder / (model.place or DEFINITIONS)
            raise DefinitionError(
                f"{where}: model '{model.name}': outcomes: source '{version.table}' has "
                f"no column '{name}'.{nearest(name, version.schema)}"
            )


def _judge(workspace: Workspace, labels: Predictions, known: LabelDedup) -> None:
    known.learn_labels(labels)
    known.judge(now=to_micros(workspace.now()))


def _write(workspace: Workspace, labels: Predictions, model: Model, known: LabelDedup, first: int, last: int) -> None:
    """Append the new labels among some outcomes, and put them on disk."""
    now = to_micros(workspace.now())
    for block in known.new(first, last, limit=CHUNK_ROWS):
        ids, values, times = zip(*block, strict=True)
        count, by_class = len(ids), RULES[model.task].by_class
        columns = {
            "prediction_id": ids,
            "model": [model.name] * count,
            "label": [None] * count if by_class else values,
            "known_at": times,
            "received_at": [now] * count,
        }
        labels.append_labels(columns | ({"class_name": values} if by_class else {}))
    labels.sync()


@contextmanager
def label_log(workspace: Workspace, *, patience_s: float) -> Iterator[Predictions]:
    """Open the log as the writer of outcomes. Raises StoreError when another process is it for too long."""
    url, clock = workspace.environment.predictions, workspace.clock
    labels = open_predictions(url, workspace.root, writer=WRITER, clock=clock)
    lock = WriterLock(workspace.root, WRITER, clock)  # for logs without locks of their own: Kafka
    try:
        give_up = clock.now() + timedelta(seconds=patience_s)
        while True:
            try:
                labels.append_labels({name: [] for name in LABEL_FIELDS})  # no rows: the name is claimed
                lock.acquire()
                break
            except StoreError:
                if clock.now() >= give_up:
                    raise
            clock.sleep(POLL_S)
        yield labels
    finally:
        try:
            labels.close()
        finally:
            lock.release()
