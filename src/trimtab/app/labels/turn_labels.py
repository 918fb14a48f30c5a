"""Imports labels of turns of a prompt from a file: thumbs, edits, and verdicts of people and judges.

A row is one label: the id of a turn, name, value, and if there are such columns rater and known_at. All rows are taken
or, when one is wrong, none. A label that the log has already is not written again. Users who rated are kept as hashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from trimtab import timestamps
from trimtab.app.labels.importing import CHUNK_ROWS, PATIENCE_S, ImportResult, label_log
from trimtab.app.project.workspace import Workspace
from trimtab.clock import to_micros
from trimtab.data.label_files import MOST_NAMED, column_names
from trimtab.errors import DataError, nearest
from trimtab.llm.redaction.project_key import project_key
from trimtab.stores.predictions import label_rule
from trimtab.stores.predictions.contract import START, Predictions

BLOCK_ROWS = 16_384


class TurnLabel(NamedTuple):
    """One label. known_at: None for now."""

    id: str
    name: str
    rater: str | None
    bad: float
    known_at: int | None

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What several labels must have in common for one of them to count."""
        return self.id, self.name, self.rater


def import_turn_labels(
    workspace: Workspace, path: Path, prompt: str, *, id_column: str, name: str | None = None, dry_run: bool = False
) -> ImportResult:
    """Take the labels in a Parquet or CSV file. Safe to run again.

    name: of all labels, where the file has no column `name`. Raises DataError naming file, row, column and what was
    expected, and StoreError.
    """
    found, waiting = _read(path, id_column, name)
    key = project_key(workspace.root, workspace.project.policy.llm.store.key)
    labels = [
        label._replace(rater=key.of_name("user", f"\x1f{label.rater}"))
        if label.rater is not None and label_rule.source(label.name) == "user"
        else label
        for label in found
    ]
    unmatched = len({label.id for label in labels} - _predicted(workspace.predictions, prompt))
    with label_log(workspace, patience_s=PATIENCE_S) as log:
        new, repeated, contradicting = _new(labels, log, prompt)
        if not dry_run:
            _write(log, prompt, new, now=to_micros(workspace.now()))
    return ImportResult(
        file=str(path),
        model=prompt,
        rows=len(labels) + waiting,
        taken=len(new),
        repeated=repeated,
        contradicting=contradicting,
        waiting=waiting,
        unmatched=unmatched,
        dry_run=dry_run,
    )


def _read(path: Path, id_column: str, name: str | None) -> tuple[list[TurnLabel], int]:
    """Return the labels, and how many rows have no value yet."""
    there = column_names(path)
    for column in (id_column, "value", *(() if name else ("name",))):
        if column not in there:
            hint = "; or give all of them one with --name" if column == "name" else ""
            raise DataError(f"{path}: there is no column '{column}'.{nearest(column, there)}{hint}")
    chosen = [column for column in (id_column, "name", "value", "rater", "known_at") if column in there]
    frame = pl.read_parquet(path, columns=chosen) if path.suffix == ".parquet" else _csv(path, chosen)
    found: list[TurnLabel] = []
    wrong: list[str] = []
    waiting = 0
    for number, row in enumerate(frame.iter_rows(named=True), 1):
        if row["value"] is None:
            waiting += 1
            continue
        try:
            found.append(_label(row, id_column, name))
        except ValueError as error:
            wrong.append(f"row {number}: {error}")
    if wrong:
        more = f"; and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        raise DataError(f"{path}: {'; '.join(wrong[:MOST_NAMED])}{more}")
    return found, waiting


def _csv(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    frame = pl.read_csv(path, columns=list(columns), infer_schema=False)
    return frame.with_columns(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in columns)


def _label(row: dict[str, Any], id_column: str, name: str | None) -> TurnLabel:
    """Return the label of a row. Raises ValueError naming the column and what was expected."""
    id_, named, value = row[id_column], name or row.get("name"), row["value"]
    if not isinstance(id_, str):
        raise ValueError(f"{id_column} is {id_!r}; expected the id of a turn")
    if not isinstance(named, str) or label_rule.NAME.fullmatch(named) is None:
        raise ValueError(f"name is {named!r}; expected {label_rule.EXPECTED_NAME}")
    try:
        number: object = float(value) if isinstance(value, str) else value
    except ValueError:
        number = value
    try:
        bad = label_rule.badness(named, number)
    except ValueError as error:
        raise ValueError(f"value is {value!r:.60}; expected {error}") from None
    told = row.get("known_at")
    known_at = to_micros(told) if isinstance(told, datetime) else None if told is None else timestamps.micros(told)
    if told is not None and known_at is None:
        raise ValueError(f"known_at is {told!r:.60}; expected ISO 8601 text{timestamps.hint(told)}")
    rater = row.get("rater")
    return TurnLabel(id_, named, None if rater is None else str(rater), bad, known_at)


def _predicted(log: Predictions, prompt: str) -> set[str]:
    found: set[str] = set()
    block, cursor = log.read_turns(START, limit=BLOCK_ROWS)
    while block.num_rows:
        frame = pl.DataFrame(block.select(["prediction_id", "model"]))
        found.update(frame.filter(pl.col("model") == prompt)["prediction_id"])
        block, cursor = log.read_turns(cursor, limit=BLOCK_ROWS)
    return found


def _new(labels: list[TurnLabel], log: Predictions, prompt: str) -> tuple[list[TurnLabel], int, int]:
    """Return the labels that are new, and how many repeat and contradict the one that counted before them."""
    known: dict[tuple[str, str, str | None], tuple[float, int]] = {}
    every: set[tuple[tuple[str, str, str | None], float, int]] = set()
    for label in _logged(log, prompt):
        assert label.known_at is not None
        every.add((label.key, label.bad, label.known_at))
        if label.key not in known or label_rule.replaces(label.known_at, known[label.key][1]):
            known[label.key] = label.bad, label.known_at
    new: list[TurnLabel] = []
    repeated = contradicting = 0
    for label in labels:
        before = known.get(label.key)
        same = before is not None and before[0] == label.bad
        if (same and label.known_at is None) or (label.key, label.bad, label.known_at) in every:
            repeated += 1
            continue
        contradicting += before is not None and not same
        new.append(label)
        if label.known_at is not None:
            every.add((label.key, label.bad, label.known_at))
        if before is None or label.known_at is None or label_rule.replaces(label.known_at, before[1]):
            known[label.key] = label.bad, label.known_at or (before[1] if before else 0)
    return new, repeated, contradicting


def _logged(log: Predictions, prompt: str) -> Iterator[TurnLabel]:
    columns = ["prediction_id", "model", "name", "rater", "label", "known_at"]
    block, cursor = log.read_labels(START, limit=BLOCK_ROWS)
    while block.num_rows:
        frame = pl.DataFrame(block.select(columns)).filter(pl.col("model") == prompt, pl.col("name").is_not_null())
        for id_, _, name, rater, bad, known_at in frame.iter_rows():
            yield TurnLabel(id_, name, rater, bad, to_micros(known_at))
        block, cursor = log.read_labels(cursor, limit=BLOCK_ROWS)


def _write(log: Predictions, prompt: str, labels: Sequence[TurnLabel], *, now: int) -> None:
    for start in range(0, len(labels), CHUNK_ROWS):
        some = labels[start : start + CHUNK_ROWS]
        log.append_labels(
            {
                "prediction_id": [label.id for label in some],
                "model": [prompt] * len(some),
                "label": [label.bad for label in some],
                "known_at": [now if label.known_at is None else label.known_at for label in some],
                "received_at": [now] * len(some),
                "name": [label.name for label in some],
                "source": [label_rule.source(label.name) for label in some],
                "rater": [label.rater for label in some],
            }
        )
    log.sync()
