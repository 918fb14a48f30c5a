"""The verb that makes, lists and revokes tokens for callers of the gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab import units
from trimtab.app.gateway import tokens
from trimtab.app.operations.actors import actor_of, local_actor
from trimtab.app.operations.token_orders import create_token, revoke_token
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
        list[str] | None,
        typer.Option("--verb", metavar="VERB", help="infer, chat, embed, pin, feedback, read, trigger or admin."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="Such as 90d; never by default.")
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="viewer, developer, approver or admin in pages and control API; by default as the verbs say: admin "
            "with admin, viewer with read.",
        ),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", metavar="NAME", help="Budget of its calls of prompts.")] = "",
    limits: Annotated[str, typer.Option("--limits", metavar="NAME", help="Limits of its calls of prompts.")] = "",
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
        _create(context, name, model or (), verb or tokens.USUAL_PERMISSIONS, expires, role, budget, limits)
    else:
        done = revoke_token(context.workspace, local_actor(), name, reason=reason)
        context.show(done, lambda done: say(f"{done.token} is revoked; a gateway that runs refuses it within a second"))


def _create(
    context: Context,
    name: str,
    models: list[str] | tuple[str, ...],
    verbs: list[str] | tuple[str, ...],
    expires: str | None,
    role: str | None,
    budget: str,
    limits: str,
) -> None:
    ws = context.workspace
    try:
        expires_in = None if expires is None else units.duration(expires)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from None
    made, secret = create_token(
        ws,
        local_actor(),
        name,
        models=models,
        verbs=verbs,
        expires_in=expires_in,
        role=role,
        budget=budget,
        limits=limits,
    )
    if context.json:
        print_json({"secret": secret, "token": made})
        return
    typer.echo(secret)
    until = "for ever" if made.expires_at is None else f"until {made.expires_at:%Y-%m-%d %H:%M} UTC"
    opens = ", ".join(made.models) or "all models"
    holder = actor_of(made)
    role_said = "" if holder is None else f", as {holder.role}"
    typer.echo(
        f"This is shown once. It opens {opens} to {', '.join(made.verbs)}{role_said}, {until}. Send it as:", err=True
    )
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
        record, holder = each.token, actor_of(each.token)
        until = "" if record.expires_at is None else f"  until {record.expires_at:%Y-%m-%d}"
        say(
            f"{record.name:<20} {each.state:<8} {holder.role if holder else '-':<10} {', '.join(record.verbs):<24} "
            f"{', '.join(record.models) or 'all models'}{until}  by {record.by}"
        )
    if not found:
        say("no tokens yet; make one with: trimtab token create NAME")
