"""The verb that lists, shows and compares runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape

from trimtab.app.project.mlflow_access import open_tracking
from trimtab.app.runs.found_run import find_run
from trimtab.app.runs.listing import list_runs
from trimtab.app.runs.run_diff import Measured, Pair, RunDiff, SameRows, diff_runs
from trimtab.app.runs.run_facts import RunFacts, run_facts
from trimtab.app.runs.run_rows import RunRow
from trimtab.cli.context import Context, Verbs, require_action
from trimtab.cli.data.validate import VERDICT_STYLE
from trimtab.cli.terminal import console, say
from trimtab.cli.views import table
from trimtab.errors import UsageError
from trimtab.units import plural

app = Verbs()

ACTIONS = ("list", "show", "diff")
SHOWN_METRICS = 3
SHOWN_LINES = 60
TIME = "%Y-%m-%d %H:%M"


@app.verb(model=True)
def runs(
    context: Context,
    action: Annotated[
        str, typer.Argument(metavar="[list|show|diff]", help="list, show or diff; list by default.")
    ] = "list",
    a: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Id of a run or its start, a bundle such as delay/3, or a role."),
    ] = None,
    b: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The run that `diff` compares with it.")] = None,
    where: Annotated[
        str,
        typer.Option("--where", metavar="FILTER", help="MLflow's syntax: metrics.roc_auc > .7 and params.depth = 3."),
    ] = "",
    sort: Annotated[
        str, typer.Option("--sort", metavar="METRIC", help="Best first by a metric or by cost; by default the newest.")
    ] = "time",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most runs.")] = 20,
) -> None:
    """List runs, show one, or compare two.

    `diff` compares metrics on rows that neither model was fitted on, with intervals.
    """
    require_action("runs", action, ACTIONS)
    ws = context.workspace
    if action == "list":
        if a is not None:
            raise UsageError(f"trimtab runs list takes no run; trimtab runs show {a}")
        context.show(list_runs(ws, *filter(None, [context.model]), where=where, sort=sort, limit=limit), show_rows)
        return
    if where or sort != "time":
        raise UsageError(f"--where and --sort belong to trimtab runs list, not to {action}")
    if a is None or (action == "diff") != (b is not None):
        raise UsageError(
            "which runs? trimtab runs diff A B" if action == "diff" else "which run? trimtab runs show RUN"
        )
    first = find_run(ws, a, context.model)
    if b is None:
        context.show(run_facts(ws, first, plots=open_tracking(ws).plots(first.id)), show_facts)
    else:
        context.show(diff_runs(ws, first, find_run(ws, b, context.model)), show_diff)


def show_rows(rows: Sequence[RunRow]) -> None:
    """Print runs, one line each."""
    if not rows:
        say("no run")
        return
    models = {row.model for row in rows}
    names = list(dict.fromkeys(name for row in rows for name in list(row.metrics)[:SHOWN_METRICS]))
    several = ["model"] * (len(models) > 1)
    made = table("Runs", "run", *several, "time", "verdict", "bundle", *(f">{n}" for n in names), "data set", ">cost")
    for row in rows:
        verdict = row.verdict or ""
        made.add_row(
            row.id[:8],
            *([row.model] if several else []),
            f"{row.created_at:{TIME}}",
            f"[{VERDICT_STYLE[row.verdict]}]{verdict}[/]" if row.verdict else "",
            row.bundle or "",
            *(f"{row.metrics[name]:.4f}" if name in row.metrics else "" for name in names),
            row.dataset[:8],
            f"{row.cost:.5f}",
        )
    console.print(made)


def show_facts(facts: RunFacts) -> None:
    """Print all that is known of a run."""
    for name, value in msgspec.to_builtins(facts, enc_hook=str).items():
        if value is None or value in ("", (), {}):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {_figure(each)}" for key, each in value.items())
        elif isinstance(value, tuple):
            value = "\n".join(map(str, value))
        label = name.replace("_", " ")
        for line in str(value).splitlines():
            say(f"{label:<14}{line}")
            label = ""


def show_diff(diff: RunDiff) -> None:
    """Print what differs between two runs."""
    say(f"a: run {diff.a}", f"b: run {diff.b}" + ("; the model is the same to the byte" if diff.same_model else ""))
    if diff.same_rows is not None:
        _show_same_rows(diff.same_rows)
    else:
        say(f"no comparison on the same rows: {diff.not_compared}")
        _show_pairs("metrics, each on its own holdout", diff.metrics)
    _show_pairs("parameters", diff.params)
    _show_pairs("training set", {**diff.dataset, **{f"table {name}": pair for name, pair in diff.tables.items()}})
    _show_pairs("features (place)", diff.features)
    _show_pairs("environment", diff.environment)
    if not diff.code:
        say("code: the same")
        return
    lines = diff.code.splitlines()
    console.print("[bold]code[/]")
    say(*lines[:SHOWN_LINES])
    if len(lines) > SHOWN_LINES:
        say(f"... {plural(len(lines) - SHOWN_LINES, 'more line')}; all of them: --json")


def _show_same_rows(same: SameRows) -> None:
    span = f"{same.start:{TIME}} to {same.end:{TIME}} UTC"
    title = f"On the same {plural(same.rows, 'row')}, {span}; 95 % intervals by {same.clusters}"
    made = table(title, "metric", ">a", "", ">b", "", ">b better by", "", "better")
    for name, found in same.metrics.items():
        made.add_row(name, *_cells(found))
    console.print(made)
    say(f"scores of one row differ by up to {same.largest_difference:.4g}")


def _cells(found: Measured) -> list[str]:
    ends = [_interval(each) for each in (found.interval_a, found.interval_b, found.interval_gain)]
    values = (f"{found.a:.4f}", f"{found.b:.4f}", f"{found.gain:+.4f}")
    return [*(cell for pair in zip(values, ends, strict=True) for cell in pair), found.better or "not known"]


def _interval(ends: tuple[float, float] | None) -> str:
    return "not defined" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def _show_pairs(what: str, pairs: Mapping[str, Pair]) -> None:
    if not pairs:
        say(f"{what}: the same")
        return
    made = table(what, "", "a", "b")
    for name, pair in pairs.items():
        made.add_row(escape(name), escape(_figure(pair.a)), escape(_figure(pair.b)))
    console.print(made)


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple) and not value:
        return "none"
    return f"{value:{TIME}}" if hasattr(value, "strftime") else str(value)
