"""Verbs of the loop: up, monitor, decide, retrain, approve, reject, acknowledge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from trimtab import settings
from trimtab.app.jobs import training_places
from trimtab.app.loop.monitors import open_monitor
from trimtab.app.loop.steering import decide_once
from trimtab.app.loop.up import up as run_up
from trimtab.app.operations.actors import local_actor
from trimtab.app.operations.answers import answer, ask
from trimtab.app.operations.freezing import refuse_frozen
from trimtab.app.project.ledger_checks import ledger_line
from trimtab.app.project.locks import only_loop, only_training
from trimtab.app.project.process_files import exit_now
from trimtab.app.project.requirements import require_trainer
from trimtab.app.project.workspace import Workspace
from trimtab.app.stages import pipeline
from trimtab.cli.context import ASKED, AskedReason, Context, Force, Reason, Verbs, option_time
from trimtab.cli.rollout import is_past, not_again
from trimtab.cli.terminal import console, say
from trimtab.cli.views import show_decisions, show_windows
from trimtab.control.resolve import Answer
from trimtab.errors import UsageError
from trimtab.records.control import Decision

app = Verbs()

DecisionId = Annotated[str, typer.Argument(help="Id of the decision, as `trimtab status` shows it.")]


@app.verb(json=False)
def up(
    context: Context,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes a free one.")] = None,
    console: Annotated[bool, typer.Option("--console/--no-console", help="Serve the console, too.")] = True,
    gateway: Annotated[
        bool, typer.Option("--gateway/--no-gateway", help="Run the gateway, too; without, another process does.")
    ] = True,
) -> None:
    """Run gateway, monitor, controller and console together.

    Ctrl-C ends them.
    """
    if port is not None and not gateway:
        raise UsageError("--port is that of the gateway, which --no-gateway leaves to another process")
    run_up(context.workspace, environment=context.env, port=port, say=say, with_console=console, with_gateway=gateway)
    exit_now(0)


@app.verb()
def monitor(context: Context) -> None:
    """Take in the prediction log once: windows, profiles, signals.

    Reads the rows that are new, closes windows, and writes their profiles and signals.
    """
    with only_loop(context.workspace, "trimtab monitor"):
        reports = open_monitor(context.workspace).step()
    context.show(reports, partial(show_windows, console))


@app.verb()
def decide(context: Context) -> None:
    """Decide once on the windows that are ready.

    Rollbacks happen at once; retrainings are queued for `trimtab up`.
    """
    with only_loop(context.workspace, "trimtab decide"):
        decisions = decide_once(context.workspace)
    context.show(decisions, lambda decisions: _show_decided(context.workspace, decisions))


def _show_decided(ws: Workspace, decisions: Sequence[Decision]) -> None:
    show_decisions(console, decisions)
    say(ledger_line(ws))
    for decision in decisions:
        if decision.action == "retrain":
            console.print(f"the retraining of {decision.id} is queued: trimtab up runs it", soft_wrap=True)


@app.verb(model=True)
def retrain(
    context: Context,
    as_of: Annotated[
        str | None, typer.Option(metavar="TIME", help="Use nothing that became known later; now by default.")
    ] = None,
    force: Force = False,
    reason: Reason = ASKED,
) -> None:
    """Retrain now, gates included, and deploy."""
    ws, model = context.workspace, context.definition
    refuse_frozen(ws, model.name, force=force)
    require_trainer(ws.project, model)
    known_by = option_time("--as-of", as_of) or ws.now()
    with only_training(ws, model.name, "trimtab retrain"):
        dataset = pipeline.snapshot(ws, model.name, as_of=known_by)
        run = training_places.train(ws, model.name, dataset)
    report = pipeline.evaluate(ws, run)
    pipeline.refuse(report)
    bundle = training_places.register(ws, run, report)
    cause = f"command/retrain/{bundle.id}"
    revision = pipeline.deploy(ws, bundle, cause=cause, reason=f"retrained: {reason}", by=settings.login())
    deployed = f"{bundle.id} is deployed by revision {revision.number} ({revision.action})"
    past = is_past(ws, bundle, revision)
    context.show(revision, lambda revision: say(not_again(ws, bundle, revision) if past else deployed))


@app.verb()
def approve(context: Context, decision: DecisionId, reason: AskedReason = None, force: Force = False) -> None:
    """Approve a decision that waits for review.

    The running loop starts the retraining that it proposes; while the model is frozen, when the freeze has ended.
    """
    _resolve(context, decision, "approve", reason, force=force)


@app.verb()
def reject(context: Context, decision: DecisionId, reason: AskedReason = None) -> None:
    """Reject a decision that waits for review."""
    _resolve(context, decision, "reject", reason)


@app.verb()
def acknowledge(context: Context, decision: DecisionId, reason: AskedReason = None) -> None:
    """Record that you have looked at a review that proposes no retraining."""
    _resolve(context, decision, "acknowledge", reason)


def _resolve(context: Context, decision: str, verdict: Answer, reason: str | None, *, force: bool = False) -> None:
    ws, actor = context.workspace, local_actor()
    ask(ws, actor, decision, verdict, force=force)  # before a reason is asked for
    reason = typer.prompt("Reason") if reason is None else reason
    resolution = answer(ws, actor, decision, verdict, reason=reason, force=force)
    context.show(resolution, lambda r: say(f"{r.decision}: {r.verdict} by {r.by} ({r.reason})"))
