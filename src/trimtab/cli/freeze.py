"""The verbs by which a person holds something back: freeze, unfreeze, and suspects for rows."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from trimtab.app.operations import freezing
from trimtab.app.operations.actors import local_actor
from trimtab.cli.context import Context, Verbs, option_time, require_action
from trimtab.cli.terminal import console, say
from trimtab.cli.views import table
from trimtab.control.holds import freeze_reason
from trimtab.control.suspects import SuspectedStretch, suspected_stretches
from trimtab.errors import UsageError
from trimtab.units import plural

app = Verbs()

Scope = Annotated[str | None, typer.Argument(metavar="MODEL", help="This model; all of them by default.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the record.")]


@app.verb()
def freeze(
    context: Context,
    reason: Why,
    model: Scope = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Event time at which it ends by itself; never by default."),
    ] = None,
) -> None:
    """Let nothing be retrained or promoted for a while.

    A rollback on a broken limit still happens, and commands with `--force`.
    """
    ends = option_time("--until", until)
    made = freezing.freeze(context.workspace, local_actor(), model, reason=reason, until=ends)
    context.show(made, lambda made: say(freeze_reason(made)))


@app.verb()
def unfreeze(
    context: Context,
    reason: Why,
    model: Scope = None,
) -> None:
    """End a freeze.

    What waited for it goes on by itself.
    """
    made = freezing.unfreeze(context.workspace, local_actor(), model, reason=reason)
    what = made.model or "all models"
    context.show(made, lambda made: say(f"{what}: the freeze is ended by {made.by}: {made.reason}"))


ACTIONS = ("list", "let-in", "hold")
TIME = "%Y-%m-%d %H:%M"


@app.verb(model=True)
def suspects(
    context: Context,
    action: Annotated[
        str, typer.Argument(metavar="[list|let-in|hold]", help="list, let-in or hold; list by default.")
    ] = "list",
    start: Annotated[str | None, typer.Argument(metavar="[START]", help="Event time at which the rows begin.")] = None,
    end: Annotated[
        str | None,
        typer.Argument(metavar="[END]", help="Event time at which they end; let-in takes the whole stretch."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record; let-in and hold need it.")] = "",
) -> None:
    """List suspected rows, let them in, or hold others.

    Suspected rows neither train nor judge a model. What is let in is used from the next window and training on.
    """
    require_action("suspects", action, ACTIONS)
    ws, model = context.workspace, context.served.name
    if action == "list":
        if start is not None:
            raise UsageError("trimtab suspects list takes no time; trimtab suspects let-in START, or hold START END")
        found = suspected_stretches(ws.metadata, model)
        context.show(found, partial(_show, console))
        return
    first, last = option_time("START", start), option_time("END", end)
    if first is None:
        raise UsageError(f"which rows? trimtab suspects {action} START{' END' if action == 'hold' else ' [END]'}")
    actor = local_actor()
    if action == "let-in":
        ends = freezing.let_in(ws, actor, model, first, last, reason=reason)
        context.show(ends, lambda ends: say(f"{plural(len(ends), 'window')} from {ends[0].start:{TIME}} UTC on let in"))
        return
    if last is None:
        raise UsageError("until when? trimtab suspects hold START END")
    held = freezing.hold(ws, actor, model, first, last, reason=reason)
    context.show(
        held, lambda s: say(f"rows from {s.start:{TIME}} to {s.end:{TIME}} UTC are held until they are let in")
    )


def _show(console: Console, found: list[SuspectedStretch]) -> None:
    if not found:
        console.print("no rows are or were suspected")
        return
    made = table("Suspected rows", "from", "to", ">windows", "rule", "subject", "state", "why")
    for one in found:
        made.add_row(
            f"{one.start:{TIME}}",
            f"{one.end:{TIME}}",
            str(one.windows),
            one.rule,
            escape(one.subject),
            one.state,
            escape(one.reason),
        )
    console.print(made)
