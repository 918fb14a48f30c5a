"""The verb that checks tables again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from trimtab.app.pages.checks_report import checks_page
from trimtab.app.pages.page_parts import need_pages
from trimtab.app.stages import ingesting
from trimtab.app.stages.check_drafts import write_drafts
from trimtab.app.stages.ingesting import batch_reports
from trimtab.cli.context import Context, Verbs, option_choice
from trimtab.cli.terminal import console, say, write_file
from trimtab.data.checks import failure_lines
from trimtab.errors import CheckFailed
from trimtab.records.data import CheckReport

app = Verbs()

SourceName = Annotated[str | None, typer.Argument(help="Source; all of them by default.")]
VERDICT_STYLE = {"pass": "green", "warn": "yellow", "fail": "red"}


@app.verb(stage=True)
def validate(
    context: Context,
    source: SourceName = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="TIME|VERSION", help="Check the tables as they were; as they are by default."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the results as a page that stands alone.")
    ] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Write a first draft of the checks from the rows; checks nothing.")
    ] = False,
    form: Annotated[
        str, typer.Option("--format", metavar="yaml|python", help="Of the draft; checks/SOURCE.yaml by default.")
    ] = "yaml",
) -> None:
    """Check the tables again, or draft their checks.

    Exit code 1 when a table fails.
    """
    ws = context.workspace
    if draft:
        chosen = option_choice("--format", form, ("yaml", "python")) or "yaml"
        context.show(write_drafts(ws, source, chosen), _show_drafts)  # type: ignore[arg-type]  # one of the two
        return
    if html is not None:
        need_pages()
    reports = ingesting.validate(ws, source, as_of=as_of)
    if html is not None:
        write_file("--html", html, checks_page(reports, [batch_reports(ws, report.table) for report in reports]))
    context.show(reports, show_checks)
    if any(report.verdict == "fail" for report in reports):
        raise CheckFailed("; ".join(report.reason for report in reports if report.verdict == "fail"))


def _show_drafts(written: dict[str, tuple[Path, str]]) -> None:
    if not written:
        say("no table has rows to draft checks from; run: trimtab ingest")
    for table, (path, value) in written.items():
        say(f"validate  {path} has the draft. Read it, then write into trimtab.yaml: checks: {{ {table}: {value} }}")


def show_checks(reports: list[CheckReport]) -> None:
    """Print check reports."""
    for r in reports:
        console.print(
            f"validate  {r.table}: [{VERDICT_STYLE[r.verdict]}]{r.verdict}[/]  {escape(r.reason)}", soft_wrap=True
        )
        for line in failure_lines(r):
            if line not in r.reason:
                console.print(f"          [yellow]{escape(line)}[/]", soft_wrap=True)
