"""The verbs that freeze a model and end a freeze."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab import settings
from trimtab.cli.context import Context, Verbs, option_time
from trimtab.cli.terminal import say
from trimtab.control.holds import ALL_MODELS, freeze_reason, set_freeze

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
    ws = context.workspace
    scope = ALL_MODELS if model is None else ws.model(model).name
    made = set_freeze(
        ws.metadata,
        scope,
        frozen=True,
        reason=reason,
        by=settings.login(),
        clock=ws.clock,
        until=option_time("--until", until),
    )
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
    ws = context.workspace
    scope = ALL_MODELS if model is None else ws.model(model).name
    made = set_freeze(ws.metadata, scope, frozen=False, reason=reason, by=settings.login(), clock=ws.clock)
    what = made.model or "all models"
    context.show(made, lambda made: say(f"{what}: the freeze is ended by {made.by}: {made.reason}"))
