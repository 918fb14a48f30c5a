"""Verbs of what serves where: promote, in an environment or from another one, and history, which lists the changes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from trimtab.app.delivery import promotion
from trimtab.app.delivery.packed_bundles import PackedRevision, pack_serving
from trimtab.app.operations import rollout_orders
from trimtab.app.operations.actors import local_actor
from trimtab.app.project.project import open_project
from trimtab.app.project.workspace import in_environment
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.cli.context import ASKED, Context, Force, Reason, Verbs, option_time
from trimtab.cli.rollout import apply, read_share, warn_of_loss
from trimtab.cli.terminal import console
from trimtab.cli.views import show_revisions
from trimtab.errors import UsageError
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
) -> None:
    """Make the challenger champion; or bring a bundle from another environment into service.

    Without a challenger, the shadow.
    """
    if from_ is None and to is None:
        for option, value in (("--version", version), ("--as", role), ("--share", share)):
            if value is not None:
                raise UsageError(f"{option} says what to promote from another environment; add --from NAME")
        ws, name = context.workspace, context.definition.name
        apply(context, rollout_orders.promote(ws, local_actor(), name, reason=reason, force=force))
        return
    if from_ is None:
        raise UsageError("--to names where a bundle is to serve; add --from NAME, where it comes from")
    project = open_project(context.project)
    source, target = in_environment(project, from_), in_environment(project, to or context.env)
    bundle = promotion.bundle_to_promote(source, source.model(context.model).name, version)
    before = latest(target.metadata, Revision, model=bundle.model)
    warn_of_loss(source, bundle)
    done = promotion.promote(
        source, target, local_actor(), bundle, reason=reason, role=role, share=read_share(share), force=force
    )
    apply(context, done, workspace=target, before=before)


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
    ws, name = context.workspace, context.definition.name
    if pack is not None:
        if at is not None:
            raise UsageError("--pack and --at exclude each other")
        context.show(pack_serving(ws, name, pack), _show_packed)
        return
    revisions = open_rollouts(ws, name).history()
    time = option_time("--at", at)
    if time is not None:
        revisions = [each for each in revisions if each.created_at <= time][:1]
    context.show(revisions, partial(show_revisions, console))


def _show_packed(revision: PackedRevision) -> None:
    console.print(f"revision {revision.number} of {revision.model}")
    for each in revision.bundles:
        console.print(f"  {each.role:<11} {each.weight:g} %  {each.archive}", soft_wrap=True)
