"""The loss of each row of two tables that hold labels and scores, as one more column that is compared.

A change of it is a change of the concept: of how labels follow from what a model says. The loss is counted beyond what
scores lead to expect, so that harder rows alone change nothing (monitoring.expectation).

binary      (label - p) ^ 2 - p (1 - p)
multiclass  log loss - entropy, with a probability below LEAST counted as LEAST
regression  squared error
anomaly     1 for a wrong decision
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from trimtab.data.table_scan import TableScan
from trimtab.errors import DataError, UsageError, nearest
from trimtab.metric_catalog import TASKS, Task
from trimtab.monitoring.expectation import LEAST
from trimtab.tasks import RULES

COLUMN = "loss"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Which columns of the tables hold labels and scores."""

    task: Task
    label: str
    scores: Mapping[str, str]
    """Column of the probability of each class of a multiclass model, by class; of other models one column."""
    threshold: float | None = None
    """Score from which on a row is an anomaly."""


def judged_of(task: str, label: str | None, scores: str | None, threshold: float | None) -> Judged:
    """Return what the options of a command say. scores: `COLUMN`, or `CLASS=COLUMN,...`. Raises UsageError."""
    if task not in TASKS:
        raise UsageError(f"--task is '{task}'; expected one of {', '.join(TASKS)}.{nearest(task, TASKS)}")
    if label is None or not scores:
        raise UsageError("--task needs --label COLUMN and --scores COLUMN: its losses follow from both")
    named = [part.strip() for part in scores.split(",") if part.strip()]
    by_class = {part.rpartition("=")[0] or part: part.rpartition("=")[2] for part in named}
    rules = RULES[task]
    if rules.by_class and len(by_class) < 2:
        raise UsageError("--scores of a multiclass model are of two classes or more: CLASS=COLUMN,CLASS=COLUMN")
    if not rules.by_class and len(by_class) > 1:
        raise UsageError(f"--scores names {len(by_class)} columns; a {task} model has one")
    if rules.output == "anomaly_score" and threshold is None:
        raise UsageError("--task anomaly needs --threshold SCORE: from it on a row is an anomaly")
    if rules.output != "anomaly_score" and threshold is not None:
        raise UsageError(f"--threshold is for --task anomaly; leave it out for {task}")
    return Judged(task=task, label=label, scores=by_class, threshold=threshold)


def with_losses(table: TableScan, judged: Judged) -> TableScan:
    """Return a table with the column of losses. Raises DataError for missing columns and labels, and wrong values."""
    frame, path = table.frame, table.path
    schema = frame.collect_schema()
    for column in (judged.label, *judged.scores.values()):
        if column not in schema:
            raise DataError(f"{path}: there is no column '{column}'.{nearest(column, schema)}")
    if COLUMN in schema:
        raise DataError(f"{path} has a column '{COLUMN}' already; rename it, or leave --task out")
    loss = _loss(judged, {name: pl.col(column).cast(pl.Float64) for name, column in judged.scores.items()})
    frame = frame.with_columns(loss.alias(COLUMN))
    lost = int(frame.select((~pl.col(COLUMN).is_finite().fill_null(value=False)).sum()).collect().item())
    if lost:
        raise DataError(
            f"{path}: {lost:,} rows have no label in '{judged.label}' that is {RULES[judged.task].expected}, or no "
            "score; compare rows whose labels are known"
        )
    if RULES[judged.task].by_class:
        named = pl.col(judged.label).cast(pl.String).is_in(list(judged.scores))
        if not frame.select(named.any()).collect().item():
            raise DataError(
                f"{path}: no label in '{judged.label}' is one of the classes {', '.join(judged.scores)}; --scores is "
                "CLASS=COLUMN,CLASS=COLUMN"
            )
    return replace(table, frame=frame)


def _loss(judged: Judged, scores: Mapping[str, pl.Expr]) -> pl.Expr:
    if RULES[judged.task].by_class:
        label = pl.col(judged.label).cast(pl.String)
        true = pl.when(label.is_null()).then(None).otherwise(0.0)
        for name, p in scores.items():
            true = pl.when(label == name).then(p).otherwise(true)
        entropy = pl.sum_horizontal(*(p * p.clip(LEAST, None).log() for p in scores.values()))
        return entropy - true.clip(LEAST, None).log()
    (score,) = scores.values()
    y = pl.col(judged.label).cast(pl.Float64, strict=False)
    if RULES[judged.task].has_threshold:
        y = pl.when(y.is_in([0.0, 1.0])).then(y)
    if judged.threshold is not None:
        return ((score >= judged.threshold).cast(pl.Float64) - y).abs()
    squared = (y - score) ** 2
    return squared - score * (1 - score) if judged.task == "binary" else squared
