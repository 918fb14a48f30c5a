"""Verbs that change what serves: deploy, step, promote, abandon, rollback; and history, which tells what did."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab import settings, units
from trimtab.app.project.workspace import Workspace
from trimtab.app.rollout.aliases import follow
from trimtab.app.rollout.candidate import lost
from trimtab.app.rollout.rollouts import Rollouts, open_rollouts
from trimtab.app.stages.freshness import bring_bundle_up_to_date
from trimtab.cli.options import (
    ENVIRONMENT,
    PROJECT,
    EnvironmentName,
    Json,
    ModelName,
    ProjectFolder,
    Reason,
    print_json,
    workspace,
)
from trimtab.cli.terminal import console
from trimtab.cli.views import show_revisions
from trimtab.errors import NotFound, StageError, UsageError
from trimtab.records.record import Role
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.stores.metadata.contract import latest

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

ASKED = "asked for on the command line"


@app.command()
def deploy(
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    model: ModelName = None,
    version: Annotated[int | None, typer.Option(help="Version to deploy; the newest by default.")] = None,
    role: Annotated[
        Role | None, typer.Option("--as", help="What it becomes; the policy's strategy decides by default.")
    ] = None,
    share: Annotated[
        str | None, typer.Option(help="Share of the traffic of a challenger, such as 25%; the policy's by default.")
    ] = None,
    reason: Reason = ASKED,
    json: Json = False,
) -> None:
    """Bring a bundle into service: as champion when there is none, else as the policy's strategy says."""
    ws = workspace(project, env)
    name = ws.model(model).name
    found = latest(ws.metadata, Bundle, model=name) if version is None else _bundle(ws, f"{name}/{version}")
    if found is None:
        raise StageError(f"model '{name}' has no bundle yet; run: trimtab register")
    rollouts = open_rollouts(ws, name)
    cause, by = _cause(rollouts, f"deploy {found.id}"), settings.login()
    before = rollouts.current()
    warn_of_loss(ws, found)
    bring_bundle_up_to_date(ws, found)
    done = rollouts.deploy(found, cause=cause, reason=reason, by=by, role=role, share=_share(share))
    _apply(ws, done, json, before=before)


@app.command()
def step(
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    model: ModelName = None,
    share: Annotated[
        str | None, typer.Option(help="Share of the traffic, such as 25%; the next one of canary.steps by default.")
    ] = None,
    reason: Reason = ASKED,
    json: Json = False,
) -> None:
    """Give the challenger another share of the traffic."""
    ws = workspace(project, env)
    rollouts = open_rollouts(ws, ws.model(model).name)
    cause, by = _cause(rollouts, "step"), settings.login()
    before = rollouts.current()
    _apply(ws, rollouts.step(cause=cause, reason=reason, by=by, share=_share(share)), json, before=before)


@app.command()
def promote(
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    model: ModelName = None,
    reason: Reason = ASKED,
    json: Json = False,
) -> None:
    """Make the challenger champion."""
    ws = workspace(project, env)
    rollouts = open_rollouts(ws, ws.model(model).name)
    revision = rollouts.promote(cause=_cause(rollouts, "promote"), reason=reason, by=settings.login())
    _apply(ws, revision, json)


@app.command()
def abandon(
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    model: ModelName = None,
    reason: Reason = ASKED,
    json: Json = False,
) -> None:
    """Take the challenger out of service."""
    ws = workspace(project, env)
    rollouts = open_rollouts(ws, ws.model(model).name)
    revision = rollouts.abandon(cause=_cause(rollouts, "abandon"), reason=reason, by=settings.login())
    _apply(ws, revision, json)


@app.command()
def rollback(
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    model: ModelName = None,
    to: Annotated[int | None, typer.Option(help="Number of the revision to restore.")] = None,
    reason: Reason = ASKED,
    json: Json = False,
) -> None:
    """Restore what served before the present champion; takes effect in under a second."""
    ws = workspace(project, env)
    rollouts = open_rollouts(ws, ws.model(model).name)
    target = next((r.bundle_in("champion") for r in rollouts.history() if r.number == to), None)
    if target is not None:  # without a number it is the champion before, whose features are kept up to date
        warn_of_loss(ws, _bundle(ws, target))
        bring_bundle_up_to_date(ws, _bundle(ws, target))
    revision = rollouts.rollback(cause=_cause(rollouts, "rollback"), reason=reason, by=settings.login(), to=to)
    _apply(ws, revision, json)


@app.command()
def history(
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    model: ModelName = None,
    json: Json = False,
) -> None:
    """What has served: every revision, newest first, with who asked for it and why."""
    ws = workspace(project, env)
    revisions = open_rollouts(ws, ws.model(model).name).history()
    if json:
        print_json(revisions)
    else:
        show_revisions(console, revisions)


def warn_of_loss(ws: Workspace, bundle: Bundle) -> None:
    """Say on standard error when a bundle that is about to be deployed was taken out of service on evidence."""
    if found := lost(ws.metadata, bundle.model, bundle.id):
        typer.echo(f"warning: {found}", err=True)
        typer.echo(f"  it is deployed since you asked; to undo that: trimtab rollback --model {bundle.model}", err=True)


def is_past(ws: Workspace, bundle: Bundle, revision: Revision) -> bool:
    """Tell whether a revision that a command once asked for has been followed by one without the bundle."""
    now = open_rollouts(ws, bundle.model).current()
    return now is not None and now.number > revision.number and all(a.bundle != bundle.id for a in now.assignments)


def not_again(ws: Workspace, bundle: Bundle, revision: Revision) -> str:
    """Say that a bundle was deployed before and is not deployed a second time, and why it serves no more."""
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
    """Return a cause that is new whenever something else serves: asking twice changes once."""
    now = rollouts.current()
    return f"command/{what}/{now.number if now else 0}"


def _apply(ws: Workspace, revision: Revision, json: bool, *, before: Revision | None = None) -> None:
    """Say what serves now and what has ended of `before`, then let MLflow's aliases follow.

    That takes seconds, and undoes nothing where it fails.
    """
    if json:
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
    follow(lambda: ws, revision.model)
