"""Labels from tables: outcomes that a model declares, and files given once. Called by steering and cli.

The rows of each version of a declared source's table become labels once. Then a LabelIntake says so: the newest is
the cursor. A process that dies before it leaves labels that the next one finds in the log, and does not write again.
One process at a time takes outcomes: the one that holds the writer's name in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from trimtab import data
from trimtab.app.known_labels import Judged, KnownLabels, without_prediction
from trimtab.app.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.definitions import Model, Outcomes
from trimtab.errors import Conflict, DataError, DefinitionError, StoreError, TrimtabError, nearest
from trimtab.records import LabelIntake, TableVersion
from trimtab.stores.catalog import open_predictions
from trimtab.stores.metadata import latest
from trimtab.stores.predictions import LABEL_FIELDS, Predictions

log = logging.getLogger(__name__)

WRITER = "outcomes"
"""The name under which labels from tables are written; gateways' workers have numbers."""
CHUNK_ROWS = 10_000
"""Labels of one append."""
PATIENCE_S = 30.0
"""How long a command waits for another process that takes outcomes."""
POLL_S = 0.1
RETRY = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Taken:
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


def take_file(
    workspace: Workspace, path: Path, model: Model, columns: data.OutcomeColumns, *, dry_run: bool = False
) -> Taken:
    """Take the outcomes of a Parquet or CSV file as labels, all or, when one is wrong, none. Safe to run again.

    Raises DataError naming file, row, column and what was expected; StoreError when the log does not take them.
    """
    checked = data.read_outcomes(path, columns, model.task)
    if dry_run:
        judged = _judge(workspace, workspace.predictions, model, checked)
    else:
        with _label_log(workspace, patience_s=PATIENCE_S) as labels:
            judged = _judge(workspace, labels, model, checked)
            _write(workspace, labels, model, judged)
    return Taken(
        file=str(path),
        model=model.name,
        rows=checked.rows.height + checked.waiting,
        taken=judged.news.height,
        repeated=judged.repeated,
        contradicting=judged.contradicting,
        waiting=checked.waiting,
        unmatched=without_prediction(workspace.predictions, model.name, checked.rows["id"]),
        dry_run=dry_run,
    )


def take_tables(
    workspace: Workspace, source: str | None = None, *, patience_s: float = PATIENCE_S
) -> list[LabelIntake]:
    """Take the new rows of all tables of outcomes, or of one, as labels; return what became of each table version.

    patience_s: how long to wait for another process that takes them. Raises DefinitionError for a column that a
    table does not have, and StoreError.
    """
    done: list[LabelIntake] = []
    for model in workspace.project.definitions.models.values():
        outcomes = model.outcomes
        if outcomes is not None and source in (outcomes.source.name, None) and _has_news(workspace, model, outcomes):
            with _label_log(workspace, patience_s=patience_s) as labels:
                done += _take_table(workspace, labels, model, outcomes)
    return done


def columns_of(model: Model, outcomes: Outcomes) -> data.OutcomeColumns:
    """Return the columns that a model's outcomes name."""
    return data.OutcomeColumns(
        prediction_id=outcomes.prediction_id,
        label=outcomes.label or model.label,
        known_at=outcomes.source.known_column,
    )


class OutcomeKeeping:
    """Takes outcomes as soon as a table has some; a failure is told and tried again, and never stops the loop."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._next: datetime = workspace.now()

    def step(self) -> list[LabelIntake]:
        """Take what is new, and return what became of it."""
        if self._workspace.now() < self._next:
            return []
        try:
            done = take_tables(self._workspace, patience_s=0.0)
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


def _has_news(workspace: Workspace, model: Model, outcomes: Outcomes) -> bool:
    newest = latest(workspace.metadata, TableVersion, table=outcomes.source.name)
    return newest is not None and newest.version > _taken_to(workspace, model, outcomes)


def _taken_to(workspace: Workspace, model: Model, outcomes: Outcomes) -> int:
    last = latest(workspace.metadata, LabelIntake, model=model.name, table=outcomes.source.name)
    return -1 if last is None else last.version


def _take_table(workspace: Workspace, labels: Predictions, model: Model, outcomes: Outcomes) -> list[LabelIntake]:
    """Take the versions behind the cursor, which is read again: another process may just have moved it."""
    table, columns = outcomes.source.name, columns_of(model, outcomes)
    cursor = _taken_to(workspace, model, outcomes)
    found = workspace.metadata.find(TableVersion, table=table)
    versions = sorted((v for v in found if v.version > cursor), key=lambda version: version.version)
    if not versions:
        return []
    _expect_columns(workspace, model, versions[-1], columns)
    checked = _checked(workspace, model, columns, versions)
    ids = [each.rows["id"] for each in checked if isinstance(each, data.CheckedOutcomes)]
    known = KnownLabels(labels, model.name, pl.concat([pl.Series([], dtype=pl.String), *ids]))
    done = []
    for version, rows in zip(versions, checked, strict=True):
        intake = _take_version(workspace, labels, model, version, rows, known)
        try:
            workspace.metadata.put(intake)
        except Conflict:  # a log without claims: another process took them at the same time, and wrote first
            log.info("%s was taken by another process, too", intake.id)
        done.append(intake)
    return done


def _take_version(
    workspace: Workspace,
    labels: Predictions,
    model: Model,
    version: TableVersion,
    checked: data.CheckedOutcomes | DataError,
    known: KnownLabels,
) -> LabelIntake:
    refused = str(checked) if isinstance(checked, DataError) else None
    judged = Judged(news=pl.DataFrame(), repeated=0, contradicting=0)
    if isinstance(checked, data.CheckedOutcomes):
        judged = known.judge(checked.rows, now=to_micros(workspace.now()))
        _write(workspace, labels, model, judged)
    return LabelIntake(
        id=f"{model.name}/{version.id}",
        created_at=workspace.now(),
        model=model.name,
        table=version.table,
        version=version.version,
        rows=version.added_rows,
        added=judged.news.height,
        repeated=judged.repeated,
        contradicting=judged.contradicting,
        waiting=0 if isinstance(checked, DataError) else checked.waiting,
        refused=refused,
    )


def _checked(
    workspace: Workspace, model: Model, columns: data.OutcomeColumns, versions: Sequence[TableVersion]
) -> list[data.CheckedOutcomes | DataError]:
    """Return the outcomes of each version, or what is wrong with them."""
    newest, first = versions[-1], versions[0].rows - versions[0].added_rows
    scan = workspace.tables.scan(newest.table, version=newest.version)
    rows = scan.select(columns.names).slice(first).collect()
    found: list[data.CheckedOutcomes | DataError] = []
    for version in versions:
        own = rows.slice(version.rows - version.added_rows - first, version.added_rows)
        try:
            place = f"{version.source} ({version.id})"
            found.append(data.check_outcomes(own, columns, task=model.task, place=place))
        except DataError as error:
            found.append(error)
    return found


def _expect_columns(workspace: Workspace, model: Model, version: TableVersion, columns: data.OutcomeColumns) -> None:
    for name in columns.names:
        if name not in version.schema:
            raise DefinitionError(
                f"{workspace.project.definitions.path}: model '{model.name}': outcomes: source '{version.table}' has "
                f"no column '{name}'.{nearest(name, version.schema)}"
            )


def _judge(workspace: Workspace, labels: Predictions, model: Model, checked: data.CheckedOutcomes) -> Judged:
    known = KnownLabels(labels, model.name, checked.rows["id"])
    return known.judge(checked.rows, now=to_micros(workspace.now()))


def _write(workspace: Workspace, labels: Predictions, model: Model, judged: Judged) -> None:
    """Append labels and put them on disk."""
    now = to_micros(workspace.now())
    for rows in judged.news.iter_slices(CHUNK_ROWS):
        count = rows.height
        values = (rows["id"].to_list(), [model.name] * count, rows["label"].to_list(), rows["known_at"].to_list())
        labels.append_labels(dict(zip(LABEL_FIELDS, (*values, [now] * count), strict=True)))
    labels.sync()


@contextmanager
def _label_log(workspace: Workspace, *, patience_s: float) -> Iterator[Predictions]:
    """Open the log as the writer of outcomes. Raises StoreError when another process is it for too long."""
    url, clock = workspace.environment.predictions, workspace.clock
    labels = open_predictions(url, workspace.root, writer=WRITER, clock=clock)
    try:
        give_up = clock.now() + timedelta(seconds=patience_s)
        while True:
            try:
                labels.append_labels({name: [] for name in LABEL_FIELDS})  # no rows: the name is claimed
                break
            except StoreError:
                if clock.now() >= give_up:
                    raise
            clock.sleep(POLL_S)
        yield labels
    finally:
        labels.close()
