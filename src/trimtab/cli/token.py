"""The verb that makes, lists and revokes tokens for callers of the gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab import settings, units
from trimtab.app.gateway import tokens
from trimtab.app.project.workspace import Workspace
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

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

ACTIONS = ("create", "list", "revoke")


@app.callback()
def group() -> None:
    """Keep the verb a subcommand even while it is the only one."""


@app.command()
def token(
    action: Annotated[str, typer.Argument(help="create, list or revoke.")],
    name: Annotated[str | None, typer.Argument(help="Name of the token.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Model it opens; all by default.")] = None,
    verb: Annotated[list[str] | None, typer.Option("--verb", help="infer, feedback, read or admin.")] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="Such as 90d; never by default.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why it is revoked.")] = "asked for on the command line",
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    json: Json = False,
) -> None:
    """Make, list and revoke tokens for callers of the gateway."""
    if action not in ACTIONS:
        raise UsageError(f"trimtab token {action}: no such action.{nearest(action, ACTIONS)}")
    ws = workspace(project, env)
    if action == "list":
        _list(ws, json)
        return
    if name is None:
        raise UsageError(f"which token? trimtab token {action} NAME")
    if action == "create":
        _create(ws, name, model or (), verb or tokens.USUAL_VERBS, expires, json)
    else:
        _revoke(ws, name, reason, json)


def _create(
    ws: Workspace,
    name: str,
    models: list[str] | tuple[str, ...],
    verbs: list[str] | tuple[str, ...],
    expires: str | None,
    json: bool,
) -> None:
    for model in models:
        ws.model(model)  # a name that is none says so
    try:
        expires_in = None if expires is None else units.duration(expires)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from None
    made, secret = tokens.create(
        ws.metadata, ws.clock, name, models=models, verbs=verbs, expires_in=expires_in, by=settings.login()
    )
    if json:
        print_json({"secret": secret, "token": made})
        return
    typer.echo(secret)
    until = "for ever" if made.expires_at is None else f"until {made.expires_at:%Y-%m-%d %H:%M} UTC"
    opens = ", ".join(made.models) or "all models"
    typer.echo(f"This is shown once. It opens {opens} to {', '.join(made.verbs)}, {until}. Send it as:", err=True)
    typer.echo(f"  Authorization: Bearer {secret[:7]}...", err=True)
    if ws.project.policy.serving.authentication == "none":
        typer.echo("Nobody is asked for it yet: set serving.authentication to tokens in trimtab.yaml.", err=True)


def _list(ws: Workspace, json: bool) -> None:
    found = tokens.statuses(ws.metadata, ws.clock)
    if json:
        print_json([{"state": each.state, "token": each.token, "revocation": each.revocation} for each in found])
        return
    for each in found:
        record = each.token
        until = "" if record.expires_at is None else f"  until {record.expires_at:%Y-%m-%d}"
        console.print(
            f"{record.name:<20} {each.state:<8} {', '.join(record.verbs):<24} "
            f"{', '.join(record.models) or 'all models'}{until}  by {record.by}",
            markup=False,
        )
    if not found:
        console.print("no tokens yet; make one with: trimtab token create NAME")


def _revoke(ws: Workspace, name: str, reason: str, json: bool) -> None:
    done = tokens.revoke(ws.metadata, ws.clock, name, reason=reason, by=settings.login())
    if json:
        print_json(done)
        return
    console.print(f"{done.token} is revoked; a gateway that runs refuses it within a second")
