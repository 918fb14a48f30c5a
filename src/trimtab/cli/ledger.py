"""The verb that verifies the ledger, and accepts breaks of it."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab import settings
from trimtab.app.project.ledger_checks import REMEDY, accept, describe, verify_ledger
from trimtab.cli.options import (
    ENVIRONMENT,
    PROJECT,
    EnvironmentName,
    Json,
    ProjectFolder,
    print_json,
    workspace,
)
from trimtab.cli.terminal import console
from trimtab.errors import UsageError, nearest
from trimtab.records.control import LedgerEntry

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

ACTIONS = ("verify", "accept")


@app.callback()
def group() -> None:
    """Keep the verb a subcommand even while it is the only one."""


@app.command()
def ledger(
    action: Annotated[str, typer.Argument(help="verify or accept.")] = "verify",
    expect: Annotated[
        str | None, typer.Option("--expect", help="A head that was noted elsewhere; it must be in the ledger.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why a break is accepted, for the record.")] = "",
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    json: Json = False,
) -> None:
    """Verify the chain of all that was decided; exit code 1 names the first record that does not hold."""
    if action not in ACTIONS:
        raise UsageError(f"trimtab ledger {action}: no such action.{nearest(action, ACTIONS)}")
    ws = workspace(project, env)
    if action == "accept":
        done = accept(ws, reason=reason, by=settings.login())
        if json:
            print_json(done)
        else:
            for text in done.texts:
                console.print(f"accepted: {text}", soft_wrap=True, highlight=False, markup=False)
        return
    found = verify_ledger(ws)
    missing = expect is not None and expect not in {one.hash for one in ws.metadata.find(LedgerEntry)}
    if json:
        print_json({"state": found, "expected_is_missing": missing})
    elif not found.breaks:
        console.print(describe(found), soft_wrap=True, highlight=False)
    for one in () if json else found.breaks:
        console.print(one.text, soft_wrap=True, highlight=False, markup=False)
    if missing and not json:
        console.print(f"no entry of the ledger has the hash {expect}", soft_wrap=True, highlight=False, markup=False)
    if found.breaks and not json:
        console.print(f"-> {REMEDY}", soft_wrap=True, highlight=False, markup=False)
    if found.breaks or missing:
        raise typer.Exit(1)
