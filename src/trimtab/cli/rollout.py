"""Verbs that change what serves: deploy, step, abandon, rollback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab import units
from trimtab.app.operations import deploying, rollout_orders
from trimtab.app.operations.actors import local_actor
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.aliases import follow
from trimtab.app.rollout.candidate import lost
from trimtab.app.rollout.rollouts import open_rollouts
from trimtab.app.stages import pipeline
from trimtab.cli.context import ASKED, Context, Force, Reason, Verbs, print_json
from trimtab.cli.terminal import console, say, write_file
from trimtab.errors import NotFound, UsageError
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest

app = Verbs()

BROUGHT_IN = frozenset({"deploy", "challenge", "shadow"})
"""Changes of a revision that bring a new bundle into service."""


@app.verb(model=True, stage=True)
def deploy(
    context: Context,
    version: Annotated[int | None, typer.Option(help="Version to deploy; the newest by default.")] = None,
    role: Annotated[
        Role | None, typer.Option("--as", help="What it becomes; the policy's strategy decides by default.")
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="Share of the traffic of a challenger, such as 25%; the policy's by default."
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Change nothing when it is in service, or came into service for this reason."),
    ] = False,
    version_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the version that is champion then into this file.")
    ] = None,
    reason: Reason = ASKED,
    force: Force = False,
) -> None:
    """Bring a bundle into service.

    It becomes champion when there is none, else what the policy's strategy says.
    """
    ws, name = context.workspace, context.served.name
    found = pipeline.newest(ws, Bundle, name) if version is None else _bundle(ws, f"{name}/{version}")
    before = latest(ws.metadata, Revision, model=name)
    if once and (earlier := _came_before(ws, found, role, reason)) is not None:
        context.show(earlier, lambda _: say(_unchanged(ws, found, earlier)))
        _write_champion(ws, name, version_file)
        return
    warn_of_loss(ws, found)
    done = deploying.deploy(ws, local_actor(), found, reason=reason, role=role, share=read_share(share), force=force)
    apply(context, done, before=before)
    _write_champion(ws, name, version_file)


@app.verb(model=True)
def step(
    context: Context,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="Share of the traffic, such as 25%; the next one of canary.steps by default."
        ),
    ] = None,
    reason: Reason = ASKED,
    force: Force = False,
) -> None:
    """Give the challenger another share of the traffic."""
    ws, name = context.workspace, context.served.name
    before = latest(ws.metadata, Revision, model=name)
    done = rollout_orders.step(ws, local_actor(), name, reason=reason, share=read_share(share), force=force)
    apply(context, done, before=before)


@app.verb(model=True)
def abandon(context: Context, reason: Reason = ASKED) -> None:
    """Take the challenger out of service.

    Without a challenger, the shadow.
    """
    ws, name = context.workspace, context.served.name
    apply(context, rollout_orders.abandon(ws, local_actor(), name, reason=reason))


@app.verb(model=True)
def rollback(
    context: Context,
    to: Annotated[int | None, typer.Option(help="Number of the revision to restore.")] = None,
    cut: Annotated[
        bool, typer.Option("--cut", help="Of a prompt: end the answers that the champion is streaming, too.")
    ] = False,
    reason: Reason = ASKED,
) -> None:
    """Restore what served before.

    That is what served before the present champion. Takes effect in under a second.
    """
    ws, name = context.workspace, context.served.name
    if to is None:
        apply(context, rollout_orders.rollback(ws, local_actor(), name, reason=reason, cut=cut))
        return
    target = deploying.champion_of(ws, name, to)
    if target is not None:
        warn_of_loss(ws, target)
    apply(context, deploying.restore(ws, local_actor(), name, to, reason=reason, cut=cut))


def _write_champion(ws: Workspace, model: str, file: Path | None) -> None:
    """Write the version that is champion into a file. Raises UsageError when it cannot be written."""
    now = open_rollouts(ws, model).current()
    if file is not None and now is not None:
        versions = [f"{each.version}\n" for each in now.assignments if each.role == "champion"]
        write_file("--version-file", file, "".join(versions), make_folder=True)


def warn_of_loss(ws: Workspace, bundle: Bundle) -> None:
    """Warn on standard error when a bundle that is about to be deployed was taken out of service on evidence."""
    if found := lost(ws.metadata, bundle.model, bundle.id):
        typer.echo(f"warning: {found}", err=True)
        typer.echo(f"  it is deployed since you asked; to undo that: trimtab rollback --model {bundle.model}", err=True)


def is_past(ws: Workspace, bundle: Bundle, revision: Revision) -> bool:
    """Return True if a later revision than the one a command asked for serves without the bundle."""
    now = open_rollouts(ws, bundle.model).current()
    return now is not None and now.number > revision.number and all(a.bundle != bundle.id for a in now.assignments)


def not_again(ws: Workspace, bundle: Bundle, revision: Revision) -> str:
    """Return a text: the bundle was deployed before and is not deployed again, and why it no longer serves."""
    why = lost(ws.metadata, bundle.model, bundle.id) or f"{bundle.id} was replaced since"
    return (
        f"nothing has changed: {bundle.id} was deployed by revision {revision.number}, and is not deployed again. "
        f"{why}. To deploy it nevertheless: trimtab deploy --model {bundle.model} --version {bundle.version}"
    )


def _came_before(ws: Workspace, bundle: Bundle, role: Role | None, reason: str) -> Revision | None:
    """Return the present revision if a bundle serves in a role, else the one that brought it there for a reason."""

    def has(revision: Revision) -> bool:
        return any(each.bundle == bundle.id and role in (None, each.role) for each in revision.assignments)

    found = [each for each in ws.metadata.find(Revision, model=bundle.model) if has(each)]
    now = open_rollouts(ws, bundle.model).current()
    if now is not None and has(now):
        return now
    return next((each for each in found if each.action in BROUGHT_IN and each.reason == reason), None)


def _unchanged(ws: Workspace, bundle: Bundle, revision: Revision) -> str:
    if is_past(ws, bundle, revision):
        return not_again(ws, bundle, revision)
    return f"nothing has changed: {bundle.id} is in service, by revision {revision.number}"


def _bundle(ws: Workspace, id_: str) -> Bundle:
    """Return a bundle by its id. Raises UsageError."""
    try:
        return ws.metadata.get(Bundle, id_)
    except NotFound as error:
        raise UsageError(str(error)) from None


def read_share(text: str | None) -> float | None:
    """Read a share. Raises UsageError."""
    try:
        return None if text is None else units.share(text)
    except ValueError as error:
        raise UsageError(f"--share: {error}") from None


def apply(
    context: Context, revision: Revision, *, before: Revision | None = None, workspace: Workspace | None = None
) -> None:
    """Print what serves now and what of `before` has ended, then let MLflow's aliases follow.

    workspace: of the environment that has changed; None: that of the command. The aliases take seconds; when they fail,
    the change of what serves stays.
    """
    ws = workspace or context.workspace
    if context.json:
        print_json(revision)
    else:
        unchanged = before is not None and before.id == revision.id
        what = "nothing has changed, it serves already" if unchanged else revision.action
        where = "" if workspace is None else f" in {workspace.name}"
        console.print(f"revision {revision.number} of {revision.model}{where}: {what}")
        for a in revision.assignments:
            console.print(f"  {a.role:<11} {a.bundle}  {a.weight:g} %")
        serving = {each.bundle for each in revision.assignments}
        for a in () if before is None else before.assignments:
            if a.bundle not in serving:
                console.print(f"  ended: {a.role} {a.bundle}, which had {a.weight:g} % of the traffic", soft_wrap=True)
    follow(lambda: ws, revision.model)
