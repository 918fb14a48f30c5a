"""Verbs of what serves where: promote, in an environment or from another one, and history, which lists the changes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import typer

from trimtab.app.delivery import promotion
from trimtab.app.delivery.packed_bundles import PackedRevision, pack_serving
from trimtab.app.operations import rollout_orders
from trimtab.app.operations.actors import command_actor, local_actor, signed_in
from trimtab.app.operations.promotion_requests import (
    PromotionState,
    PromotionVerdict,
    answer_promotion,
    find_request,
    promotion_states,
    told,
)
from trimtab.app.project.project import open_project
from trimtab.app.project.workspace import Workspace, in_environment
from trimtab.app.reports.served_at import served_at
from trimtab.app.rollout.rollouts import first_command, open_rollouts
from trimtab.cli.context import (
    ASKED,
    AskedReason,
    Context,
    Force,
    Reason,
    Verbs,
    option_choice,
    option_time,
    require_action,
)
from trimtab.cli.rollout import apply, read_share, warn_of_loss
from trimtab.cli.terminal import console, say
from trimtab.cli.views import show_promotions, show_revisions, show_served
from trimtab.errors import Forbidden, UsageError
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import latest

app = Verbs()


@app.verb(model=True)
def promote(
    context: Context,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="Environment whose bundle comes into this one.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="NAME", help="Environment that it comes into; --env by default."),
    ] = None,
    version: Annotated[int | None, typer.Option(help="Version to promote from there; the champion by default.")] = None,
    role: Annotated[
        Role | None, typer.Option("--as", help="What it becomes; the policy's strategy decides by default.")
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="Share of the traffic of a challenger, such as 25%; the policy's by default."
        ),
    ] = None,
    reason: Reason = ASKED,
    force: Force = False,
    again: Annotated[bool, typer.Option("--again", help="Ask anew for an approval that was rejected.")] = False,
) -> None:
    """Make the challenger champion; or bring a bundle from another environment into service.

    Without a challenger, the shadow.
    """
    if from_ is None and to is None:
        for option, value in (("--version", version), ("--as", role), ("--share", share)):
            if value is not None:
                raise UsageError(f"{option} says what to promote from another environment; add --from NAME")
        ws, name = context.workspace, context.served.name
        apply(context, rollout_orders.promote(ws, local_actor(), name, reason=reason, force=force))
        return
    project = open_project(context.project)
    target = in_environment(project, to or context.env)
    comes_from = from_ or target.environment.from_
    if comes_from is None:
        raise UsageError("--to names where a bundle is to serve; add --from NAME, where it comes from")
    if comes_from == (to or context.env):
        raise UsageError(f"{comes_from} cannot be promoted onto itself; name another environment: --from or --to")
    source = in_environment(project, comes_from)
    bundle = promotion.bundle_to_promote(source, source.model(context.model).name, version)
    before = latest(target.metadata, Revision, model=bundle.model)
    warn_of_loss(source, bundle)
    done = promotion.promote(
        source, target, command_actor(target), bundle,
        reason=reason, role=role, share=read_share(share), force=force, again=again,
    )  # fmt: skip
    apply(context, done, workspace=target, before=before)


ACTIONS: tuple[PromotionVerdict, ...] = get_args(PromotionVerdict)


@app.verb()
def promotions(
    context: Context,
    action: Annotated[str, typer.Argument(metavar="list|approve|reject", help="list, approve or reject.")],
    request: Annotated[str | None, typer.Argument(metavar="ID", help="Id of the request.")] = None,
    reason: AskedReason = None,
) -> None:
    """List requests to promote a bundle into an environment, approve one, or reject it."""
    require_action("promotions", action, ("list", *ACTIONS))
    ws = context.workspace
    if action == "list":
        context.show(promotion_states(ws), partial(show_promotions, console))
        return
    if request is None:
        raise UsageError(f"which request? trimtab promotions {action} ID --env {context.env}")
    actor = command_actor(ws)
    if ws.environment.approvals and ws.project.policy.console.authentication == "tokens" and not signed_in():
        raise Forbidden(
            f"environment {ws.name} asks people for tokens: set TRIMTAB_TOKEN to yours, or answer in its console"
        )
    find_request(ws, actor, request)  # before a reason is asked for
    reason = typer.prompt("Reason") if reason is None else reason
    verdict = option_choice("action", action, ACTIONS)
    assert verdict is not None  # require_action has seen to it
    found = answer_promotion(ws, actor, request, verdict, reason=reason)
    context.show(found, lambda found: say(f"{found.request.id}: {told(found)}{carry_out(ws, found)}"))


@app.verb(model=True)
def history(
    context: Context,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Only the revision that served at a time.")
    ] = None,
    pack: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the bundles that serve now into this folder, each as a .tar.gz."),
    ] = None,
) -> None:
    """List what has served, and who asked for it and why.

    Shows every revision, newest first; with --pack what serves now, and the archives.
    """
    ws, name = context.workspace, context.served.name
    if pack is not None:
        if at is not None:
            raise UsageError("--pack and --at exclude each other")
        context.show(pack_serving(ws, name, pack), _show_packed)
        return
    revisions = open_rollouts(ws, name).history()
    if (time := option_time("--at", at)) is None:
        context.show(revisions, partial(show_revisions, console, first=first_command(ws)))
    else:
        context.show(served_at(ws, name, time), partial(show_served, console))


def carry_out(ws: Workspace, found: PromotionState) -> str:
    """Return what to run for an approved request."""
    if found.state != "approved":
        return ""
    asked = found.request
    role = f" --as {asked.role}" if asked.role else ""
    share = f" --share {asked.share:.4g}" if asked.share is not None else ""
    return (
        f". Now run: trimtab promote --from {asked.environment} --to {ws.name} --model {asked.model} "
        f"--version {asked.bundle.rpartition('/')[2]}{role}{share}"
    )


def _show_packed(revision: PackedRevision) -> None:
    console.print(f"revision {revision.number} of {revision.model}")
    for each in revision.bundles:
        console.print(f"  {each.role:<11} {each.weight:g} %  {each.archive}", soft_wrap=True)
