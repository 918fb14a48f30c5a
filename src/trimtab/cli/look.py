"""Verbs that look: status, lineage, doctor, schema; and repair, which mends what doctor finds."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer
from rich.markup import escape

from trimtab.app.project.locks import only_loop
from trimtab.app.reports.doctor import examine, next_step
from trimtab.app.reports.lineage import lineage as trace
from trimtab.app.reports.status import status as read_status
from trimtab.app.reports.store_checks import repair as mend
from trimtab.cli.options import (
    ENVIRONMENT,
    PROJECT,
    EnvironmentName,
    Json,
    ProjectFolder,
    print_json,
    workspace,
)
from trimtab.cli.terminal import console, say
from trimtab.cli.views import show_lineage, show_status
from trimtab.policy.key_reference import json_schema

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def status(project: ProjectFolder = PROJECT, env: EnvironmentName = ENVIRONMENT, json: Json = False) -> None:
    """What serves in which role and since when, the last windows, open reviews, money."""
    found = read_status(workspace(project, env))
    if json:
        print_json(found)
    else:
        show_status(console, found)


@app.command()
def lineage(
    prediction_id: Annotated[str, typer.Argument(help="Id of a prediction, as the gateway answered it.")],
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    json: Json = False,
) -> None:
    """Follow one prediction back to bundle, run, dataset, feature views, tables and code."""
    found = trace(workspace(project, env), prediction_id)
    if json:
        print_json(found)
    else:
        show_lineage(console, found)


@app.command()
def doctor(project: ProjectFolder = PROJECT, env: EnvironmentName = ENVIRONMENT, json: Json = False) -> None:
    """Check a project, its environment and its services. Exit code 1 when something must be done, 2 when one of
    its files is wrong."""
    findings = examine(project, env)
    if json:
        print_json(findings)
    else:
        for finding in findings:
            mark = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}[finding.verdict]
            console.print(f"{mark}  {escape(f'{finding.subject}: {finding.text}')}", soft_wrap=True)
            if finding.remedy:
                say(f"      -> {finding.remedy}")
        say(f"next: {next_step(findings)}")
    failed = [finding for finding in findings if finding.verdict == "fail"]
    if failed:
        raise typer.Exit(2 if any(finding.wrong for finding in failed) else 1)


@app.command()
def repair(
    project: ProjectFolder = PROJECT,
    env: EnvironmentName = ENVIRONMENT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: Json = False,
) -> None:
    """Move aside what doctor finds damaged and what can be made again; exit code 1 if something is left."""
    ws = workspace(project, env)
    with nullcontext() if dry_run else only_loop(ws, "trimtab repair"):
        done = mend(ws, dry_run=dry_run)
    if json:
        print_json(done)
    else:
        for one in done:
            mark = "[green]ok  [/]" if one.done else "[red]left[/]"
            console.print(f"{mark}  {one.subject}: {escape(one.text)}", soft_wrap=True)
        if not done:
            console.print("nothing is damaged")
    if not all(one.done for one in done):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of trimtab.yaml."""
    print_json(json_schema())
