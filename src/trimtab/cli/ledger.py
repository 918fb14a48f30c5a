"""The verb that verifies the ledger, and accepts breaks of it."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab import settings
from trimtab.app.project.ledger_checks import REMEDY, accept, describe, verify_ledger
from trimtab.cli.context import Context, Verbs, print_json, require_action
from trimtab.cli.terminal import say
from trimtab.records.control import LedgerEntry

app = Verbs()

ACTIONS = ("verify", "accept")


@app.verb()
def ledger(
    context: Context,
    action: Annotated[str, typer.Argument(metavar="verify|accept", help="verify or accept.")] = "verify",
    expect: Annotated[
        str | None,
        typer.Option("--expect", metavar="HASH", help="A head that was noted elsewhere; it must be in the ledger."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why a break is accepted, for the record.")] = "",
) -> None:
    """Verify the chain of all decisions, or accept breaks of it.

    Exit code 1 when a record does not hold; the first one is named.
    """
    require_action("ledger", action, ACTIONS)
    ws = context.workspace
    if action == "accept":
        done = accept(ws, reason=reason, by=settings.login())
        context.show(done, lambda done: say(*(f"accepted: {text}" for text in done.texts)))
        return
    found = verify_ledger(ws)
    missing = expect is not None and expect not in {one.hash for one in ws.metadata.find(LedgerEntry)}
    if context.json:
        print_json({"state": found, "expected_is_missing": missing})
    else:
        say(*[one.text for one in found.breaks] or [describe(found)])
        if missing:
            say(f"no entry of the ledger has the hash {expect}")
        if found.breaks:
            say(f"-> {REMEDY}")
    if found.breaks or missing:
        raise typer.Exit(1)
