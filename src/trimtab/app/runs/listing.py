"""Lists runs with what came out of them: filtered in MLflow's syntax, best first by a metric."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence

from trimtab.app.project.mlflow_access import open_tracking
from trimtab.app.project.workspace import Workspace
from trimtab.app.runs.run_rows import RunRow, order_of, run_rows
from trimtab.errors import UsageError, nearest
from trimtab.records.training import Run

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


def list_runs(
    workspace: Workspace, *models: str, where: str = "", sort: str = "time", limit: int | None = None
) -> list[RunRow]:
    """Return runs, the newest or the best first. Fits on all rows after the gates stand with the run that was judged.

    Args:
        workspace: an open project.
        models: names; none for all.
        where: filter in MLflow's syntax, such as "metrics.roc_auc > .7 and params.depth = 3"; a parameter that is
            compared with a number is compared as one.
        sort: `time`, a metric, or one of BEST_LOW.
        limit: most runs.

    Raises:
        UsageError: the filter cannot be read, or names a metric or parameter that no run has; `sort` is not known.
    """
    names = [workspace.served(model).name for model in models] or sorted(workspace.project.definitions.served)
    runs = [run for name in names for run in workspace.metadata.find(Run, model=name) if run.refit_of is None]
    if where.strip():
        runs = _matching(workspace, names, runs, where)
    rows = run_rows(workspace, runs)
    order = order_of(sort, rows)
    return sorted(rows, key=order)[:limit]


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
