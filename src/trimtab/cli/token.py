"""The verb that makes, lists and revokes tokens for callers of the gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab import settings, units
from trimtab.app.gateway import tokens
from trimtab.cli.context import ASKED, Context, Verbs, print_json, require_action
from trimtab.cli.terminal import say
from trimtab.errors import UsageError

app = Verbs()

ACTIONS = ("create", "list", "revoke")


@app.verb()
def token(
    context: Context,
    action: Annotated[str, typer.Argument(metavar="create|list|revoke", help="create, list or revoke.")],
    name: Annotated[str | None, typer.Argument(help="Name of the token.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="NAME", help="Model it opens; all by default.")
    ] = None,
    verb: Annotated[
        list[str] | None, typer.Option("--verb", metavar="VERB", help="infer, feedback, read or admin.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="Such as 90d; never by default.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why it is revoked.")] = ASKED,
) -> None:
    """Make, list and revoke tokens for callers of the gateway."""
    require_action("token", action, ACTIONS)
    if action == "list":
        _list(context)
        return
    if name is None:
        raise UsageError(f"which token? trimtab token {action} NAME")
    if action == "create":
        _create(context, name, model or (), verb or tokens.USUAL_PERMISSIONS, expires)
    else:
        ws = context.workspace
        done = tokens.revoke(ws.metadata, ws.clock, name, reason=reason, by=settings.login())
        context.show(done, lambda done: say(f"{done.token} is revoked; a gateway that runs refuses it within a second"))


def _create(
    context: Context,
    name: str,
    models: list[str] | tuple[str, ...],
    verbs: list[str] | tuple[str, ...],
    expires: str | None,
) -> None:
    ws = context.workspace
    for model in models:
        ws.model(model)  # raises UsageError for a name that no model has
    try:
        expires_in = None if expires is None else units.duration(expires)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from None
    made, secret = tokens.create(
        ws.metadata, ws.clock, name, models=models, verbs=verbs, expires_in=expires_in, by=settings.login()
    )
    if context.json:
        print_json({"secret": secret, "token": made})
        return
    typer.echo(secret)
    until = "for ever" if made.expires_at is None else f"until {made.expires_at:%Y-%m-%d %H:%M} UTC"
    opens = ", ".join(made.models) or "all models"
    typer.echo(f"This is shown once. It opens {opens} to {', '.join(made.verbs)}, {until}. Send it as:", err=True)
    typer.echo(f"  Authorization: Bearer {secret[:7]}...", err=True)
    if ws.project.policy.serving.authentication == "none":
        typer.echo(
            "The gateway does not ask for it yet: set serving.authentication to tokens in trimtab.yaml.", err=True
        )


def _list(context: Context) -> None:
    found = tokens.statuses(context.workspace.metadata, context.workspace.clock)
    if context.json:
        print_json([{"state": each.state, "token": each.token, "revocation": each.revocation} for each in found])
        return
    for each in found:
        record = each.token
        until = "" if record.expires_at is None else f"  until {record.expires_at:%Y-%m-%d}"
        say(
            f"{record.name:<20} {each.state:<8} {', '.join(record.verbs):<24} "
            f"{', '.join(record.models) or 'all models'}{until}  by {record.by}"
        )
    if not found:
        say("no tokens yet; make one with: trimtab token create NAME")
