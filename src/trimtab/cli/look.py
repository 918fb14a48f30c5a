"""Verbs that look: status, lineage, compare, doctor, schema; and repair, which repairs what doctor finds."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from trimtab.app.overviews.comparison_overview import comparison_overview
from trimtab.app.pages.comparison_report import comparison_page
from trimtab.app.pages.decision_report import decision_page
from trimtab.app.pages.model_report import model_page
from trimtab.app.pages.page_parts import need_pages
from trimtab.app.project.locks import only_loop
from trimtab.app.reports.doctor import Finding, examine, next_step
from trimtab.app.reports.lineage import lineage as trace
from trimtab.app.reports.status import status as read_status
from trimtab.app.reports.store_checks import RepairResult
from trimtab.app.reports.store_checks import repair as mend
from trimtab.app.reports.version_comparison import compare_versions
from trimtab.app.rollout.rollouts import first_command
from trimtab.cli.context import Context, Verbs, print_json, require_action
from trimtab.cli.terminal import console, say, write_file
from trimtab.cli.views import show_comparison, show_lineage, show_status
from trimtab.errors import NotFound, UsageError
from trimtab.policy.key_reference import json_schema

app = Verbs()

STDOUT = "-"
REPORTS = ("model", "comparison", "decision")


@app.verb()
def status(context: Context) -> None:
    """Show what serves and how well, what waits for an answer, and what it costs.

    Lists who serves in which role and since when, the last windows, open reviews and money.
    """
    ws = context.workspace
    context.show(read_status(ws), partial(show_status, console, first=first_command(ws)))


@app.verb()
def lineage(
    context: Context,
    prediction_id: Annotated[
        str, typer.Argument(metavar="PREDICTION", help="Id of a prediction, as the gateway answered it.")
    ],
) -> None:
    """Trace a prediction back to code, data and features.

    The way leads over bundle, run, dataset, feature views and tables.
    """
    context.show(trace(context.workspace, prediction_id), partial(show_lineage, console))


@app.verb(json=False)
def compare(
    context: Context,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Model; needed when there are several.")] = None,
    versions: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="A B", help="Compare A with B; the versions that were compared last by default."),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page that stands alone.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = None,
) -> None:
    """Compare two versions in money, rates and segments.

    On the predictions that both scored, in windows whose labels are complete, with intervals and what the rule says. Of
    a prompt: by bad events of its conversations or users, or by its judged shadow.
    """
    ws = context.workspace
    name = ws.served(model).name
    if name in ws.project.definitions.prompts:
        if html is not None:
            raise UsageError(f"--html shows rows that both versions scored, and '{name}' is a prompt: use --json FILE")
        overview = comparison_overview(ws, name, _two(versions))
        if _written(overview, json):
            say(*filter(None, (overview.sentence, overview.reason, overview.rule, overview.next)))
        return
    if html is not None:
        need_pages()
    found = compare_versions(ws, name, _two(versions))
    if html is not None:
        write_file("--html", html, comparison_page(found))
        say(f"written: {html}")
    if _written(found, json):
        show_comparison(console, found)


def _written(found: object, json: str | None) -> bool:
    """Write a result as JSON, if it was asked for; return whether it is to be shown, too."""
    if json == STDOUT:
        print_json(found)
        return False
    if json is not None:
        text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
        write_file("--json", Path(json), f"{text}\n")
        say(f"written: {json}")
    return True


@app.verb(model=True, json=False)
def report(
    context: Context,
    what: Annotated[str, typer.Argument(metavar="model|comparison|decision", help="model, comparison or decision.")],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Model; needed when there are several. Of a decision its number, or MODEL/NUMBER."
        ),
    ] = None,
    versions: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="A B", help="Of a comparison: A with B; those that were compared last by default."),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="The file to write.")] = None,
) -> None:
    """Write a report of a model, a comparison or a decision as a page that stands alone.

    One HTML file with its charts, readable without a network: for people without the console, for audits, for print.
    """
    require_action("report", what, REPORTS)
    if html is None:
        raise UsageError(f"which file? trimtab report {what}{f' {name}' if name else ''} --html FILE")
    if versions is not None and what != "comparison":
        raise UsageError(
            f"--versions belongs to a comparison, not to a {what}: trimtab report comparison --versions A B"
        )
    need_pages()
    asked = _two(versions)
    model, number = _decision(name) if what == "decision" else (name, 0)
    ws = context.workspace
    model = ws.model(model or context.model).name
    if what == "decision":
        try:
            page = decision_page(ws, model, number)
        except NotFound as error:
            raise UsageError(str(error)) from None
    elif what == "comparison":
        page = comparison_page(compare_versions(ws, model, asked))
    else:
        page = model_page(ws, model)
    write_file("--html", html, page, make_folder=True)
    say(f"written: {html}")


def _two(versions: tuple[int, int] | None) -> tuple[int, int] | None:
    if versions is not None and versions[0] == versions[1]:
        raise UsageError(f"--versions {versions[0]} {versions[1]}: expected two different versions")
    return versions


def _decision(name: str | None) -> tuple[str | None, int]:
    """Return model, if named, and number of a decision: "7", "delay/7", or its id."""
    parts = (name or "").split("/")
    if not parts[-1].isdigit() or len(parts) > 3:
        raise UsageError(f"which decision? '{name or ''}' is none; expected a number, such as 7, or MODEL/7")
    return parts[0] if len(parts) > 1 else None, int(parts[-1])


@app.verb()
def doctor(context: Context) -> None:
    """Check project, environment and services, and say what to do.

    Exit code 1 when something must be done, 2 when trimtab.yaml or definitions.py is wrong.
    """
    findings = examine(context.project, context.env)
    context.show(findings, _show_findings)
    failed = [finding for finding in findings if finding.verdict == "fail"]
    if failed:
        raise typer.Exit(2 if any(finding.wrong for finding in failed) else 1)


def _show_findings(findings: list[Finding]) -> None:
    for finding in findings:
        mark = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}[finding.verdict]
        console.print(f"{mark}  {escape(f'{finding.subject}: {finding.text}')}", soft_wrap=True)
        if finding.remedy:
            say(f"      -> {finding.remedy}")
    say(f"next: {next_step(findings)}")


@app.verb()
def repair(
    context: Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Move aside what is damaged and can be made again.

    That is what `trimtab doctor` finds damaged. Exit code 1 when something is left.
    """
    ws = context.workspace
    with nullcontext() if dry_run else only_loop(ws, "trimtab repair"):
        done = mend(ws, dry_run=dry_run)
    context.show(done, _show_repaired)
    if not all(one.done for one in done):
        raise typer.Exit(1)


def _show_repaired(done: list[RepairResult]) -> None:
    for one in done:
        mark = "[green]ok  [/]" if one.done else "[red]left[/]"
        console.print(f"{mark}  {one.subject}: {escape(one.text)}", soft_wrap=True)
    if not done:
        console.print("nothing is damaged")


@app.command()
def schema() -> None:
    """Print the JSON Schema of trimtab.yaml, for editors."""
    print_json(json_schema())
