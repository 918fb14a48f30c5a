"""Verbs that change what serves: deploy, step, promote, abandon, rollback; and history, which lists the changes."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from trimtab import settings, units
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.aliases import follow
from trimtab.app.rollout.candidate import lost
from trimtab.app.rollout.rollouts import Rollouts, open_rollouts
from trimtab.app.stages.freshness import bring_bundle_up_to_date
from trimtab.app.stages.view_changes import refuse_lost_views
from trimtab.cli.context import ASKED, Context, Force, Reason, Verbs, print_json, refuse_frozen
from trimtab.cli.terminal import console
from trimtab.cli.views import show_revisions
from trimtab.errors import NotFound, StageError, UsageError
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest

app = Verbs()


@app.verb(model=True)
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
    reason: Reason = ASKED,
    force: Force = False,
) -> None:
    """Bring a bundle into service.

    It becomes champion when there is none, else what the policy's strategy says.
    """
    ws, name = context.workspace, context.definition.name
    refuse_frozen(ws, name, force=force)
    if not force:
        refuse_lost_views(ws, name)
    found = latest(ws.metadata, Bundle, model=name) if version is None else _bundle(ws, f"{name}/{version}")
    if found is None:
        raise StageError(f"model '{name}' has no bundle yet; run: trimtab register")
    rollouts = open_rollouts(ws, name)
    cause, by = _cause(rollouts, f"deploy {found.id}"), settings.login()
    before = rollouts.current()
    warn_of_loss(ws, found)
    bring_bundle_up_to_date(ws, found)
    done = rollouts.deploy(found, cause=cause, reason=reason, by=by, role=role, share=_share(share))
    _apply(context, done, before=before)


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
    refuse_frozen(context.workspace, context.definition.name, force=force)
    rollouts = open_rollouts(context.workspace, context.definition.name)
    cause, by = _cause(rollouts, "step"), settings.login()
    before = rollouts.current()
    _apply(context, rollouts.step(cause=cause, reason=reason, by=by, share=_share(share)), before=before)


@app.verb(model=True)
def promote(context: Context, reason: Reason = ASKED, force: Force = False) -> None:
    """Make the challenger champion.

    Without a challenger, the shadow.
    """
    refuse_frozen(context.workspace, context.definition.name, force=force)
    rollouts = open_rollouts(context.workspace, context.definition.name)
    _apply(context, rollouts.promote(cause=_cause(rollouts, "promote"), reason=reason, by=settings.login()))


@app.verb(model=True)
def abandon(context: Context, reason: Reason = ASKED) -> None:
    """Take the challenger out of service.

    Without a challenger, the shadow.
    """
    rollouts = open_rollouts(context.workspace, context.definition.name)
    _apply(context, rollouts.abandon(cause=_cause(rollouts, "abandon"), reason=reason, by=settings.login()))


@app.verb(model=True)
def rollback(
    context: Context,
    to: Annotated[int | None, typer.Option(help="Number of the revision to restore.")] = None,
    reason: Reason = ASKED,
) -> None:
    """Restore what served before.

    That is what served before the present champion. Takes effect in under a second.
    """
    ws = context.workspace
    rollouts = open_rollouts(ws, context.definition.name)
    target = next((r.bundle_in("champion") for r in rollouts.history() if r.number == to), None)
    if target is not None:  # without a number it is the champion before, whose features are kept up to date
        warn_of_loss(ws, _bundle(ws, target))
        bring_bundle_up_to_date(ws, _bundle(ws, target))
    _apply(context, rollouts.rollback(cause=_cause(rollouts, "rollback"), reason=reason, by=settings.login(), to=to))


@app.verb(model=True)
def history(context: Context) -> None:
    """List what has served, and who asked for it and why.

    Shows every revision, newest first.
    """
    revisions = open_rollouts(context.workspace, context.definition.name).history()
    context.show(revisions, partial(show_revisions, console))


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


def _bundle(ws: Workspace, id_: str) -> Bundle:
    """Return a bundle by its id. Raises UsageError."""
    try:
        return ws.metadata.get(Bundle, id_)
    except NotFound as error:
        raise UsageError(str(error)) from None


def _share(text: str | None) -> float | None:
    """Read a share. Raises UsageError."""
    try:
        return None if text is None else units.share(text)
    except ValueError as error:
        raise UsageError(f"--share: {error}") from None


def _cause(rollouts: Rollouts, what: str) -> str:
    """Return the cause of a change by hand. It differs per revision, so a command that is repeated changes once."""
    now = rollouts.current()
    return f"command/{what}/{now.number if now else 0}"


def _apply(context: Context, revision: Revision, *, before: Revision | None = None) -> None:
    """Print what serves now and what of `before` has ended, then let MLflow's aliases follow.

    The aliases take seconds; when they fail, the change of what serves stays.
    """
    if context.json:
        print_json(revision)
    else:
        unchanged = before is not None and before.id == revision.id
        what = "nothing has changed, it serves already" if unchanged else revision.action
        console.print(f"revision {revision.number} of {revision.model}: {what}")
        for a in revision.assignments:
            console.print(f"  {a.role:<11} {a.bundle}  {a.weight:g} %")
        serving = {each.bundle for each in revision.assignments}
        for a in () if before is None else before.assignments:
            if a.bundle not in serving:
                console.print(f"  ended: {a.role} {a.bundle}, which had {a.weight:g} % of the traffic", soft_wrap=True)
    follow(lambda: context.workspace, revision.model)
