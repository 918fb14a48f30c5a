"""The verb that lists decisions with their reasons and outcomes, or counts the windows in each cell of the matrix."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from trimtab.app.loop.workflows import Workflows
from trimtab.app.reports.decision_list import (
    BRAKES,
    DecisionFilter,
    DecisionOutcome,
    MatrixCell,
    count_cells,
    led_by,
    list_decisions,
)
from trimtab.cli.context import Context, Verbs, option_choice, option_time
from trimtab.cli.terminal import console
from trimtab.cli.views import ACTION_STYLE, counted, table
from trimtab.records.control import Decision, Trigger
from trimtab.records.record import Action

app = Verbs()

ACTIONS: tuple[Action, ...] = get_args(Action)
TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)
SHOWN = 20


@app.verb()
def decisions(
    context: Context,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Of this model; of all by default.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="|".join(ACTIONS), help="Only decisions for this action.")
    ] = None,
    trigger: Annotated[
        str | None, typer.Option("--trigger", metavar="|".join(TRIGGERS), help="Only those that this has led to.")
    ] = None,
    held_by: Annotated[
        str | None, typer.Option("--held-by", metavar="BRAKE", help="Only those that this brake held back.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Windows that end after this event time.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Windows that start before this event time.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most decisions to list; 0 for all.")] = SHOWN,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Count the windows in each cell of the decision matrix instead.")
    ] = False,
) -> None:
    """List decisions with their reasons and outcomes.

    Newest first: what led to each one, the version that was judged, the brake that held it back, the answer of a
    person, and what became of it.
    """
    workspace = context.workspace
    wanted = DecisionFilter(
        model=None if model is None else workspace.served(model).name,
        action=option_choice("--action", action, ACTIONS),
        trigger=option_choice("--trigger", trigger, TRIGGERS),
        held_by=option_choice("--held-by", held_by, tuple(BRAKES)),
        since=option_time("--since", since),
        until=option_time("--until", until),
    )
    if matrix:
        counts = count_cells(workspace, wanted)
        context.show(counts.cells, partial(_show_cells, console, counts.note))
    else:
        with closing(Workflows(workspace.workflows_url)) as workflows:
            died = {each.decision: each.reason for each in workflows.dead()}
        found = list_decisions(workspace, wanted, limit=limit or None, died=died)
        context.show(found, partial(_show_decisions, console))


def _show_decisions(console: Console, found: Sequence[DecisionOutcome]) -> None:
    if not found:
        console.print("no decision matches")
    for one in found:
        d = one.decision
        style = ACTION_STYLE[d.action]
        window = f"{d.start:%Y-%m-%d %H:%M} - {d.end:%Y-%m-%d %H:%M}"
        head = f"[{style}]{d.action:<8}[/]  {escape(d.id)}  {window}  version {d.version}"
        head += f"  by {led_by(d.trigger, d.reasons)}"
        console.print(f"{head}  ({escape(d.band)}, {d.impact} impact){_held(d)}", highlight=False, soft_wrap=True)
        lines = [*d.reasons, *([f"-> {one.state}: {one.became}"] if one.became else [])]
        console.print(Padding("\n".join(map(escape, lines)), (0, 0, 0, 10)), highlight=False)


def _held(decision: Decision) -> str:
    """Return which brake held a decision back, if one did; records of earlier releases do not know it."""
    if not decision.held_by:
        return ""
    until = "" if decision.held_until is None else f" until {decision.held_until:%Y-%m-%d %H:%M}"
    return f"  held back by {BRAKES.get(decision.held_by, decision.held_by)}{until}"


def _show_cells(console: Console, note: str, cells: Sequence[MatrixCell]) -> None:
    made = table("Decision matrix", "p-value band", "impact", "says", ">windows", "what was done")
    for cell in cells:
        says = f"[{ACTION_STYLE[cell.says]}]{cell.says}[/]"
        made.add_row(escape(cell.band), cell.impact, says, f"{cell.windows:,}", counted(cell.actions))
    console.print(made)
    console.print(note)
