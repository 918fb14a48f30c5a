"""Verbs of the loop: up, monitor, decide, retrain, approve, reject."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab import settings
from trimtab.app.loop.monitors import open_monitor
from trimtab.app.loop.steering import decide_once
from trimtab.app.loop.up import up as run_up
from trimtab.app.project.ledger_checks import ledger_line
from trimtab.app.project.locks import only_loop, only_training
from trimtab.app.project.process_files import exit_now
from trimtab.app.project.requirements import require_trainer
from trimtab.app.stages import pipeline
from trimtab.cli.options import (
    ENVIRONMENT,
    PROJECT,
    EnvironmentName,
    Json,
    ModelName,
    ProjectFolder,
    moment,
    print_json,
    workspace,
)
from trimtab.cli.rollout import is_past, not_again
from trimtab.cli.terminal import console, say
from trimtab.cli.views import show_decisions, show_windows
from trimtab.control.resolve import Answer, resolve

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

DecisionId = Annotated[str, typer.Argument(help="Id of the decision, as `trimtab status` shows it.")]
WhyNot = Annotated[str, typer.Option("--reason", help="Why, for the record.", prompt="Reason")]


@app.command()
def up(
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes a free one.")] = None,
) -> None:
    """Run gateway, monitor and controller until Ctrl-C."""
    run_up(workspace(project, env), environment=env, port=port, say=say)
    exit_now(0)


@app.command()
def monitor(project: ProjectFolder = PROJECT, env: EnvironmentName = ENVIRONMENT, json: Json = False) -> None:
    """Take in what is new in the prediction log: close windows, write profiles and signals."""
    ws = workspace(project, env)
    with only_loop(ws, "trimtab monitor"):
        reports = open_monitor(ws).step()
    if json:
        print_json(reports)
    else:
        show_windows(console, reports)


@app.command()
def decide(project: ProjectFolder = PROJECT, env: EnvironmentName = ENVIRONMENT, json: Json = False) -> None:
    """Decide once on the windows that are ready, and queue the retrainings that are asked for."""
    ws = workspace(project, env)
    with only_loop(ws, "trimtab decide"):
        decisions = decide_once(ws)
    if json:
        print_json(decisions)
        return
    show_decisions(console, decisions)
    say(ledger_line(ws))
    for decision in decisions:
        if decision.action == "retrain":
            console.print(f"the retraining of {decision.id} is queued: trimtab up runs it", soft_wrap=True)


@app.command()
def retrain(
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    model: ModelName = None,
    as_of: Annotated[str | None, typer.Option(help="Use nothing that became known later.")] = None,
    json: Json = False,
) -> None:
    """Retrain now on what is known, put the run through the gates, and deploy it."""
    ws = workspace(project, env)
    name = ws.model(model).name
    require_trainer(ws.project, ws.model(name))
    moment_asked = moment("--as-of", as_of) or ws.now()
    with only_training(ws, name, "trimtab retrain"):
        dataset = pipeline.snapshot(ws, name, as_of=moment_asked)
        run = pipeline.train(ws, name, dataset)
    report = pipeline.evaluate(ws, run)
    pipeline.refuse(report)
    bundle = pipeline.register(ws, run, report)
    cause = f"command/retrain/{bundle.id}"
    revision = pipeline.deploy(ws, bundle, cause=cause, reason="retrained on the command line", by=settings.login())
    if json:
        print_json(revision)
    else:
        deployed = f"{bundle.id} is deployed by revision {revision.number} ({revision.action})"
        past = is_past(ws, bundle, revision)
        say(not_again(ws, bundle, revision) if past else deployed)


@app.command()
def approve(
    decision: DecisionId,
    reason: WhyNot,
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    json: Json = False,
) -> None:
    """Approve the retraining that a decision proposes; the running loop starts it."""
    _resolve(decision, "approve", reason, project, env, json)


@app.command()
def reject(
    decision: DecisionId,
    reason: WhyNot,
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    json: Json = False,
) -> None:
    """Reject the retraining that a decision proposes."""
    _resolve(decision, "reject", reason, project, env, json)


@app.command()
def acknowledge(
    decision: DecisionId,
    reason: WhyNot,
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    json: Json = False,
) -> None:
    """Say that you have looked at what a review asked a person to look at."""
    _resolve(decision, "acknowledge", reason, project, env, json)


def _resolve(
    decision: str,
    verdict: Answer,
    reason: str,
    project: ProjectFolder,
    env: str,
    json: bool,
) -> None:
    ws = workspace(project, env)
    resolution = resolve(ws.metadata, decision, verdict, reason=reason, by=settings.login(), clock=ws.clock)
    if json:
        print_json(resolution)
    else:
        say(f"{resolution.decision}: {resolution.verdict} by {resolution.by} ({resolution.reason})")
