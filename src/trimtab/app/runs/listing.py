"""Lists runs with what came out of them: filtered in MLflow's syntax, best first by a metric."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from trimtab.app.project.mlflow_access import open_tracking
from trimtab.app.project.workspace import Workspace
from trimtab.errors import UsageError, nearest
from trimtab.metric_catalog import METRICS
from trimtab.records.gate_reports import GateReport
from trimtab.records.record import Verdict
from trimtab.records.training import Bundle, Run

AND = re.compile(r"\s+and\s+(?=(?:[^']*'[^']*')*[^']*$)", re.IGNORECASE)
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
NUMERIC = re.compile(
    rf"\s*(?:params?|parameters)\.[`\"]?(?P<name>[^`\"\s=<>!]+)[`\"]?\s*"
    rf"(?P<sign>=|!=|<=|>=|<|>)\s*(?P<value>{NUMBER})\s*"
)
"""A parameter compared with a number. MLflow stores parameters as text and compares them as such."""
NAMED = re.compile(r"\b(?P<kind>metrics?|params?|parameters)\.(?:`([^`]+)`|\"([^\"]+)\"|([\w./-]+))")
SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
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


def list_runs(
    workspace: Workspace, model: str | None = None, *, where: str = "", sort: str = "time", limit: int | None = None
) -> list[RunRow]:
    """Return runs, the newest or the best first. Fits on all rows after the gates stand with the run that was judged.

    Args:
        workspace: an open project.
        model: name of a model; None: of all.
        where: filter in MLflow's syntax, such as "metrics.roc_auc > .7 and params.depth = 3"; a parameter that is
            compared with a number is compared as one.
        sort: `time`, a metric, or one of BEST_LOW.
        limit: most runs.

    Raises:
        UsageError: the filter cannot be read, or names a metric or parameter that no run has; `sort` is not known.
    """
    models = [workspace.model(model).name] if model is not None else sorted(workspace.project.definitions.models)
    runs = [run for name in models for run in workspace.metadata.find(Run, model=name) if run.refit_of is None]
    if where.strip():
        runs = _matching(workspace, models, runs, where)
    rows = _rows(workspace, models, runs)
    order = _order(sort, rows)
    return sorted(rows, key=order)[:limit]


def _rows(workspace: Workspace, models: Sequence[str], runs: Iterable[Run]) -> list[RunRow]:
    verdicts, bundles, refits = dict[str, Verdict](), dict[str, str](), dict[str, str]()
    for name in models:
        for report in workspace.metadata.find(GateReport, model=name, oldest_first=True):
            verdicts[report.run] = report.verdict
        for bundle in workspace.metadata.find(Bundle, model=name, oldest_first=True):
            bundles[bundle.run] = bundle.id
        refits |= {run.refit_of: run.id for run in workspace.metadata.find(Run, model=name) if run.refit_of is not None}
    return [
        RunRow(
            verdict=verdicts.get(run.id),
            bundle=bundles.get(run.id),
            refit=refits.get(run.id),
            **{name: getattr(run, name) for name in RunRow.__struct_fields__ if name in Run.__struct_fields__},
        )
        for run in runs
    ]


def _order(sort: str, rows: Sequence[RunRow]) -> Callable[[RunRow], tuple[float, float]]:
    """Return the key of an order in which the best come first; runs without the metric come last."""
    name = sort.removeprefix("metrics.")
    if name == "time":
        return lambda row: (-row.created_at.timestamp(), 0.0)
    if name in BEST_LOW:
        return lambda row: (float(getattr(row, name)), -row.created_at.timestamp())
    known = {metric for row in rows for metric in row.metrics}
    if rows and name not in known:
        raise UsageError(f"--sort {sort}: no run has it.{nearest(name, [*known, *BEST_LOW, 'time'])}")
    sign = -1 if name not in METRICS or METRICS[name].higher_is_better else 1
    return lambda row: (sign * row.metrics[name] if name in row.metrics else math.inf, -row.created_at.timestamp())


def _matching(workspace: Workspace, models: Sequence[str], runs: Sequence[Run], where: str) -> list[Run]:
    """Return the runs that match a filter. MLflow judges all but comparisons of parameters with numbers."""
    rest, found = list[str](), list(runs)
    for clause in AND.split(where.strip()):
        numeric = NUMERIC.fullmatch(clause)
        if numeric is None:
            rest.append(clause)
        else:
            name, compare, value = numeric["name"], SIGNS[numeric["sign"]], float(numeric["value"])
            found = [run for run in found if (own := _number(run, name)) is not None and compare(own, value)]
    if rest:
        try:
            ids = open_tracking(workspace).matching(models, " and ".join(rest))
        except UsageError as error:
            raise UsageError(
                f"--where: {error}. Expected comparisons joined by 'and', such as metrics.roc_auc > 0.7 and "
                "params.depth = 3 and tags.`trimtab.verdict` = 'pass'"
            ) from None
        found = [run for run in found if run.id in ids]
    if not found:
        _check_names(where, runs)
    return found


def _number(run: Run, name: str) -> float | None:
    """Return a parameter as a number, None if it is missing or no number."""
    value = run.seed if name == "seed" else run.params.get(name)
    if isinstance(value, bool):
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # None and lists raise what is caught
    except (TypeError, ValueError):
        return None


def _check_names(where: str, runs: Sequence[Run]) -> None:
    """Raise UsageError for a metric or parameter that no run has, which would match nothing without a word."""
    params = {name for run in runs for name in run.params} | {"seed"}
    metrics = {name for run in runs for name in run.metrics}
    for found in NAMED.finditer(re.sub(r"'[^']*'", "''", where)):
        name = next(part for part in found.groups()[1:] if part)
        kind, known = ("metric", metrics) if found["kind"].startswith("metric") else ("parameter", params)
        if runs and name not in known:
            raise UsageError(f"--where: no run has the {kind} '{name}'.{nearest(name, known)}")
