"""Runs as rows of a list, with what became of each. It reads records alone, and loads no data library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from trimtab.app.project.workspace import Workspace
from trimtab.errors import UsageError, nearest
from trimtab.metric_catalog import METRICS
from trimtab.records.gate_reports import GateReport
from trimtab.records.record import Verdict
from trimtab.records.training import REFIT, Bundle, Run

CHUNK = 500
"""Runs whose records are looked up in one search."""
BEST_LOW = ("cost", "cpu_seconds", "wall_seconds", "peak_memory_mb")
"""Fields of a run that it can be sorted by, the lowest first."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run, and what became of it."""

    id: str
    model: str
    created_at: datetime
    verdict: Verdict | None
    """Of the newest report of the gates; None: it was not judged."""
    bundle: str | None
    """Id of the bundle that it became."""
    refit: str | None
    """Id of the run that serves in its place, fitted on all rows."""
    metrics: Mapping[str, float]
    params: Mapping[str, Any]
    seed: int
    dataset: str
    code_version: str
    cost: float
    cpu_seconds: float
    wall_seconds: float
    peak_memory_mb: float


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows of a sorted or filtered list. found: rows of the whole list."""

    rows: tuple[RunRow, ...]
    found: int


def run_rows(workspace: Workspace, runs: Sequence[Run]) -> list[RunRow]:
    """Return judged runs as rows, in their order."""
    verdicts, bundles, refits = dict[str, Verdict](), dict[str, str](), dict[str, str]()
    for part in _chunks(runs):
        ids = tuple(run.id for run in part)
        for report in workspace.metadata.find(GateReport, run=ids, oldest_first=True):
            verdicts[report.run] = report.verdict
        for bundle in workspace.metadata.find(Bundle, run=ids, oldest_first=True):
            bundles[bundle.run] = bundle.id
        for refit in workspace.metadata.find(Run, key=tuple(f"{run.key}{REFIT}" for run in part)):
            if refit.refit_of is not None:
                refits[refit.refit_of] = refit.id
    return [
        RunRow(
            verdict=verdicts.get(run.id),
            bundle=bundles.get(run.id),
            refit=refits.get(run.id),
            **{name: getattr(run, name) for name in RunRow.__struct_fields__ if name in Run.__struct_fields__},
        )
        for run in runs
    ]


def order_of(sort: str, rows: Sequence[RunRow]) -> Callable[[RunRow], tuple[float, float]]:
    """Return the key of an order in which the best come first; runs without the metric come last."""
    name = sort.removeprefix("metrics.")
    if name == "time":
        return lambda row: (-row.created_at.timestamp(), 0.0)
    if name in BEST_LOW:
        return lambda row: (float(getattr(row, name)), -row.created_at.timestamp())
    known = {metric for row in rows for metric in row.metrics}
    if rows and name not in known:
        raise UsageError(f"sort {sort}: no run has it.{nearest(name, [*known, *BEST_LOW, 'time'])}")
    sign = -1 if name not in METRICS or METRICS[name].higher_is_better else 1
    return lambda row: (sign * row.metrics[name] if name in row.metrics else math.inf, -row.created_at.timestamp())


def _chunks(runs: Sequence[Run]) -> Iterator[Sequence[Run]]:
    for start in range(0, len(runs), CHUNK):
        yield runs[start : start + CHUNK]
